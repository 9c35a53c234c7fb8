// Saving: a copy in memory, a background thread that writes this rank's shard, and the publication by rank 0.

import Diagnostics
import Foundation
import HDF5
import Storage

/// What writing a shard took.
public struct CheckpointShardStatistics: Sendable {
    /// Bytes of data, without HDF5's own.
    public internal(set) var byteCount = 0
    /// Checksums, writing, and waiting until all is on the disk.
    public internal(set) var writeSeconds = 0.0
    /// Reading back from the disk.
    public internal(set) var readBackSeconds = 0.0
}

/// Writes the checkpoints of a run, one at a time, on every rank.
///
/// The order of events for each checkpoint:
/// 1. every rank calls ``begin(step:attributes:items:)`` at the same step, and goes on training;
/// 2. every rank's ``waitForShard()`` returns or throws, at once where ``isShardWritten`` is true already;
/// 3. the ranks agree, through their communicator, whether all shards are written;
/// 4. if so, and the checkpoint has parity, every rank calls ``startParity()``, and steps 2 and 3 come again;
/// 5. rank 0 calls ``publish()`` or ``startPublishing()``; where a shard or parity failed, every rank calls ``abandon()`` instead.
///
/// Until the publication's last rename the run's earlier checkpoints are all there is; after it the new one is there too. An instance is used by one
/// thread at a time.
public final class CheckpointWriter: @unchecked Sendable {
    /// The run's directory.
    public let directory: String
    /// This process's place among those that write together.
    public let rank: Int
    /// How many write together.
    public let worldSize: Int
    /// How many checkpoints are kept.
    public let keep: Int
    /// Whether a checkpoint gets parity, from which a shard that is lost comes back.
    public let hasParity: Bool

    private enum Phase {
        case idle, writing, written, publishing
        case failed(any Error)
    }

    private let condition = NSCondition()
    private var phase = Phase.idle
    private var step: Int?
    private var attributes: [String: CheckpointAttribute] = [:]
    private var statistics = CheckpointShardStatistics()
    private let snapshot = CheckpointSnapshot()
    /// Steps whose checkpoints are known to be damaged: they do not count as kept.
    private var damaged: Set<Int> = []
    /// What went wrong beside the checkpoint itself, and was not told yet.
    private var warnings: [String] = []
    /// Checkpoints that stay for a reason that was told.
    private var staying: Set<Int> = []
    private let queue = DispatchQueue(label: "mneme.checkpoint-writer", qos: .utility)

    /// - Parameters:
    ///   - directory: the run's directory; made when it is needed.
    ///   - keep: how many checkpoints are kept, at least 1.
    ///   - hasParity: whether checkpoints get parity.
    public init(directory: String, rank: Int, worldSize: Int, keep: Int, hasParity: Bool = false) {
        precondition(worldSize > 0 && (0..<worldSize).contains(rank) && keep > 0)
        self.directory = directory
        self.rank = rank
        self.worldSize = worldSize
        self.keep = keep
        self.hasParity = hasParity
    }

    /// Clears away what a crash has left in the run's directory. Its owner calls it before any rank saves.
    ///
    /// - Returns: a line for each thing that could not be removed.
    /// - Throws: `UserError(.inputOutput)` where the directory cannot be read, or a checkpoint does not get its name back.
    public static func sweep(_ directory: String) throws -> [String] {
        var warnings: [String] = []
        func remove(_ path: String) { do { try Directory.remove(path) } catch { warnings.append("warning: \(error)") } }
        for name in try Directory.names(in: directory) {
            let path = directory + "/" + name
            if CheckpointFormat.step(of: name, prefix: ".partial-step-") != nil || name.hasPrefix(Directory.removalPrefix) || DurableFile.isPartial(name) {
                remove(path)
            } else if let step = CheckpointFormat.step(of: name, prefix: ".replaced-step-") {
                // The crash fell between the two renames of a replacement: the old checkpoint is still good.
                let final = directory + "/" + CheckpointFormat.directory(step: step)
                if Directory.exists(final) != nil { remove(path) } else { try Directory.rename(path, to: final) }
            }
        }
        return warnings
    }

    /// Keeps damaged checkpoints from counting as kept.
    public func setDamaged(_ steps: [Int]) { condition.withLock { damaged.formUnion(steps) } }

    /// What went wrong since the last call without costing a checkpoint, such as an old one that could not be removed.
    public func takeWarnings() -> [String] {
        condition.withLock {
            defer { warnings = [] }
            return warnings
        }
    }

    // MARK: Writing

    /// Copies this rank's share of the items and starts writing it.
    ///
    /// - Parameters:
    ///   - attributes: what `checkpoint.h5` says about itself beyond format, version, step, world size and time, which the writer adds. Used on
    ///     rank 0.
    ///   - items: all replicated items, in the same order on every rank, and the rows that this rank holds of the others.
    /// - Precondition: the checkpoint before is published or abandoned (on rank 0), or its shard at least written (on others).
    /// - Complexity: returns after one copy of the share.
    public func begin(step: Int, attributes: [String: CheckpointAttribute], items: [CheckpointItem]) {
        precondition(step >= 0)
        precondition(CheckpointFormat.Attribute.reserved.isDisjoint(with: attributes.keys), "an attribute of a checkpoint has a reserved name")
        condition.withLock {
            switch phase {
            case .idle: break
            case .written where rank != 0: break
            default: preconditionFailure("a checkpoint is begun while step \(self.step ?? -1) is still in hand")
            }
            phase = .writing
        }
        self.step = step
        self.attributes = attributes
        snapshot.take(items, rank: rank, worldSize: worldSize)
        write { [self] in
            let figures = try writeShard(step: step)
            condition.withLock { statistics = figures }
        }
    }

    /// Starts writing this rank's part of the parity on the background thread, from all shards: every rank calls it once all are on the disk.
    /// ``isShardWritten`` and ``waitForShard()`` tell its end.
    ///
    /// - Complexity: reads a part of all shards that is as large as one, in memory for some MiB.
    public func startParity() {
        condition.withLock {
            guard hasParity, case .written = phase else { preconditionFailure("rank \(rank) makes parity of a checkpoint that is not written") }
            phase = .writing
        }
        guard let step else { return }
        write { [self] in
            let partial = partialDirectory(step: step)
            let layout = try ParityLayout(directory: partial, shards: worldSize)
            guard rank < layout.fileCount else { return }
            try ParityFile.write(
                "\(partial)/\(CheckpointFormat.parityFile(index: rank, count: layout.fileCount))", index: rank, layout: layout, shardsIn: partial, step: step)
        }
    }

    /// Lets the background thread write, and remembers how that ended.
    private func write(_ body: @escaping @Sendable () throws -> Void) {
        queue.async { [self] in
            let outcome = Result { try body() }
            condition.withLock {
                switch outcome {
                case .success: phase = .written
                case .failure(let error): phase = .failed(error)
                }
                condition.broadcast()
            }
        }
    }

    /// Whether nothing is being written any more, well or badly: ``waitForShard()`` will not wait.
    public var isShardWritten: Bool {
        condition.withLock { if case .writing = phase { false } else { true } }
    }

    /// Waits until this rank's shard, or its parity, is written and on the disk.
    ///
    /// - Throws: `UserError(.inputOutput)` with the path. This rank's shard is removed then; ``abandon()`` clears away the rest.
    public func waitForShard() throws {
        try condition.withLock {
            while case .writing = phase { condition.wait() }
            if case .failed(let error) = phase { throw error }
        }
    }

    /// Figures about this rank's latest shard; meaningful once it is written.
    public var shardStatistics: CheckpointShardStatistics { condition.withLock { statistics } }

    // MARK: Publishing

    /// Publishes the checkpoint: joins the shards, makes the checkpoint exist, and removes those beyond ``keep``. Rank 0 calls it once all shards
    /// are written.
    ///
    /// - Throws: `UserError(.inputOutput)` with the path; the partial checkpoint is removed and the earlier ones are as they were.
    public func publish() throws {
        startPublishing()
        try waitForPublication()
    }

    /// Starts ``publish()`` on the background thread. ``waitForPublication()`` tells its end.
    public func startPublishing() {
        condition.withLock {
            guard rank == 0, case .written = phase else { preconditionFailure("rank \(rank) publishes a checkpoint that is not written") }
            phase = .publishing
        }
        queue.async { [self] in
            let outcome = Result { try publishNow() }
            condition.withLock {
                switch outcome {
                case .success: phase = .idle
                case .failure(let error): phase = .failed(error)
                }
                condition.broadcast()
            }
        }
    }

    /// Whether no publication is under way.
    public var isPublished: Bool {
        condition.withLock { if case .publishing = phase { false } else { true } }
    }

    /// Waits for ``startPublishing()``.
    ///
    /// - Throws: as ``publish()``. The writer is ready for another checkpoint then.
    public func waitForPublication() throws {
        try condition.withLock {
            while case .publishing = phase { condition.wait() }
            if case .failed(let error) = phase {
                phase = .idle
                throw error
            }
        }
    }

    /// Gives up the checkpoint in hand, if there is one: waits for the background thread and removes what was written. Earlier checkpoints stay.
    public func abandon() {
        condition.withLock {
            while true {
                switch phase {
                case .writing, .publishing: condition.wait()
                case .idle: return
                case .written, .failed:
                    phase = .idle
                    if let step { removePartial(step: step) }
                    return
                }
            }
        }
    }

    // MARK: On the background thread

    private func partialDirectory(step: Int) -> String { directory + "/" + CheckpointFormat.partialDirectory(step: step) }

    private func writeShard(step: Int) throws -> CheckpointShardStatistics {
        let partial = partialDirectory(step: step)
        do {
            try Directory.make(partial)
            return try ShardFile(directory: partial, rank: rank, worldSize: worldSize).write(snapshot, step: step, rank: rank, worldSize: worldSize)
        } catch {
            removeShard(step: step)
            throw error
        }
    }

    private func publishNow() throws {
        guard let step else { return }
        do {
            try CheckpointPublisher(directory: directory, step: step, worldSize: worldSize, attributes: attributes, hasParity: hasParity).publish()
        } catch {
            removePartial(step: step)
            throw error
        }
        condition.withLock { _ = damaged.remove(step) }
        removeOld(published: step)
    }

    /// Removes all but the checkpoint just published and the `keep - 1` newest others that are not known to be damaged.
    ///
    /// The published one was read back by every rank, so the newest checkpoint that verifies is never among those removed. What cannot be removed is
    /// told and stays: a checkpoint too many never ends a run.
    private func removeOld(published: Int) {
        let damaged = condition.withLock { self.damaged }
        let found = Result { try Directory.names(in: directory).compactMap { CheckpointFormat.step(of: $0, prefix: "step-") } }
        guard case .success(let steps) = found else { return warn("warning: old checkpoints are not removed: \(found)") }
        var kept = 1
        for step in steps.filter({ $0 != published }).sorted(by: >) {
            if kept < keep {
                if !damaged.contains(step) { kept += 1 }
                continue
            }
            if staying.contains(step) { continue }
            let path = directory + "/" + CheckpointFormat.directory(step: step)
            do {
                if let foreign = try Directory.names(in: path).first(where: { !CheckpointFormat.isOwn($0) }) {
                    throw UserError(.inputOutput, "is not removed: \(foreign) is none of its files", at: path, advice: "move that file away")
                }
                try Directory.removeAtomically(path)
            } catch {
                staying.insert(step)
                warn("warning: \(error)")
            }
        }
    }

    private func warn(_ text: String) { condition.withLock { warnings.append(text) } }

    /// Removes this rank's shard and parity. The partial directory stays: another rank may be about to write into it.
    private func removeShard(step: Int) {
        let partial = partialDirectory(step: step)
        try? Directory.remove(ShardFile(directory: partial, rank: rank, worldSize: worldSize).path)
        guard hasParity, let names = try? Directory.names(in: partial) else { return }
        for name in names where name.hasPrefix("parity-\(rank)-of-") { try? Directory.remove("\(partial)/\(name)") }
    }

    /// Removes the partial directory; rank 0 with all in it, the others their part. What cannot be removed now goes at the next ``sweep(_:)``.
    private func removePartial(step: Int) {
        if rank == 0 { try? Directory.remove(partialDirectory(step: step)) } else { removeShard(step: step) }
    }
}
