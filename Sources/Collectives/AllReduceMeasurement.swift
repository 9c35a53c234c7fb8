// How fast this cluster sums: the time of an all-reduce by buffer size.

/// The time of one all-reduce of one size, over several repeats. A repeat takes as long as its slowest rank.
public struct AllReduceTiming: Sendable {
    /// The size of the buffer on each rank, in bytes.
    public let bytes: Int
    /// The shortest repeat.
    public let minimumSeconds: Double
    /// The mean of all repeats.
    public let averageSeconds: Double
    /// The middle repeat.
    public let medianSeconds: Double
    /// The longest repeat.
    public let maximumSeconds: Double

    /// Bytes of the buffer per second, by the median.
    public var bytesPerSecond: Double { Double(bytes) / medianSeconds }
}

/// Which way of summing is measured.
public enum AllReduceMode: Sendable, Equatable {
    /// One call that blocks.
    case blocking
    /// One call that starts and one that waits.
    case started
    /// `GradientBuckets` of so many bytes, all ready at once.
    case bucketed(bytes: Int, concurrency: Int)
    /// The part of `ReproducibleTree` that runs across ranks.
    case reproducible
}

/// Measures float32 all-reduces in place. Collective.
///
/// Warm-up first; before each repeat the buffer is filled again, so that sums neither overflow nor are zero, and the ranks meet at a barrier.
///
/// - Parameters:
///   - communicator: the ranks.
///   - sizes: buffer sizes in bytes, multiples of 4.
///   - mode: the call to measure.
///   - warmUps: repeats that are not counted.
///   - repeats: repeats that are counted, at least 1.
/// - Returns: one timing a size, the same on every rank.
/// - Throws: `UserError` (.unavailable) from the library.
public func measureAllReduce(
    communicator: any Communicator, sizes: [Int], mode: AllReduceMode = .blocking, warmUps: Int = 3, repeats: Int = 10
) throws -> [AllReduceTiming] {
    precondition(repeats > 0 && warmUps >= 0, "\(warmUps) warm-ups, \(repeats) repeats")
    let clock = ContinuousClock()
    var groupCount = 1
    while groupCount < communicator.size { groupCount *= 2 }
    let tree = mode == .reproducible
        ? try ReproducibleTree(groupCount: groupCount, size: communicator.size, ranksPerNode: communicator.ranksPerNode()) : nil
    return try sizes.map { bytes in
        let count = bytes / MemoryLayout<Float>.stride
        let values = UnsafeMutableBufferPointer<Float>.allocate(capacity: count)
        defer { values.deallocate() }
        let accumulator = tree?.accumulator(ofRank: communicator.rank, elementCount: count)
        var seconds: [Double] = []
        for attempt in -warmUps..<repeats {
            for index in 0..<count { values[index] = Float(index & 1023) - 511.5 }
            try communicator.barrier()
            let start = clock.now
            switch mode {
            case .reproducible: try tree?.allReduce(values, accumulator: accumulator, communicator: communicator)
            case .bucketed(let bucketBytes, let concurrency):
                let buckets = GradientBuckets(ranges: [0..<count], bucketBytes: bucketBytes, concurrency: concurrency)
                buckets.begin(gradients: values, communicator: communicator)
                try buckets.markReady(0)
                try buckets.finish()
            case .blocking: try communicator.allReduce(values, .sum)
            case .started: try communicator.startAllReduce(values).wait()
            }
            if attempt >= 0 { seconds.append((clock.now - start) / .seconds(1)) }
        }
        let slowest = try communicator.allReduced(seconds, .maximum).sorted()
        return AllReduceTiming(
            bytes: count * MemoryLayout<Float>.stride, minimumSeconds: slowest[0], averageSeconds: slowest.reduce(0, +) / Double(repeats),
            medianSeconds: slowest[repeats / 2], maximumSeconds: slowest[repeats - 1])
    }
}
