// Ranks that keep the others waiting although they move.

import Foundation

/// Compares how long the ranks work for a step, without what they wait for each other.
package struct StragglerWatch {
    private let nodes: [String]
    /// The shortest that each rank has worked for a step.
    private var best: [Double]
    /// For how many looks in a row each rank has been slow.
    private var slowLooks: [Int]

    /// - Parameter nodes: the name of each rank's node.
    package init(nodes: [String]) {
        self.nodes = nodes
        best = nodes.map { _ in .infinity }
        slowLooks = nodes.map { _ in 0 }
    }

    /// Takes the mean time of each rank's work for a step since the last look.
    ///
    /// A rank is slow that works twice as long as the fastest one and half as long again as it did at its best, in two looks in a row: ranks on slower
    /// processors are no news, and neither is a single disturbance.
    /// - Returns: lines for the user, on ranks that have begun or ceased to be slow.
    package mutating func observe(_ seconds: [Double]) -> [String] {
        let fastest = seconds.min() ?? 0
        var lines: [String] = []
        for (rank, mine) in seconds.enumerated() {
            best[rank] = min(best[rank], mine)
            let isSlow = mine > 2 * fastest && mine > 1.5 * best[rank]
            let before = slowLooks[rank]
            slowLooks[rank] = isSlow ? before + 1 : 0
            if slowLooks[rank] == 2 {
                lines.append(
                    "rank \(rank) (\(nodes[rank])) is slow: \(Self.rounded(mine)) s of work a step, \(Self.rounded(best[rank])) s at its best, "
                        + "\(Self.rounded(fastest)) s the fastest rank")
            } else if before >= 2, !isSlow {
                lines.append("rank \(rank) (\(nodes[rank])) keeps up again")
            }
        }
        return lines
    }

    private static func rounded(_ seconds: Double) -> String { String(format: "%.3g", seconds) }
}
