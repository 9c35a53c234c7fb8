// Looking into items: figures about one, and the difference between two checkpoints. Values are seen as Double.

import Diagnostics
import Foundation
import HDF5

/// Figures about the values of an item.
public struct CheckpointStatistics: Sendable {
    /// Values looked at, those that are not finite included.
    public internal(set) var count = 0
    /// Values that are not finite; they take no part in the other figures.
    public internal(set) var notFinite = 0
    /// The smallest finite value; infinity where there is none.
    public internal(set) var minimum = Double.infinity
    /// The largest finite value; minus infinity where there is none.
    public internal(set) var maximum = -Double.infinity
    var sum = 0.0
    var sumOfSquares = 0.0

    /// The mean of the finite values.
    public var mean: Double { sum / Double(count - notFinite) }
    /// The Euclidean norm of the finite values.
    public var norm: Double { sumOfSquares.squareRoot() }

    mutating func add(_ value: Double) {
        count += 1
        guard value.isFinite else {
            notFinite += 1
            return
        }
        minimum = min(minimum, value)
        maximum = max(maximum, value)
        sum += value
        sumOfSquares += value * value
    }
}

/// How an item differs between two checkpoints, A and B.
public enum CheckpointDifference: Sendable, Hashable {
    case onlyInFirst
    case onlyInSecond
    /// Of another shape or element type.
    case shape(first: String, second: String)
    /// How many values differ, and the largest absolute difference. It is not a number where a value is not one on one side only.
    case values(count: Int, largest: Double)
}

extension CheckpointElementType {
    /// Calls `body` with every element of `bytes` as a Double. 64-bit integers beyond 2^53 are rounded.
    func forEachValue(in bytes: UnsafeRawBufferPointer, _ body: (Double) -> Void) {
        for start in stride(from: 0, to: bytes.count, by: byteCount) { body(value(at: start, in: bytes)) }
    }

    /// The element that begins at byte `start`, as text.
    func text(at start: Int, in bytes: UnsafeRawBufferPointer) -> String {
        switch self {
        case .float32: "\(bytes.loadUnaligned(fromByteOffset: start, as: Float.self))"
        case .uint64: "\(bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))"
        case .int64: "\(bytes.loadUnaligned(fromByteOffset: start, as: Int64.self))"
        case .float64: "\(value(at: start, in: bytes))"
        case .uint8, .uint16, .uint32, .int32: "\(Int(value(at: start, in: bytes)))"
        }
    }

    /// The element that begins at byte `start`.
    func value(at start: Int, in bytes: UnsafeRawBufferPointer) -> Double {
        switch self {
        case .float32: Double(bytes.loadUnaligned(fromByteOffset: start, as: Float.self))
        case .float64: bytes.loadUnaligned(fromByteOffset: start, as: Double.self)
        case .uint8: Double(bytes[start])
        case .uint16: Double(bytes.loadUnaligned(fromByteOffset: start, as: UInt16.self))
        case .uint32: Double(bytes.loadUnaligned(fromByteOffset: start, as: UInt32.self))
        case .uint64: Double(bytes.loadUnaligned(fromByteOffset: start, as: UInt64.self))
        case .int32: Double(bytes.loadUnaligned(fromByteOffset: start, as: Int32.self))
        case .int64: Double(bytes.loadUnaligned(fromByteOffset: start, as: Int64.self))
        }
    }
}

extension CheckpointReader {
    /// Figures about an item.
    ///
    /// - Throws: `UserError(.badData)` where there is no such item or a shard is damaged.
    /// - Complexity: reads the item once, in memory for one slice.
    public func statistics(of name: String) throws -> CheckpointStatistics {
        let item = try require(name)
        var statistics = CheckpointStatistics()
        try forEachSlice(of: item) { bytes in item.elementType.forEachValue(in: bytes) { statistics.add($0) } }
        return statistics
    }

    /// Calls `body` with the text of every value of an item in row-major order. The texts read back to the same bits (except NaN's).
    ///
    /// - Throws: as ``statistics(of:)``, and what `body` throws.
    public func forEachText(of name: String, _ body: (String) throws -> Void) throws {
        let item = try require(name)
        try forEachSlice(of: item) { bytes in
            for start in stride(from: 0, to: bytes.count, by: item.elementType.byteCount) { try body(item.elementType.text(at: start, in: bytes)) }
        }
    }

    /// The items in which this checkpoint (A) and `other` (B) differ, in order of their names.
    ///
    /// - Throws: `UserError(.badData)` where a shard is damaged.
    /// - Complexity: reads both once, in memory for one item of each.
    public func differences(from other: CheckpointReader) throws -> [(name: String, difference: CheckpointDifference)] {
        let names = Set(items.map(\.name)).union(other.items.map(\.name)).sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        return try names.compactMap { name in
            guard let first = item(name) else { return (name, .onlyInSecond) }
            guard let second = other.item(name) else { return (name, .onlyInFirst) }
            guard first.shape == second.shape, first.elementType == second.elementType else {
                return (name, .shape(first: "\(first.elementType) \(first.shape)", second: "\(second.elementType) \(second.shape)"))
            }
            return try valueDifference(first, other).map { (name, $0) }
        }
    }

    private func valueDifference(_ item: CheckpointItemDescription, _ other: CheckpointReader) throws -> CheckpointDifference? {
        var count = 0
        var largest = 0.0
        let rows = 0..<item.rowCount
        for slice in ShardFile.slices(of: rows, rowByteCount: item.rowByteCount) {
            let byteCount = slice.count * item.rowByteCount
            try withUnsafeTemporaryAllocation(byteCount: 2 * byteCount, alignment: 64) { buffer in
                let first = UnsafeMutableRawBufferPointer(rebasing: buffer[..<byteCount])
                let second = UnsafeMutableRawBufferPointer(rebasing: buffer[byteCount...])
                try read(item.name, item.elementType, shape: item.shape, rows: slice, into: first)
                try other.read(item.name, item.elementType, shape: item.shape, rows: slice, into: second)
                let size = item.elementType.byteCount
                if memcmp(first.baseAddress!, second.baseAddress!, byteCount) == 0 { return }
                for start in stride(from: 0, to: byteCount, by: size) {
                    if memcmp(first.baseAddress! + start, second.baseAddress! + start, size) == 0 { continue }
                    count += 1
                    let values = [first, second].map { item.elementType.value(at: start, in: UnsafeRawBufferPointer($0)) }
                    let difference = abs(values[0] - values[1])
                    // A NaN, once met, stays.
                    largest = largest.isNaN || difference.isNaN ? .nan : max(largest, difference)
                }
            }
        }
        return count == 0 ? nil : .values(count: count, largest: largest)
    }
}
