// The checkpoints of a run: written behind the training loop, published when all ranks have the same state and their shards are on the disk.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import Storage

/// The checkpoints of one run. Members marked *collective* are called by all ranks.
///
/// Random numbers need no state of their own: they are functions of seed, step and lane.
final class RunCheckpoints {
    private enum Phase { case idle, writing, protecting, publishing }

    private let communicator: any Communicator
    /// The run directory on rank 0.
    private let directory: RunDirectory?
    private let registry: RunStateRegistry
    private let writers: ShardWriters
    /// `nil` on ranks whose node's first rank writes for them.
    private let writer: CheckpointWriter?
    private let hasParity: Bool
    private let report: (String) -> Void
    private var phase = Phase.idle
    private var step = 0
    private var digests: [StateDigest] = []
    private var began = ContinuousClock.now
    /// The longest time from the beginning of a checkpoint to its publication, in seconds; `nil` before the first.
    private(set) var longest: Double?
    /// Whether one could not be written or published.
    private(set) var hasFailed = false
    /// Called on rank 0 before a checkpoint is published: what must be on the disk before it.
    var beforePublication: () throws -> Void = {}

    /// Collective.
    /// - Parameters:
    ///   - perNode: one shard is written for each node, not for each rank.
    ///   - report: takes warnings, on rank 0.
    init(
        _ configuration: RunConfiguration, communicator: any Communicator, directory: RunDirectory?, registry: RunStateRegistry,
        perNode: Bool = false, report: @escaping (String) -> Void
    ) throws {
        self.communicator = communicator
        self.directory = directory
        self.registry = registry
        self.report = report
        let hasParity = configuration.checkpointParity
        self.hasParity = hasParity
        let writers = perNode ? try ShardWriters(perNode: communicator) : ShardWriters(everyRank: communicator)
        self.writers = writers
        writer = writers.index.map {
            CheckpointWriter(
                directory: configuration.directory, rank: $0, worldSize: writers.count, keep: configuration.checkpointKeep, hasParity: hasParity)
        }
    }

    /// The number of shards that a checkpoint consists of.
    var shardCount: Int { writers.count }

    /// Keeps checkpoints that a resume has passed over from counting as kept.
    func setDamaged(_ steps: [Int]) { writer?.setDamaged(steps) }

    /// Copies the state into memory and starts writing it. Waits only when the checkpoint before is still under way. Collective.
    func begin(step: Int) throws {
        try finish()
        try begin(step: step, items: registry.items.map { try $0.checkpointItem() })
    }

    /// The same with items that somebody else has put together. Collective.
    func begin(step: Int, items: [CheckpointItem]) throws {
        self.step = step
        began = .now
        try communicator.onEveryRank { try directory?.requireOwner() }
        digests = StateDigest.all(of: items)
        if let mine = try writers.gather(items, communicator) { writer?.begin(step: step, attributes: registry.attributes, items: mine) }
        phase = .writing
    }

    /// Whether no checkpoint is under way. The same on every rank.
    var isIdle: Bool { phase == .idle }

    /// Whether this rank has nothing to wait for in the phase that all are in: what ranks agree on at a step boundary before ``advance()``.
    var isReady: Bool {
        switch phase {
        case .idle: true
        case .writing, .protecting: writer?.isShardWritten ?? true
        case .publishing: communicator.rank != 0 || writer?.isPublished ?? true
        }
    }

    /// Moves a checkpoint under way on, now that every rank ``isReady``. Collective.
    func advance() throws {
        switch phase {
        case .idle: return
        case .writing: try endWriting()
        case .protecting: try publish()
        case .publishing: try endPublication()
        }
    }

    /// Waits until the checkpoint under way, if any, is published. Collective.
    func finish() throws {
        while !isIdle { try advance() }
    }

    /// Gives up the checkpoint under way on this rank, after whom no other rank asks.
    func abandon() {
        writer?.abandon()
        phase = .idle
    }

    /// Ends the writing of shards: the parity comes next, if there is any, and then the publication.
    private func endWriting() throws {
        try abandoning {
            try StateDigest.requireEqual(digests, step: step, communicator)
            try communicator.onEveryRank { try writer?.waitForShard() }
        }
        guard hasParity else { return try publish() }
        // All shards are on the disk: each rank reads a part of all of them.
        writer?.startParity()
        phase = .protecting
    }

    private func publish() throws {
        try abandoning {
            if phase == .protecting { try communicator.onEveryRank { try writer?.waitForShard() } }
            try communicator.onEveryRank {
                guard let directory else { return }
                try directory.requireOwner()
                try beforePublication()
            }
        }
        if communicator.rank == 0 { writer?.startPublishing() }
        phase = .publishing
    }

    /// Gives the checkpoint up where `body` fails.
    private func abandoning(_ body: () throws -> Void) throws {
        do { try body() } catch {
            writer?.abandon()
            (phase, hasFailed) = (.idle, true)
            throw error
        }
    }

    /// Removes segments that no checkpoint of the run lists any more, on rank 0. Between two checkpoints nobody writes any.
    private func sweepSegments(of path: String) {
        let items = registry.items.map(\.name).filter { $0.hasSuffix("/segments") }
        guard !items.isEmpty else { return }
        do {
            let checkpoints = CheckpointStore(directory: path)
            var named: Set<SegmentReference> = []
            for step in try checkpoints.steps() {
                let reader = try CheckpointReader(directory: checkpoints.directory(step: step))
                defer { try? reader.close() }
                named.formUnion(try reader.segments(items))
            }
            try SegmentStore(run: path).sweep(keeping: named).forEach(report)
        } catch { report("warning: segments of removed checkpoints stay: \(error)") }
    }

    private func endPublication() throws {
        phase = .idle
        longest = max(longest ?? 0, began.duration(to: .now).seconds)
        do {
            try communicator.onEveryRank {
                guard communicator.rank == 0 else { return }
                try writer?.waitForPublication()
                writer?.takeWarnings().forEach(report)
                if let warning = directory?.discardEarlierRun() { report(warning) }
                if let directory { sweepSegments(of: directory.path) }
                try directory?.note(step: step, checkpoint: step)
            }
        } catch {
            hasFailed = true
            throw error
        }
    }
}
