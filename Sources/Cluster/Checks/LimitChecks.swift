// The system's limits on a process.

/// Limits that a run would meet.
package enum LimitChecks {
    package static func results(_ ranks: [RankFacts]) -> [CheckResult] {
        let name = "open files"
        guard let least = ranks.min(by: { $0.openFiles < $1.openFiles }) else { return [] }
        // A rank that loads a corpus has its shards open, and one that restores a checkpoint of many ranks has theirs.
        if least.openFiles < 1024 {
            return [.warn(name, "rank \(least.rank) on \(least.node) may have \(least.openFiles) files open", "raise it (ulimit -n 4096): a rank opens corpus shards and those of checkpoints")]
        }
        return [.pass(name, "at least \(least.openFiles) a rank")]
    }
}
