// The system's limits on a process, and what else the node does.

import Foundation

/// What a run would meet on its nodes.
package enum LimitChecks {
    package static func results(_ ranks: [RankFacts]) -> [CheckResult] {
        [load(ranks)] + openFiles(ranks)
    }

    /// Other work makes every measurement one of what it leaves. The facts are gathered before anything is measured.
    private static func load(_ ranks: [RankFacts]) -> CheckResult {
        let name = "load"
        guard let busiest = ranks.max(by: { $0.loadPerCore < $1.loadPerCore }) else { return .pass(name, "none") }
        let text = String(format: "%@: %.1f on %d cores", busiest.node, busiest.loadAverage, busiest.processors.online.count)
        if busiest.loadPerCore > 0.5 {
            return .warn(name, text + ", other work included", "measure again when nothing else runs there: speeds are of what is left")
        }
        return .pass(name, text)
    }

    private static func openFiles(_ ranks: [RankFacts]) -> [CheckResult] {
        let name = "open files"
        guard let least = ranks.min(by: { $0.openFiles < $1.openFiles }) else { return [] }
        // A rank that loads a corpus has its shards open, and one that restores a checkpoint of many ranks has theirs.
        if least.openFiles < 1024 {
            return [.warn(name, "rank \(least.rank) on \(least.node) may have \(least.openFiles) files open", "raise it (ulimit -n 4096): a rank opens corpus shards and those of checkpoints")]
        }
        return [.pass(name, "at least \(least.openFiles) a rank")]
    }
}

extension RankFacts {
    fileprivate var loadPerCore: Double { loadAverage / Double(max(1, processors.online.count)) }
}
