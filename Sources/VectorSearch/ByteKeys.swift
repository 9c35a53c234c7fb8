// Keys in 8 bits beside the keys themselves, in one file that is mapped: for banks larger than memory.
//
// Legend: n rows of D numbers.
// A search reads the 8 bits of every row, a quarter of the bytes, and the keys themselves of the few rows only that may be among the nearest. How much
// rounding has taken from each row is known exactly, so the answer is that of a search among the keys themselves.
//
// The file, little-endian: 8 bytes "MNEME8B1"; D, n and the type of the keys (0 float32, 1 bfloat16) as 64-bit integers; the CRC-32 of each of the
// six parts and of what stands before it, as 64-bit integers; then the parts, each at a multiple of 64 bytes: identifiers (64-bit integers),
// squared lengths (float64), scales, lengths of what rounding takes away (float32), the 8 bits, the keys.

import Diagnostics
import Kernels
import Storage
import Tensors

/// Rows in 8 bits with a scale each, and the rows themselves.
public final class ByteKeys: @unchecked Sendable {
    /// D.
    public let dimension: Int
    /// Of each row.
    public let ids: [Int]
    /// The rows themselves: [n, D], float32 or bfloat16.
    let keys: Elements
    /// [n, D]; row i is about bytes[i] * scales[i].
    let bytes: UnsafePointer<Int8>
    let scales: UnsafePointer<Float>
    /// The length of what is lost of each row.
    let errors: UnsafePointer<Float>
    let squares: [Double]
    private let owners: [AnyObject]

    /// Rounds keys that lie elsewhere.
    ///
    /// - Parameters:
    ///   - keys: [n, D], float32 or bfloat16, kept by `owner`.
    ///   - ids: of each row.
    /// - Throws: `UserError` (bad data) for a key that is not finite.
    public init(rounding keys: Elements, dimension: Int, ids: [Int], owner: AnyObject) throws {
        KeyBlock.check(dimension)
        (self.dimension, self.ids, self.keys) = (dimension, ids, keys)
        let squares = try VectorRules.squaredLengths(keys, count: ids.count, dimension: dimension, what: "key", name: { "of row \(ids[$0])" })
        self.squares = squares
        let (rounded, numbers) = (Tensor(uninitialized: [ids.count, (dimension + 3) / 4]), Tensor(uninitialized: [2, ids.count]))
        let base = rounded.bytes.bindMemory(to: Int8.self, capacity: ids.count * dimension)
        let (scales, errors) = (numbers.floats, numbers.floats + ids.count)
        Workers.parallel(ids.count, minimum: max(1, (1 << 15) / dimension)) { range in
            let kernels = Kernels.active
            let (row, back) = (Tensor(uninitialized: [dimension]), Tensor(uninitialized: [dimension]))
            for index in range {
                kernels.convert(row.elements, keys + index * dimension, dimension)
                scales[index] = kernels.quantizeRow(base + index * dimension, row.floats, dimension)
                kernels.widenBytes(back.elements, base + index * dimension, dimension)
                // A product is one with the scaled row, whose numbers are exact in float64: the difference is taken with those, rounded to float32.
                kernels.affine(back.floats, back.floats, scale: scales[index], offset: 0, dimension)
                let lost = kernels.exactSquaredDistance(row.floats, back.elements, dimension).squareRoot()
                errors[index] = Float(lost + squares[index].squareRoot() * 0x1p-23).nextUp
            }
        }
        (bytes, self.scales, self.errors) = (UnsafePointer(base), UnsafePointer(scales), UnsafePointer(errors))
        owners = [owner, rounded.storage, numbers.storage]
    }

    // MARK: the file

    private static let magic = Array("MNEME8B1".utf8)
    private static let parts = 6
    /// Magic, three numbers, the checksums of the parts and of what stands before.
    private static let headBytes = 8 + 8 * (3 + parts + 1)

    /// Where each part begins, and the size of the file.
    private static func layout(_ rows: Int, _ dimension: Int, _ type: DataType) -> (starts: [Int], sizes: [Int], end: Int) {
        let sizes = [8 * rows, 8 * rows, 4 * rows, 4 * rows, rows * dimension, rows * dimension * type.byteCount]
        var starts: [Int] = []
        var end = headBytes
        for size in sizes {
            starts.append((end + 63) & ~63)
            end = (starts.last ?? 0) + size
        }
        return (starts, sizes, end)
    }

    /// Writes the rows as a file, which is there as a whole or not at all.
    ///
    /// - Throws: `UserError` where the file cannot be written.
    /// - Complexity: holds the file in memory once: a large bank is many files.
    public func write(to path: String) throws {
        let (starts, sizes, end) = Self.layout(ids.count, dimension, keys.type)
        var file = [UInt8](repeating: 0, count: end)
        let sources: [UnsafeRawPointer] = [UnsafeRawPointer(scales), UnsafeRawPointer(errors), UnsafeRawPointer(bytes), UnsafeRawPointer(keys.address)]
        file.withUnsafeMutableBytes { file in
            ids.withUnsafeBytes { file[starts[0]..<starts[0] + sizes[0]].copyBytes(from: $0) }
            squares.withUnsafeBytes { file[starts[1]..<starts[1] + sizes[1]].copyBytes(from: $0) }
            for (part, source) in sources.enumerated() {
                let range = starts[part + 2]..<starts[part + 2] + sizes[part + 2]
                file[range].copyBytes(from: UnsafeRawBufferPointer(start: source, count: range.count))
            }
            file.copyBytes(from: Self.magic)
            var numbers = [dimension, ids.count, keys.type == .bfloat16 ? 1 : 0]
            for part in 0..<Self.parts {
                numbers.append(Int(Self.checksum(UnsafeRawBufferPointer(rebasing: file[starts[part]..<starts[part] + sizes[part]]))))
            }
            for (place, number) in numbers.enumerated() { file.storeBytes(of: number, toByteOffset: 8 + 8 * place, as: Int.self) }
            let head = Self.checksum(UnsafeRawBufferPointer(rebasing: file[..<(Self.headBytes - 8)]))
            file.storeBytes(of: Int(head), toByteOffset: Self.headBytes - 8, as: Int.self)
        }
        try DurableFile.replace(path, by: file)
    }

    private static func checksum(_ bytes: UnsafeRawBufferPointer) -> UInt {
        var checksum = Checksum()
        checksum.update(bytes)
        return checksum.value
    }

    /// Maps a file that ``write(to:)`` wrote. The 8 bits and the keys are read when a search comes to them.
    ///
    /// - Parameter verifies: whether the checksums of the 8 bits and of the keys are compared too, which reads the whole file.
    /// - Throws: `UserError` for a file that is not there, cut short, damaged, or another one.
    public init(mapping path: String, verifies: Bool = false) throws {
        func damaged(_ what: String) -> UserError {
            UserError(.badData, what, at: path, advice: "write the file again from the bank that it was made from")
        }
        let file = try MappedFile(path)
        let all = file.bytes
        guard all.count >= Self.headBytes, all.prefix(8).elementsEqual(Self.magic) else { throw damaged("is no file of keys in 8 bits") }
        func number(_ place: Int) -> Int { all.loadUnaligned(fromByteOffset: 8 + 8 * place, as: Int.self) }
        guard Int(Self.checksum(UnsafeRawBufferPointer(rebasing: all[..<(Self.headBytes - 8)]))) == number(3 + Self.parts) else {
            throw damaged("the checksum of its head does not match")
        }
        let (dimension, rows, kind) = (number(0), number(1), number(2))
        // What a wrong head could claim may not overflow.
        guard dimension > 0, dimension <= KeyBlock.largestDimension, rows >= 0, rows <= all.count / dimension, kind == 0 || kind == 1 else {
            throw damaged("claims \(rows) keys of \(dimension) numbers, type \(kind)")
        }
        let type: DataType = kind == 1 ? .bfloat16 : .float32
        let (starts, sizes, end) = Self.layout(rows, dimension, type)
        guard end == all.count else { throw damaged("has \(all.count) bytes, and \(rows) keys of \(dimension) numbers take \(end)") }
        func part(_ index: Int) -> UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: all[starts[index]..<starts[index] + sizes[index]]) }
        for index in 0..<(verifies ? Self.parts : 4) where Int(Self.checksum(part(index))) != number(3 + index) {
            let names = ["identifiers", "lengths", "scales", "errors", "8 bits", "keys"]
            throw damaged("the checksum of its \(names[index]) does not match")
        }
        self.dimension = dimension
        ids = Array(part(0).bindMemory(to: Int.self))
        squares = Array(part(1).bindMemory(to: Double.self))
        guard let base = all.baseAddress, squares.allSatisfy({ $0 >= 0 && $0 <= VectorRules.largestSquare }) else {
            throw damaged("holds lengths that no key has")
        }
        scales = (base + starts[2]).assumingMemoryBound(to: Float.self)
        errors = (base + starts[3]).assumingMemoryBound(to: Float.self)
        bytes = (base + starts[4]).assumingMemoryBound(to: Int8.self)
        keys = Elements(UnsafeMutableRawPointer(mutating: base + starts[5]), type)
        owners = [file]
    }

    /// The rows as ``ExactSearch`` takes them.
    ///
    /// - Parameter namespaces: of each row; none is 0 for all.
    public func block(_ similarity: Similarity, namespaces: [UInt32]? = nil) -> KeyBlock {
        require(namespaces?.count ?? ids.count == ids.count, "\(ids.count) keys, \(namespaces?.count ?? 0) namespaces")
        return KeyBlock(self, similarity: similarity, namespaces: namespaces)
    }
}
