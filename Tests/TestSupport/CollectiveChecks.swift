// What every communicator must do, whatever is behind it. The same checks run on threads of one process and under mpirun.

import Collectives
import Diagnostics
import Foundation

/// A check that did not hold, with what was found.
public struct CheckFailure: Error, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// Throws `CheckFailure` unless `condition` holds.
public func check(_ condition: Bool, _ message: @autoclosure () -> String) throws {
    if !condition { throw CheckFailure(message()) }
}

/// 64 bits that depend on the two numbers alone (SplitMix64's finalizer).
package func mixedBits(_ seed: Int, _ index: Int) -> UInt64 {
    var bits = UInt64(bitPattern: Int64(seed)) &* 0x9e37_79b9_7f4a_7c15 &+ UInt64(bitPattern: Int64(index)) &* 0xd1b5_4a32_d192_ed03
    bits = (bits ^ bits >> 30) &* 0xbf58_476d_1ce4_e5b9
    bits = (bits ^ bits >> 27) &* 0x94d0_49bb_1331_11eb
    return bits ^ bits >> 31
}

/// A small integer of rank and index, so that float32 sums of few ranks are exact.
private func smallInteger(_ rank: Int, _ index: Int) -> Int { Int(mixedBits(rank, index) % 2001) - 1000 }

/// A float32 whose sums round, of magnitude 2^-8 to 2^8.
public func roughValue(_ group: Int, _ index: Int) -> Float {
    let bits = mixedBits(group + 7919, index)
    let mantissa = Float(bits >> 40) / Float(1 << 24) - 0.5
    return mantissa * Float(sign: .plus, exponent: Int(bits & 15) - 8, significand: 1)
}

private let lengths = [0, 1, 2, 3, 7, 64, 1000, 4097, 100_003]

public enum CollectiveChecks {
    /// Every reduction of every type, blocking, over many lengths.
    public static func reductions(_ communicator: any Communicator) throws {
        for length in lengths {
            for (name, reduction, combine) in reductionsByName {
                let expected = (0..<length).map { index in
                    (0..<communicator.size).map { smallInteger($0, index) }.dropFirst().reduce(smallInteger(0, index), combine)
                }
                var floats = (0..<length).map { Float(smallInteger(communicator.rank, $0)) }
                try floats.withUnsafeMutableBufferPointer { try communicator.allReduce($0, reduction) }
                try check(floats == expected.map(Float.init), "\(name) of \(length) float32")
                let doubles = try communicator.allReduced((0..<length).map { Double(smallInteger(communicator.rank, $0)) }, reduction)
                try check(doubles == expected.map(Double.init), "\(name) of \(length) float64")
                let integers = try communicator.allReduced((0..<length).map { Int64(smallInteger(communicator.rank, $0)) }, reduction)
                try check(integers == expected.map(Int64.init), "\(name) of \(length) integers")
            }
        }
    }

    private static let reductionsByName: [(String, Reduction, @Sendable (Int, Int) -> Int)] = [
        ("sum", .sum, { $0 + $1 }), ("minimum", .minimum, { min($0, $1) }), ("maximum", .maximum, { max($0, $1) }),
    ]

    /// Several sums under way at once, with another collective between, waited for in the opposite order.
    public static func startedReductions(_ communicator: any Communicator) throws {
        let buffers = lengths.map { length in
            let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: length)
            for index in 0..<length { buffer[index] = Float(smallInteger(communicator.rank, index + length)) }
            return buffer
        }
        defer { for buffer in buffers { buffer.deallocate() } }
        let pending = try buffers.map { try communicator.startAllReduce($0) }
        try check(communicator.allReduced(1, .sum) == communicator.size, "a blocking sum while others are under way")
        while try !pending[4].test() {}
        for collective in pending.reversed() { try collective.wait() }
        for (collective, buffer) in zip(pending, buffers) {
            try check(collective.test(), "a collective that was waited for is not complete")
            let expected = (0..<buffer.count).map { index in
                (0..<communicator.size).reduce(Float(0)) { $0 + Float(smallInteger($1, index + buffer.count)) }
            }
            try check(Array(buffer) == expected, "started sum of \(buffer.count) float32")
        }
    }

    /// Broadcast from each root, gather of unequal lengths, exchange with each partner.
    public static func movement(_ communicator: any Communicator) throws {
        let (rank, size) = (communicator.rank, communicator.size)
        func bytes(_ rank: Int, _ count: Int) -> [UInt8] { (0..<count).map { UInt8(truncatingIfNeeded: mixedBits(rank, $0)) } }
        for root in 0..<size {
            for count in [0, 1, 77, 5003] {
                var copy = rank == root ? bytes(root, count) : [UInt8](repeating: 0, count: count)
                try copy.withUnsafeMutableBytes { try communicator.broadcast($0, root: root) }
                try check(copy == bytes(root, count), "broadcast of \(count) bytes from rank \(root)")
                try check(communicator.broadcasted(rank == root ? copy : [], root: root) == copy, "broadcast of an unknown length from rank \(root)")
            }
        }
        for scale in [0, 1, 1001] {
            let gathered = try communicator.allGather(bytes(rank, rank * scale))
            try check(gathered == (0..<size).map { bytes($0, $0 * scale) }, "gather of up to \((size - 1) * scale) bytes")
        }
        for distance in 0..<size where rank ^ distance < size {
            let partner = rank ^ distance
            let outgoing = bytes(rank, 100 * rank)
            var incoming = [UInt8](repeating: 0, count: 100 * partner)
            try outgoing.withUnsafeBytes { outgoing in
                try incoming.withUnsafeMutableBytes { try communicator.exchange(outgoing, $0, with: partner) }
            }
            try check(incoming == bytes(partner, 100 * partner), "exchange with rank \(partner)")
        }
        try communicator.barrier()
    }

    /// Buckets whose parameters become ready in an order of each rank's own, over several steps.
    public static func buckets(_ communicator: any Communicator) throws {
        let counts = [5, 0, 1000, 3, 17, 40_000, 64, 1, 900]
        var ranges: [Range<Int>] = []
        var end = 3
        for count in counts {
            ranges.append(end..<end + count)
            end += count + count % 2
        }
        ranges.swapAt(1, 6)
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: end + 11)
        defer { gradients.deallocate() }
        for bucketBytes in [1000, 20_000, 4 << 20] {
            let buckets = GradientBuckets(ranges: ranges, bucketBytes: bucketBytes)
            for step in 0..<3 {
                for index in gradients.indices { gradients[index] = Float(smallInteger(communicator.rank, index + step)) }
                let seed = communicator.rank * 10 + step
                let order = ranges.indices.sorted { mixedBits(seed, $0) < mixedBits(seed, $1) }
                buckets.begin(gradients: gradients, communicator: communicator)
                // On the last step some parameters are never marked: `finish` must start them.
                let marked = step == 2 ? order.dropLast(communicator.rank + 1) : order[...]
                for parameter in marked { try buckets.markReady(parameter) }
                // Polling alone brings every bucket on its way, a few at a time.
                while step == 0, communicator.size > 1, buckets.startedCount < buckets.buckets.count {
                    try buckets.poll()
                    usleep(20)
                }
                try buckets.finish()
                for range in ranges {
                    for index in range {
                        let expected = (0..<communicator.size).reduce(Float(0)) { $0 + Float(smallInteger($1, index + step)) }
                        let found = gradients[index]
                        try check(found == expected, "buckets of \(bucketBytes) bytes, element \(index): \(found), not \(expected)")
                    }
                }
                let last = Float(smallInteger(communicator.rank, end + 10 + step))
                try check(gradients[end + 10] == last, "an element after the last parameter was touched")
            }
        }
    }

    /// The tree's sums have the bits of the same tree written down plainly, for every number of groups and many lengths.
    public static func tree(_ communicator: any Communicator) throws {
        for groupCount in [1, 2, 4, 8, 16, 32] where groupCount >= communicator.size {
            for length in lengths where length < 50_000 {
                for chunkBytes in [4, 60, 4 << 20] where chunkBytes > 4 || length < 100 {
                    let result = try treeSum(communicator, groupCount: groupCount, length: length, chunkBytes: chunkBytes)
                    let expected = plainTree((0..<groupCount).map { group in (0..<length).map { roughValue(group, $0) } })
                    let isEqual = result.map(\.bitPattern) == expected.map(\.bitPattern)
                    try check(isEqual, "tree of \(groupCount) groups, \(length) elements, chunks of \(chunkBytes) bytes")
                }
            }
            let tree = try ReproducibleTree(groupCount: groupCount, size: communicator.size)
            let losses = tree.groups(ofRank: communicator.rank).map { group in (0..<3).map { Double(roughValue(group, $0)) / 3 } }
            let expected = plainTree((0..<groupCount).map { group in (0..<3).map { Double(roughValue(group, $0)) / 3 } })
            let sums = try tree.sum(losses, communicator: communicator)
            try check(sums.map(\.bitPattern) == expected.map(\.bitPattern), "float64 tree of \(groupCount) groups")
        }
    }

    /// One step of `groupCount` groups of rough values, summed by the tree.
    public static func treeSum(
        _ communicator: any Communicator, groupCount: Int, length: Int, chunkBytes: Int, ranksPerNode: Int = 1
    ) throws -> [Float] {
        let tree = try ReproducibleTree(groupCount: groupCount, size: communicator.size, ranksPerNode: ranksPerNode, chunkBytes: chunkBytes)
        let groups = tree.groups(ofRank: communicator.rank)
        let accumulator = tree.accumulator(ofRank: communicator.rank, elementCount: length)
        var gradients = [Float](repeating: 0, count: length)
        for _ in 0..<2 {
            for (position, group) in groups.enumerated() {
                for index in 0..<length { gradients[index] = roughValue(group, index) }
                let isLast = gradients.withUnsafeMutableBufferPointer { accumulator.add($0) }
                try check(isLast == (position == groups.count - 1), "the accumulator ends after \(position + 1) of \(groups.count) groups")
            }
        }
        try gradients.withUnsafeMutableBufferPointer { try tree.allReduce($0, accumulator: accumulator, communicator: communicator) }
        return gradients
    }

    /// The definition: halve the list of groups by adding its upper half to its lower half.
    private static func plainTree<Scalar: FloatingPoint>(_ groups: [[Scalar]]) -> [Scalar] {
        var rows = groups
        while rows.count > 1 {
            let half = rows.count / 2
            rows = (0..<half).map { group in zip(rows[group], rows[group + half]).map { $0 + $1 } }
        }
        return rows[0]
    }

    /// Agreement passes where all agree, and names item, rank and values where one differs; one rank's error becomes everyone's.
    public static func agreement(_ communicator: any Communicator) throws {
        let (rank, size) = (communicator.rank, communicator.size)
        try communicator.agree(on: [("configuration key steps", "100"), ("hash of the program", "abc")])
        try communicator.agreeOnError(nil)
        try check(communicator.agreeOnFlag(rank == size - 1 ? 3 : 0) == 3, "the flag of the last rank")
        try check(communicator.onEveryRank { rank } == rank, "the value of a body that all ranks ran")
        let mine = rank == size - 1 ? UserError(.badData, "odd byte", at: "a.txt:3", advice: "mend it") : nil
        let error = thrown { try communicator.agreeOnError(mine) }
        let place = size > 1 ? "rank \(size - 1), a.txt:3" : "a.txt:3"
        try check(error?.exitCode == .badData && error?.description == "\(place): odd byte; mend it", "agreed error: \(error?.description ?? "none")")
        let own = thrown { try communicator.onEveryRank { if rank == 0 { throw UserError(.missingInput, "no such file") } } }
        try check(own?.exitCode == .missingInput, "an error inside a body: \(own?.description ?? "none")")
        guard size > 1 else { return }
        let last = thrown { try communicator.agree(on: [("seed", "1"), ("configuration key model.width", rank == size - 1 ? "512" : "256")]) }
        let expected = "rank \(size - 1) differs from rank 0 in configuration key model.width: \"512\" there, \"256\" on rank 0"
        try check(last?.exitCode == .configuration && last?.what == expected, "disagreement: \(last?.description ?? "none")")
        guard size > 2 else { return }
        let first = thrown { try communicator.agree(on: rank == 0 ? [("seed", "1")] : [("seed", "2"), ("steps", "7")]) }
        let against = "rank 0 differs from the other ranks in seed: \"1\" there, \"2\" on the other ranks (1 more item differs)"
        try check(first?.what == against, "disagreement of rank 0: \(first?.description ?? "none")")
    }

    private static func thrown(_ body: () throws -> Void) -> UserError? {
        do {
            try body()
            return nil
        } catch { return error as? UserError }
    }
}
