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

/// Nodes of blocks: 32 elements, or the last ones of a part, are integers of 8 bits times a power of two of their own (`SharedScaleKernels`).
struct BlockSums: TreeArithmetic {
    static let width = 32

    /// Runs of elements that cover the flat memory in order; a block lies in one.
    let parts: [Range<Int>]
    let step: Int
    private let kernels = Kernels.active

    init(parts: [Range<Int>], step: Int) { (self.parts, self.step) = (parts, step) }

    var isPlain: Bool { false }

    /// Calls for every part of some elements, which begin and end where parts do, with the offset of its first element.
    func forEachPart(of elements: Range<Int>, _ body: (_ part: Range<Int>, _ offset: Int) -> Void) {
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

    private static func byteCount(_ count: Int) -> Int { count + (count + width - 1) / width }

    func byteCount(_ elements: Range<Int>) -> Int {
        var count = 0
        forEachPart(of: elements) { part, _ in count += Self.byteCount(part.count) }
        return count
    }

    func add(_ values: UnsafePointer<Float>, to sum: UnsafeMutablePointer<Float>, _ elements: Range<Int>, node: TreeNode) {
        // The finalizer of MurmurHash3.
        var key = UInt64(truncatingIfNeeded: step) << 32 ^ UInt64(node.first) << 6 ^ UInt64(node.height)
        key = (key ^ key >> 33) &* 0xff51_afd7_ed55_8ccd
        key = (key ^ key >> 33) &* 0xc4ce_b9fe_1a85_ec53
        forEachPart(of: elements) { part, offset in
            kernels.addBlocks(sum + offset, values + offset, key: UInt32(truncatingIfNeeded: key >> 32), first: part.lowerBound, part.count)
        }
    }

    func encode(_ values: UnsafePointer<Float>, _ elements: Range<Int>, into bytes: UnsafeMutableRawPointer) {
        var out = bytes.assumingMemoryBound(to: UInt8.self)
        forEachPart(of: elements) { part, offset in
            kernels.packBlocks(out, values + offset, part.count)
            out += Self.byteCount(part.count)
        }
    }

    func decode(_ bytes: UnsafeRawPointer, _ elements: Range<Int>, into values: UnsafeMutablePointer<Float>) {
        var source = bytes.assumingMemoryBound(to: UInt8.self)
        forEachPart(of: elements) { part, offset in
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
        forEachPart(of: elements) { part, _ in
            let kept = residual(part.lowerBound)
            // What lies behind a parameter is zero.
            kernels.roundBlocks(gradients + part.lowerBound, residual: kept?.baseAddress, kept.map { min(part.count, $0.count) } ?? part.count)
        }
    }
}
