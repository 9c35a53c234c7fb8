// The cost of summing gradients on this cluster, by buffer size, and the bucket size that follows from it.

import Collectives

/// All-reduce times by size, measured in seconds rather than minutes on any network.
package struct AllReduceCurve: Codable, Sendable {
    /// One size.
    package struct Point: Codable, Sendable {
        /// Bytes of the buffer, or of a bucket.
        package var bytes: Int
        /// The middle repeat of the slowest rank.
        package var seconds: Double
        /// Bytes summed a second.
        package var bytesPerSecond: Double
    }

    /// One blocking call by buffer size.
    package var calls: [Point]
    /// One large gradient cut into buckets, by bucket size.
    package var buckets: [Point]
    /// The bucket size with the shortest time: what `parallel.bucketBytes` should be.
    package var bestBucketBytes: Int

    /// Measures. Collective.
    ///
    /// - Parameters:
    ///   - communicator: at least two ranks.
    ///   - seconds: about how long to measure; larger sizes are left out once it is used up.
    package static func measured(_ communicator: any Communicator, seconds: Double = 5) throws -> AllReduceCurve {
        var used = 0.0
        /// The first measurement says how many repeats there is time for; every rank sees the same times, so all decide alike.
        func measure(_ bytes: Int, _ mode: AllReduceMode, share: Double) throws -> AllReduceTiming {
            let first = try measureAllReduce(communicator: communicator, sizes: [bytes], mode: mode, warmUps: 1, repeats: 1)[0]
            let repeats = max(1, min(15, Int(share / max(first.medianSeconds, 1e-6))))
            let timing = try measureAllReduce(communicator: communicator, sizes: [bytes], mode: mode, warmUps: 1, repeats: repeats)[0]
            used += 2 * first.maximumSeconds + timing.averageSeconds * Double(repeats + 1)
            return timing
        }
        var calls: [Point] = []
        for bytes in [4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20] where used < seconds / 2 {
            calls.append(Point(bytes, try measure(bytes, .blocking, share: seconds / 20)))
        }
        var buckets: [Point] = []
        let gradient = min(64 << 20, 4 * (calls.last?.bytes ?? 1 << 20))
        for bytes in [1 << 20, 2 << 20, 4 << 20, 8 << 20, 16 << 20, 32 << 20] where bytes <= gradient / 2 && (buckets.isEmpty || used < seconds) {
            let timing = try measure(gradient, .bucketed(bytes: bytes, concurrency: 4), share: seconds / 20)
            buckets.append(Point(bytes: bytes, seconds: timing.medianSeconds, bytesPerSecond: timing.bytesPerSecond))
        }
        return AllReduceCurve(calls: calls, buckets: buckets, bestBucketBytes: buckets.min { $0.seconds < $1.seconds }?.bytes ?? 4 << 20)
    }
}

extension AllReduceCurve.Point {
    init(_ bytes: Int, _ timing: AllReduceTiming) {
        self.init(bytes: bytes, seconds: timing.medianSeconds, bytesPerSecond: timing.bytesPerSecond)
    }
}
