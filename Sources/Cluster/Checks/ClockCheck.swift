// How far the clocks of nodes lie apart: logs of several nodes are read side by side, and file systems and locks go by time.

import Collectives
import Foundation

/// The wall clocks of nodes against that of rank 0.
package enum ClockCheck {
    /// A node's clock.
    package struct Skew: Codable, Sendable, Equatable {
        package var node: String
        /// Seconds that its clock is ahead of rank 0's.
        package var seconds: Double
        /// Half of the shortest round trip: the error of `seconds`.
        package var uncertainty: Double

        package init(node: String, seconds: Double, uncertainty: Double) {
            (self.node, self.seconds, self.uncertainty) = (node, seconds, uncertainty)
        }
    }

    /// Compares the first rank of each node with rank 0, by the shortest of some round trips. Collective; the result is rank 0's, others get none.
    package static func measure(_ communicator: any Communicator, nodes: [String], now: () -> Double = { Date().timeIntervalSince1970 }) throws -> [Skew] {
        var skews: [Skew] = []
        var seen: Set<String> = [nodes.first ?? ""]
        for (rank, node) in nodes.enumerated() where seen.insert(node).inserted {
            guard communicator.rank == 0 || communicator.rank == rank else { continue }
            let partner = communicator.rank == 0 ? rank : 0
            var best = Skew(node: node, seconds: 0, uncertainty: .infinity)
            for _ in 0..<20 {
                var (mine, theirs) = (0.0, 0.0)
                func send() throws { try withUnsafeMutableBytes(of: &mine) { try communicator.startMessages([Message(partner: partner, bytes: $0)], [], tag: 0).wait() } }
                func receive() throws { try withUnsafeMutableBytes(of: &theirs) { try communicator.startMessages([], [Message(partner: partner, bytes: $0)], tag: 0).wait() } }
                if communicator.rank == 0 {
                    mine = now()
                    try send()
                    try receive()
                    let half = (now() - mine) / 2
                    if half < best.uncertainty { best = Skew(node: node, seconds: theirs - (mine + half), uncertainty: half) }
                } else {
                    try receive()
                    mine = now()
                    try send()
                }
            }
            if communicator.rank == 0 { skews.append(best) }
        }
        return skews
    }

    package static func results(_ skews: [Skew]) -> [CheckResult] {
        let name = "clocks"
        guard let worst = skews.max(by: { abs($0.seconds) < abs($1.seconds) }) else { return [] }
        let text = String(format: "%@ is %.3f s %@ the node of rank 0", worst.node, abs(worst.seconds), worst.seconds > 0 ? "ahead of" : "behind")
        if abs(worst.seconds) > 1 + worst.uncertainty {
            return [.warn(name, text, "let the nodes' clocks follow one server (chrony, ntpd): logs, file times and job ends are compared by them")]
        }
        return [.pass(name, skews.count == 1 ? text : "\(skews.count + 1) nodes, at most \(String(format: "%.3f", abs(worst.seconds))) s apart")]
    }
}
