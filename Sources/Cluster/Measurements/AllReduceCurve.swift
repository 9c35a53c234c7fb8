// The cost of summing gradients on this cluster, by buffer size.

import Collectives

/// All-reduce times by size, measured in seconds rather than minutes on any network.
package struct AllReduceCurve: Codable, Sendable, Equatable {
    /// One size.
    package struct Point: Codable, Sendable, Equatable {
        /// Bytes of the buffer.
        package var bytes: Int
        /// The middle repeat of the slowest rank.
        package var seconds: Double
        /// Bytes summed a second.
        package var bytesPerSecond: Double

        package init(bytes: Int, seconds: Double) { (self.bytes, self.seconds, bytesPerSecond) = (bytes, seconds, Double(bytes) / max(seconds, 1e-9)) }
    }

    /// One blocking call by buffer size, the smallest first.
    package var calls: [Point]

    package init(calls: [Point]) { self.calls = calls }

    /// Measures. Collective.
    ///
    /// - Parameters:
    ///   - communicator: at least two ranks.
    ///   - seconds: about how long to measure; larger sizes are left out once it is used up.
    package static func measured(_ communicator: any Communicator, seconds: Double = 3) throws -> AllReduceCurve {
        var used = 0.0
        var calls: [Point] = []
        for bytes in [1 << 10, 4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 64 << 20] where used < seconds {
            // The first measurement says how many repeats there is time for; every rank sees the same times, so all decide alike.
            let first = try measureAllReduce(communicator: communicator, sizes: [bytes], warmUps: 1, repeats: 1)[0]
            let repeats = max(1, min(25, Int(seconds / 10 / max(first.medianSeconds, 1e-6))))
            let timing = try measureAllReduce(communicator: communicator, sizes: [bytes], warmUps: 1, repeats: repeats)[0]
            used += 2 * first.maximumSeconds + timing.averageSeconds * Double(repeats + 1)
            calls.append(Point(bytes: bytes, seconds: timing.medianSeconds))
        }
        return AllReduceCurve(calls: calls)
    }

    /// Seconds of a call on a buffer of so many bytes: between two measured sizes in proportion, beyond the largest at its rate.
    package func seconds(_ bytes: Double) -> Double {
        guard let first = calls.first, let last = calls.last, bytes > 0 else { return 0 }
        if bytes <= Double(first.bytes) { return first.seconds }
        if bytes >= Double(last.bytes) { return bytes / last.bytesPerSecond }
        let upper = calls.firstIndex { Double($0.bytes) >= bytes } ?? calls.count - 1
        let (a, b) = (calls[upper - 1], calls[upper])
        return a.seconds + (b.seconds - a.seconds) * (bytes - Double(a.bytes)) / Double(b.bytes - a.bytes)
    }
}

/// What the curve says about the sizes that runs use.
package enum AllReduceCheck {
    /// - Parameter nodes: over how many the ranks lie.
    package static func results(_ curve: AllReduceCurve, nodes: Int) -> [CheckResult] {
        let name = "all-reduce"
        guard let usual = curve.calls.first(where: { $0.bytes == BucketSize.usual }), let fastest = curve.calls.map(\.bytesPerSecond).max() else {
            let largest = curve.calls.last
            return [
                .warn(
                    name, "\(bytesShown(largest?.bytes ?? 0)) take \(String(format: "%.2f", largest?.seconds ?? 0)) s: too slow to measure larger ones",
                    nodes > 1 ? "see that ranks use the fast network: with Open MPI --mca btl_tcp_if_include CIDR" : "start no more ranks than cores")
            ]
        }
        let text = String(format: "%.2f GB/s in buckets of 4 MiB, %.0f us for %d bytes", usual.bytesPerSecond / 1e9, curve.calls[0].seconds * 1e6, curve.calls[0].bytes)
        // Curves of loaded machines jump by a factor of two. What is slower than a third of the best is worth a word, and the least size that is not.
        let advised = curve.calls.first { $0.bytes > BucketSize.usual && $0.bytesPerSecond > 0.8 * fastest }
        if usual.bytesPerSecond < fastest / 3, let advised {
            return [.warn(name, text + String(format: ", but %.2f GB/s in larger ones", advised.bytesPerSecond / 1e9), "set parallel.bucketBytes to \(advised.bytes)")]
        }
        if nodes > 1, usual.bytesPerSecond < 0.2e9 {
            return [
                .warn(
                    name, text, "see that ranks use the fast network; over TCP, Open MPI doubles this with --mca btl_tcp_eager_limit 4194304")
            ]
        }
        return [.pass(name, text)]
    }
}
