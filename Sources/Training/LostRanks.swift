// How a job goes on when a rank of it is lost: the others save the last finished step, and train on from it.

import Checkpoints
import Collectives
import Diagnostics

/// What has become of the ranks that were lost.
///
/// Those who are left become a smaller communicator, put the state of the last finished step together out of what each has and keeps for its neighbour
/// (``PartnerCopies``), and publish it as a checkpoint, from which the next session on fewer ranks begins. In a reproducible run all that follows is bit
/// for bit what it would have been. Where neighbours were lost together, or a rank before its first step, the newest checkpoint serves.
struct LostRanks {
    /// Whether the last loss cost no finished step.
    private(set) var isSaved = false
    private var notice: String?
    private var unwritten: StepMetrics?

    /// Whether an error may be that of a lost rank, or of one that has heard of it sooner than others.
    static func mayBeMeant(by error: any Error) -> Bool {
        guard let error = error as? UserError else { return false }
        return error.isShared || error.exitCode == .unavailable
    }

    /// Sees whether ranks were lost, and brings the others to where the next session can begin. Collective over those who are left.
    ///
    /// - Parameter trainer: the session, if it had begun.
    /// - Returns: false where no rank was lost, or nobody can go on: the error stands.
    /// - Throws: `UserError`: the error as the session ends with it.
    mutating func goOn(
        after error: any Error, _ trainer: Trainer?, _ configuration: RunConfiguration, _ communicator: any Communicator
    ) throws -> Bool {
        guard communicator.outlivesLostRanks, communicator.size > 1, Self.mayBeMeant(by: error) else { return false }
        let before = (rank: communicator.rank, size: communicator.size)
        let left: [Int]
        do { left = try communicator.leaveLostRanks() } catch let other {
            guard let trainer else { return false }
            // All are there: the error is one of all ranks, or the library's.
            throw (error as? UserError)?.isShared == true ? trainer.ended(by: error) : trainer.ended(by: other)
        }
        let lost = (0..<before.size).filter { !left.contains($0) }
        let who = (lost.count == 1 ? "rank " : "ranks ") + lost.map(String.init).joined(separator: ", ") + (lost.count == 1 ? " was" : " were")
        let ranks = quantity(communicator.size, "rank")
        (isSaved, unwritten) = (false, nil)
        notice = "\(who) lost: the run goes on with \(ranks) from its newest checkpoint"
        // A further loss while this is done shows again when the next session begins.
        if let step = try? rescue(trainer, before, left, configuration, communicator, why: "\(who) lost, the job goes on with \(ranks)") {
            isSaved = true
            unwritten = trainer?.unwritten
            notice = "\(who) lost after step \(step): the run goes on with \(ranks), and nothing is lost"
        }
        return true
    }

    /// Tells a session that begins what happened before it.
    mutating func tell(_ trainer: Trainer) {
        if let notice { trainer.sinks.note("warning: \(notice)") }
        if let unwritten, unwritten.step == trainer.step { trainer.record(unwritten: unwritten) }
        (notice, unwritten) = (nil, nil)
    }

    /// Publishes the last finished step.
    /// - Returns: its number; `nil`, on every rank, where a part of it is lost.
    private func rescue(
        _ trainer: Trainer?, _ before: (rank: Int, size: Int), _ left: [Int], _ configuration: RunConfiguration, _ communicator: any Communicator,
        why: String
    ) throws -> Int? {
        trainer?.checkpoints.abandon()
        let step = trainer?.copies?.step
        // The records of the sessions that follow take its place: a disk that takes nothing now may still take the checkpoint.
        try? trainer?.directory?.end(.stopped, step: step ?? trainer?.step ?? 0, exitCode: .stoppedOnRequest, message: why)
        guard try communicator.allReduced(trainer?.copies == nil ? 0 : 1, .minimum) == 1, let trainer, let copies = trainer.copies else { return nil }
        trainer.counters.seconds = trainer.elapsed
        // A bank of the run is brought up to the weights at the next checkpoint: until then it is on the disk as the last one left it.
        guard let items = try copies.items(
            replicated: trainer.registry.items.filter { $0.placement == .replicated && !$0.name.hasPrefix("\(RunBank.folder)/") }, before: before, left: left,
            laneCount: configuration.batch.lanes, communicator), let step
        else { return nil }
        let isThere = try communicator.onEveryRank {
            communicator.rank == 0 ? try CheckpointStore(directory: configuration.directory).steps().contains(step) : false
        }
        guard try communicator.allReduced(isThere ? 1 : 0, .maximum) == 0 else { return step }
        let directory = try communicator.onEveryRank {
            communicator.rank == 0
                ? try RunDirectory(
                    claiming: configuration.directory, ranks: communicator.size, mostStarts: configuration.recovery.starts,
                    environment: trainer.surroundings.environment, timing: trainer.surroundings.lockTiming, report: trainer.surroundings.report) : nil
        }
        defer { try? directory?.end(.stopped, step: step, exitCode: .stoppedOnRequest, message: why) }
        let checkpoints = try RunCheckpoints(
            configuration, communicator: communicator, directory: directory, registry: trainer.registry, perNode: configuration.checkpointPerNode,
            report: trainer.surroundings.report)
        try checkpoints.begin(step: step, items: items)
        try checkpoints.finish()
        return step
    }
}
