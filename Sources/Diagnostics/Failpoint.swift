// Places at which a test can make a run fail on purpose, so that every interleaving that matters is met every time and not by luck.

import Foundation

/// A named place in the program. `MNEME_FAILPOINT=name[:after]:action[@rank]` makes it fail; several are divided by commas.
///
/// `after` is the number of times that the place is passed before it fails (0 where it is left out), `rank` the only rank that fails (every rank
/// where it is left out). Compiled in, off by default: a place that nobody asked for costs one load.
public enum Failpoint: String, CaseIterable, Sendable {
    case shardWrite = "checkpoint.shard.write"
    case shardSync = "checkpoint.shard.sync"
    case joinedWrite = "checkpoint.joined.write"
    case partialSync = "checkpoint.partial.sync"
    case publishRename = "checkpoint.publish.rename"
    case publishedSync = "checkpoint.published.sync"
    case exchangedRemove = "checkpoint.replaced.remove"
    case removalRename = "removal.rename"
    case removalSync = "removal.sync"
    case removalUnlink = "removal.unlink"
    case removalDirectory = "removal.directory"
    case fileWrite = "file.write"
    case fileSync = "file.sync"
    case fileRename = "file.rename"
    case directorySync = "directory.sync"
    case segmentWrite = "segment.write"
    case segmentSync = "segment.sync"
    case segmentRename = "segment.rename"
    case logAppend = "log.append"
    case bankCommit = "bank.commit"
    case bankSweep = "bank.sweep"
    case freshMove = "fresh.move"
    case freshCommit = "fresh.commit"
    case logRewind = "log.rewind"
    case logWrite = "log.write"
    case sessionWrite = "session.write"
    case restore = "restore.item"
    case collective = "collective"
    case parameterDrift = "parameter.drift"
    case gradient = "step.gradient"
    case crossCheck = "step.verify"
    case product = "product.output"
    case corpusShard = "corpus.shard"
    case evaluationBatch = "evaluation.batch"

    /// What is about to happen at the place.
    public var meaning: String {
        switch self {
        case .shardWrite: "a rank's shard of a checkpoint is written"
        case .shardSync: "a shard was written and is synced to the disk"
        case .joinedWrite: "all shards are there and checkpoint.h5 is written"
        case .partialSync: "checkpoint.h5 is sealed and its directory is synced"
        case .publishRename: "the partial directory gets the checkpoint's name"
        case .publishedSync: "the checkpoint has its name and the run directory is synced"
        case .exchangedRemove: "a checkpoint of the same step was replaced and its predecessor is removed"
        case .removalRename: "something is renamed in order to be removed"
        case .removalSync: "something has the name of a removal and the directory is synced"
        case .removalUnlink: "a file of something that is removed is unlinked"
        case .removalDirectory: "the empty directory of something that is removed is removed"
        case .fileWrite: "a file that replaces another is written beside it"
        case .fileSync: "a file that replaces another is synced"
        case .fileRename: "a file takes the place of another"
        case .directorySync: "a directory is synced after a rename"
        case .segmentWrite: "a segment is written under a hidden name"
        case .segmentSync: "a segment was written and is synced"
        case .segmentRename: "a segment gets the name of its content"
        case .logAppend: "lines are added to a log whose lines are chained: a bank's audit log or its ledger of deletions"
        case .bankCommit: "all segments of a bank's commit are on the disk and its manifest is replaced"
        case .bankSweep: "a bank's commit is done and the segments that nothing names any more are removed"
        case .freshMove: "--fresh moves a file or a checkpoint of the earlier run aside"
        case .freshCommit: "--fresh has moved everything aside"
        case .logRewind: "metrics.jsonl is cut back to the step that a run resumes from"
        case .logWrite: "a line is written to metrics.jsonl"
        case .sessionWrite: "session.json is written"
        case .restore: "an item of a checkpoint is read"
        case .collective: "a rank has done its part of an MPI call"
        case .parameterDrift: "a step has updated the parameters; the action error changes one float of this rank instead"
        case .gradient: "a step's gradient is summed; the action error makes a part of it not finite instead"
        case .crossCheck: "a part of a step was computed for parallel.verify; the action error changes one number of it instead"
        case .product: "a matrix product was computed; the action error flips a bit of its output instead"
        case .corpusShard: "a shard of a corpus was written and gets its name"
        case .evaluationBatch: "a batch of an evaluation is computed"
        }
    }

    /// What happens at a place.
    public enum Action: String, CaseIterable, Sendable {
        /// The process gets SIGKILL.
        case kill
        /// The place fails with an error.
        case error
        /// The thread sleeps until the process ends.
        case stall
        /// The program stops as by a defect of its own.
        case trap
    }

    private struct Order: Sendable {
        let point: Failpoint
        let action: Action
        let rank: Int?
        var remaining: Int
    }

    private static let lock = NSLock()
    nonisolated(unsafe) private static var orders: [Order] = []
    nonisolated(unsafe) private static var isArmed = false

    /// Takes orders such as `checkpoint.publish.rename:2:kill@1,file.sync:error`. To be called as a program starts.
    /// - Parameter rank: this process's rank.
    /// - Throws: `UserError` (.usage) that names what is not understood.
    public static func arm(_ text: String, rank: Int) throws {
        let parsed = try text.split(separator: ",").map { try parse($0) }.filter { $0.rank == nil || $0.rank == rank }
        lock.withLock {
            orders = parsed
            isArmed = !parsed.isEmpty
        }
    }

    private static func parse(_ text: Substring) throws -> Order {
        func refused(_ what: String) -> UserError {
            UserError(.usage, what, at: "MNEME_FAILPOINT", advice: "write name[:after]:action[@rank]; mneme doctor --failpoints lists the names")
        }
        let atRank = text.split(separator: "@", omittingEmptySubsequences: false)
        let fields = atRank[0].split(separator: ":", omittingEmptySubsequences: false)
        guard atRank.count <= 2, fields.count == 2 || fields.count == 3 else { throw refused("'\(text)' is no order for a failpoint") }
        guard let point = Failpoint(rawValue: String(fields[0])) else { throw refused("there is no failpoint '\(fields[0])'") }
        guard let action = Action(rawValue: String(fields[fields.count - 1])) else {
            throw refused("'\(fields[fields.count - 1])' is none of \(Action.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        guard let after = fields.count == 3 ? Int(fields[1]) : 0, after >= 0 else { throw refused("'\(fields[1])' is no number of passes") }
        guard let rank = atRank.count == 2 ? Int(atRank[1]) : -1, atRank.count == 1 || rank >= 0 else { throw refused("'\(text)' names no rank") }
        return Order(point: point, action: action, rank: atRank.count == 2 ? rank : nil, remaining: after)
    }

    /// Whether the place fails now: counts a pass. Kills and stalls by itself; true stands for the action `error`.
    public var isHit: Bool {
        guard Failpoint.isArmed else { return false }
        let action: Action? = Failpoint.lock.withLock {
            guard let index = Failpoint.orders.firstIndex(where: { $0.point == self }) else { return nil }
            if Failpoint.orders[index].remaining > 0 {
                Failpoint.orders[index].remaining -= 1
                return nil
            }
            let action = Failpoint.orders[index].action
            if action == .error { Failpoint.orders.remove(at: index) }
            return action
        }
        switch action {
        case nil: return false
        case .error: return true
        case .kill:
            kill(getpid(), SIGKILL)
            return true
        case .stall: while true { sleep(3600) }
        case .trap: fatalError("the failpoint \(rawValue) traps")
        }
    }

    /// Passes the place.
    /// - Throws: `UserError` (.inputOutput) where the place was told to fail with an error: once.
    public func pass(_ path: String? = nil) throws {
        if isHit { throw UserError(.inputOutput, "the failpoint \(rawValue) says so", at: path) }
    }
}
