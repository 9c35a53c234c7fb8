// Whether a node's memory, and what control groups leave of it, holds what a run needs.

import Foundation

/// Memory against need.
package enum MemoryChecks {
    /// - Parameter need: bytes of each rank before activations, by rank; `nil` where no run is known.
    package static func results(_ ranks: [RankFacts], need: [Int]? = nil) -> [CheckResult] {
        let name = "memory"
        var tightest: (free: Double, text: String)?
        for (node, ranks) in ranks.byNode {
            for facts in ranks {
                let sharers = ranks.filter { $0.memoryLimit != nil && $0.memoryLimit?.group == facts.memoryLimit?.group }
                let ofNode = facts.memory.map { Double($0.available) / Double(ranks.count) } ?? .infinity
                let ofGroup = facts.memoryLimit.map { $0.free / Double(max(sharers.count, 1)) } ?? .infinity
                let free = min(ofNode, ofGroup)
                let each = ranks.count == 1 ? "" : " for each of its \(ranks.count) ranks"
                var text = facts.memory.map { "\(node): \(bytesShown($0.available)) of \(bytesShown($0.total)) free" } ?? "\(node): the system does not tell"
                if let limit = facts.memoryLimit, ofGroup < ofNode {
                    text = "\(node): \(bytesShown(Int(limit.free))) free of the \(bytesShown(Int(limit.amount))) that the control group \(limit.group) may have"
                }
                text += free.isFinite && ranks.count > 1 ? ", \(bytesShown(Int(free)))\(each)" : ""
                if let need, Double(need[facts.rank]) > free {
                    return [
                        .fail(
                            name, "\(text); the run needs \(bytesShown(need[facts.rank])) a rank and its activations on top",
                            "ask the scheduler for more memory, start fewer ranks on a node, or make the model or batch.lanes smaller")
                    ]
                }
                if free < tightest?.free ?? .infinity { tightest = (free, text) }
            }
        }
        guard let tightest else { return [.pass(name, "the system does not tell")] }
        guard let need, let most = need.max() else { return [.pass(name, tightest.text)] }
        let text = "\(tightest.text); the run needs \(bytesShown(most)) a rank and its activations on top"
        if Double(most) > 0.8 * tightest.free {
            return [.warn(name, text, "keep a reserve for activations: mneme plan measures them")]
        }
        return [.pass(name, text)]
    }
}
