// What the nodes of the reproducible tree hold, how two become one, and how they travel.
//
// Legend: elements are numbered as in flat memory; x values, s the scale of a block, q integers.

import Diagnostics
import Kernels

/// The numbers of a tree's nodes. Whatever `add` leaves survives `encode` and `decode` bit for bit.
protocol TreeArithmetic<Scalar> {
    associatedtype Scalar: BinaryFloatingPoint
    /// Whether values travel as they lie in memory: then nothing is encoded.
    var isPlain: Bool { get }
    /// What elements take on their way.
    func byteCount(_ elements: Range<Int>) -> Int
    /// sum = the value of the node that is the sum of two others; both point to the first of the elements.
    func add(_ values: UnsafePointer<Scalar>, to sum: UnsafeMutablePointer<Scalar>, _ elements: Range<Int>, node: TreeNode)
    /// Writes the values of elements as they travel.
    func encode(_ values: UnsafePointer<Scalar>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer)
    /// Reads them.
    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Scalar>)
}

/// Sums as the processor adds.
struct PlainSums<Scalar: BinaryFloatingPoint>: TreeArithmetic {
    var isPlain: Bool { true }

    func byteCount(_ elements: Range<Int>) -> Int { elements.count * MemoryLayout<Scalar>.stride }

    func add(_ values: UnsafePointer<Scalar>, to sum: UnsafeMutablePointer<Scalar>, _ elements: Range<Int>, node: TreeNode) {
        for index in 0..<elements.count { sum[index] += values[index] }
    }

    func encode(_ values: UnsafePointer<Scalar>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer) {
        bytes.copyMemory(from: values, byteCount: byteCount(elements))
    }

    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Scalar>) {
        UnsafeMutableRawPointer(values).copyMemory(from: bytes, byteCount: byteCount(elements))
    }
}

/// Nodes of bfloat16 numbers, which float32 memory holds: added in float32, rounded to nearest even.
struct BFloat16Sums: TreeArithmetic {
    var isPlain: Bool { false }

    func byteCount(_ elements: Range<Int>) -> Int { 2 * elements.count }

    @inline(__always)
    private func rounded(_ value: Float) -> Float {
        let bits = value.bitPattern
        let nearest = (bits &+ 0x7fff &+ (bits >> 16 & 1)) & 0xffff_0000
        return Float(bitPattern: bits & 0x7fff_ffff > 0x7f80_0000 ? (bits | 0x40_0000) & 0xffff_0000 : nearest)
    }

    func round(_ values: UnsafeMutablePointer<Float>, count: Int) {
        for index in 0..<count { values[index] = rounded(values[index]) }
    }

    func add(_ values: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, _ elements: Range<Int>, node: TreeNode) {
        for index in 0..<elements.count { sum[index] = rounded(sum[index] + values[index]) }
    }

    func encode(_ values: UnsafePointer<Float>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer) {
        let out = bytes.assumingMemoryBound(to: UInt16.self)
        for index in 0..<elements.count { out[index] = UInt16(truncatingIfNeeded: values[index].bitPattern >> 16) }
    }

    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Float>) {
        let source = bytes.assumingMemoryBound(to: UInt16.self)
        for index in 0..<elements.count { values[index] = Float(bitPattern: UInt32(source[index]) << 16) }
    }
}

/// Runs of elements that cover the flat memory in order, and are added as wholes.
struct ElementParts {
    let parts: [Range<Int>]

    /// Calls for every part of some elements, which begin and end where parts do, with the offset of its first element.
    func forEach(of elements: Range<Int>, _ body: (_ part: Range<Int>, _ offset: Int) -> Void) {
        guard !elements.isEmpty else { return }
        var index = parts.partitioningIndex { $0.upperBound > elements.lowerBound }
        require(parts[index].lowerBound == elements.lowerBound, "elements from \(elements.lowerBound) begin within a part")
        while index < parts.count, parts[index].lowerBound < elements.upperBound {
            let part = parts[index]
            // The last bucket ends with the last parameter, its part with the memory behind it.
            body(part.lowerBound..<min(part.upperBound, elements.upperBound), part.lowerBound - elements.lowerBound)
            index += 1
        }
    }
}

/// Adaptive sums: (1 - a.b / 2 a.a) a + (1 - a.b / 2 b.b) b of every part of two nodes a and b. Equal nodes give one of them, orthogonal ones their sum.
struct AdaptiveSums: TreeArithmetic {
    private let parts: ElementParts
    private let plain = PlainSums<Float>()

    init(_ parts: [Range<Int>]) { self.parts = ElementParts(parts: parts) }

    var isPlain: Bool { true }

    func byteCount(_ elements: Range<Int>) -> Int { plain.byteCount(elements) }

    func add(_ values: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, _ elements: Range<Int>, node: TreeNode) {
        parts.forEach(of: elements) { part, offset in Self.combine(values + offset, into: sum + offset, part.count) }
    }

    private static func combine(_ values: UnsafePointer<Float>, into sum: UnsafeMutablePointer<Float>, _ count: Int) {
        var (both, own, other) = (SIMD8<Double>(), SIMD8<Double>(), SIMD8<Double>())
        func gather(_ a: SIMD8<Double>, _ b: SIMD8<Double>) {
            both += a * b
            own += a * a
            other += b * b
        }
        let whole = count & ~7
        for index in stride(from: 0, to: whole, by: 8) {
            gather(
                SIMD8(UnsafeRawPointer(sum + index).loadUnaligned(as: SIMD8<Float>.self)),
                SIMD8(UnsafeRawPointer(values + index).loadUnaligned(as: SIMD8<Float>.self)))
        }
        for index in whole..<count {
            var (a, b) = (SIMD8<Double>(), SIMD8<Double>())
            (a[0], b[0]) = (Double(sum[index]), Double(values[index]))
            gather(a, b)
        }
        // A node of zeros has no direction: the other one stays as it is. What is not finite comes through.
        func share(_ squares: Double) -> Float { squares == 0 ? 1 : Float(1 - both.sum() / (2 * squares)) }
        let (ownShare, otherShare) = (share(own.sum()), share(other.sum()))
        for index in 0..<count { sum[index] = ownShare * sum[index] + otherShare * values[index] }
    }

    func encode(_ values: UnsafePointer<Float>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer) { plain.encode(values, elements, into: bytes) }

    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Float>) { plain.decode(bytes, elements, into: values) }
}

/// Nodes of blocks: 32 elements, or the last ones of a part, are integers of 8 bits times a power of two of their own (`SharedScaleKernels`).
struct BlockSums: TreeArithmetic {
    static let width = 32

    /// A block lies in one.
    private let parts: ElementParts
    private let step: Int
    private let kernels = Kernels.active

    init(_ parts: [Range<Int>], step: Int) { (self.parts, self.step) = (ElementParts(parts: parts), step) }

    var isPlain: Bool { false }

    private static func byteCount(_ count: Int) -> Int { count + (count + width - 1) / width }

    func byteCount(_ elements: Range<Int>) -> Int {
        var count = 0
        parts.forEach(of: elements) { part, _ in count += Self.byteCount(part.count) }
        return count
    }

    func add(_ values: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, _ elements: Range<Int>, node: TreeNode) {
        // The finalizer of MurmurHash3.
        var key = UInt64(truncatingIfNeeded: step) << 32 ^ UInt64(node.first) << 6 ^ UInt64(node.height)
        key = (key ^ key >> 33) &* 0xff51_afd7_ed55_8ccd
        key = (key ^ key >> 33) &* 0xc4ce_b9fe_1a85_ec53
        parts.forEach(of: elements) { part, offset in
            kernels.addBlocks(sum + offset, values + offset, key: UInt32(truncatingIfNeeded: key >> 32), first: part.lowerBound, part.count)
        }
    }

    func encode(_ values: UnsafePointer<Float>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer) {
        var out = bytes.assumingMemoryBound(to: UInt8.self)
        parts.forEach(of: elements) { part, offset in
            kernels.packBlocks(out, values + offset, part.count)
            out += Self.byteCount(part.count)
        }
    }

    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Float>) {
        var source = bytes.assumingMemoryBound(to: UInt8.self)
        parts.forEach(of: elements) { part, offset in
            kernels.unpackBlocks(values + offset, source, part.count)
            source += Self.byteCount(part.count)
        }
    }

    /// Rounds a group's gradients to nearest after what its earlier ones have left over was added to them, and keeps what is lost now.
    ///
    /// - Parameter residual: of an element and those behind it, to the end of its parameter: the memory between parameters has none.
    func roundGroup(
        _ gradients: UnsafeMutablePointer<Float>, _ elements: Range<Int>, residual: (_ element: Int) -> UnsafeMutableBufferPointer<Float>?
    ) {
        parts.forEach(of: elements) { part, _ in
            let kept = residual(part.lowerBound)
            // What lies behind a parameter is zero.
            kernels.roundBlocks(gradients + part.lowerBound, residual: kept?.baseAddress, kept.map { min(part.count, $0.count) } ?? part.count)
        }
    }
}
