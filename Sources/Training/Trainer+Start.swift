// How a session begins: what ranks agree on, what is restored, what is said and written before the first step.

import Checkpoints
import Collectives
import Configuration
import Diagnostics
import Foundation
import Kernels
import Tensors

extension Trainer {
    /// Makes sure that all ranks have the same program, configuration and arithmetic, and gives this process its threads. Collective.
    /// - Returns: the threads, for the line that a run begins with.
    static func agree(
        _ configuration: RunConfiguration, _ communicator: any Communicator, _ surroundings: SessionSurroundings
    ) throws -> String {
        // Every rank updates its own replica: with other kernels the last bits of its parameters would be others.
        var items = [("program", ProgramIdentity.fingerprint), ("instruction set", Kernels.active.instructionSet)]
        // Sums over ranks hide which library a rank has; the tree shows it.
        if configuration.parallel.reproducible { items.append(("matrix libraries", BackendAgreement.libraries)) }
        try communicator.agree(on: items + configuration.items)
        guard surroundings.ownsProcess else { return quantity(Workers.count, "thread") }
        let threads = try communicator.workerThreads(requested: configuration.parallel.threads)
        Workers.count = threads.threads
        if communicator.size > 1, threads.ownsCores { Workers.pin() }
        return threads.description
    }

    /// Restores the newest checkpoint, if there is one. Collective.
    /// - Returns: its step; 0 where there is none.
    static func restore(
        _ registry: RunStateRegistry, _ configuration: RunConfiguration, _ communicator: any Communicator, _ task: any LearningTask,
        _ ownership: LaneOwnership, _ directory: RunDirectory?, _ checkpoints: RunCheckpoints, _ surroundings: SessionSurroundings
    ) throws -> Int {
        var changes: [String] = []
        let restored = try registry.restoreNewest(
            from: CheckpointStore(directory: configuration.directory), communicator: communicator, allowing: configuration.accepts,
            willRead: { reader in
                guard reader.worldSize != checkpoints.shardCount else { return }
                let plan = try RestorePlan(registry, reader, lanes: ownership.microBatches.flatMap { $0 }, communicator)
                if communicator.rank == 0 { plan.lines.forEach(surroundings.report) }
            }
        ) { reader in
            changes = try ResumeComparison(reader, configuration).lines
            try reader.check(task)
        }
        guard let restored else {
            try communicator.onEveryRank { try directory?.requireCheckpoints() }
            return 0
        }
        checkpoints.setDamaged(restored.damaged)
        if communicator.rank == 0 { (restored.passedOver + changes).forEach(surroundings.report) }
        return restored.step
    }

    /// Says what begins, writes the run's files, and opens its log. Collective.
    func announce(_ threads: String) throws {
        let path = configuration.directory
        if communicator.rank == 0 {
            let report = surroundings.report
            report("run \(path): \(quantity(communicator.size, "rank")) (\(communicator.libraryDescription))")
            report("kernels \(Kernels.active.instructionSet), \(BackendAgreement.libraries), \(threads)")
            report("model \(configuration.task.modelKind), \(Self.grouped(model.store.parameterCount)) parameters; \(task.summary)")
            if let deadline = stopWish.deadline, let end = deadline.end {
                report("the job ends at \(end.formatted(.iso8601)) (\(deadline.source)): the session stops before that, with a checkpoint")
            }
            report(step == 0 ? "starting at step 0" : "resuming at step \(step) from \(path)/step-\(step)")
        }
        try communicator.onEveryRank {
            guard let directory else { return }
            try directory.write(Array(configuration.resolvedYAML.utf8), to: RunDirectory.configurationFile)
            for file in task.files { try directory.write(file.bytes, to: file.name) }
            sinks = try MetricSinks(
                configuration, targets: task.targets, terminal: surroundings.terminal, columns: surroundings.terminalColumns)
            try sinks.rewind(to: step)
            for warning in try task.warnings { sinks.note("warning: \(warning)") }
            checkpoints.beforePublication = { [sinks] in sinks.synchronize() }
            try directory.note(step: step)
        }
    }

    private static func grouped(_ number: Int) -> String { number.formatted(.number.grouping(.automatic).locale(Locale(identifier: "en_US"))) }
}
