// A training session: what it is made of, and the sessions that one start of the program may need.

import Checkpoints
import Collectives
import Configuration
import Diagnostics
import Foundation
import Kernels
import Models
import NeuralNetworks
import Optimizers
import Storage
import Tensors

/// One training session of a run: from its newest checkpoint (or from nothing) to its last step or a stop request.
public final class Trainer {
    let configuration: RunConfiguration
    let communicator: any Communicator
    /// The same ranks, for works that end at a stop request.
    let interruptible: any Communicator
    let surroundings: SessionSurroundings
    let stopWish: StopWish
    let task: any LearningTask
    let model: any TrainableModel
    let optimizer: any Optimizer
    let loader: TaskLoader
    let memory: LaneMemory
    /// The keys and values of earlier segments; `nil` for a model that attends to none.
    let memorized: MemorizedPairs?
    let ownership: LaneOwnership
    let crossCheck: CrossCheck?
    /// The neighbour's batch, at a step that is checked.
    var neighbourBatch: PreparedBatch?
    let trainingStep: TrainingStep
    /// Where groups make steps by themselves.
    let localSteps: LocalSteps?
    /// The run directory on rank 0.
    let directory: RunDirectory?
    let checkpoints: RunCheckpoints
    let registry: RunStateRegistry
    /// The bank that the run keeps; `nil` where it keeps none.
    let bank: RunBank?
    /// What is not lost with a rank; `nil` where ranks end together.
    let copies: PartnerCopies?
    /// How many sessions in a row before this one came to no new checkpoint.
    let startsBefore: Int
    let backends: BackendAgreement?
    /// What this rank is doing, for the watchdog of others.
    let ledger: Ledger
    let watchdog: Watchdog?
    var stragglers: StragglerWatch?
    var goodput: GoodputLedger?
    var trace: TraceFile?
    let counters = CounterState()
    let judge: StepJudge
    var sinks = MetricSinks()

    /// What the next step computes. Loaded before ranks meet at the step boundary, so that one rank's damaged shard is every rank's error.
    var batches: [PreparedBatch] = []
    var step = 0 { didSet { bank?.step = step } }
    /// Whether all state is that of `step`: false while a step is computed.
    var isBetweenSteps = true
    /// The metrics of `step`, until they are written.
    var unwritten: StepMetrics?
    /// The step of the newest checkpoint that this session began from or has begun.
    var savedStep = 0
    var secondsBefore = 0.0
    var sessionStart = ContinuousClock.now
    /// Seconds.
    var longestStep = 0.0

    /// Trains to the last step, or until a signal asks to stop. Collective.
    ///
    /// A session that goes back to a checkpoint (``RecoveryAction/back``) is taken up there as by another start of the program.
    ///
    /// - Parameters:
    ///   - configuration: the run, the same on every rank.
    ///   - communicator: the ranks.
    ///   - fresh: start from step 0 even when the run directory holds checkpoints, which go once the first new one is published.
    ///   - start: where a run without a checkpoint of its own begins.
    /// - Throws: `UserError`, the same on every rank. The run directory then still holds every checkpoint that was complete.
    public static func train(
        _ configuration: RunConfiguration, communicator: any Communicator, fresh: Bool = false, from start: StartingPoint? = nil,
        surroundings: SessionSurroundings = .init()
    ) throws -> TrainingOutcome {
        var fresh = fresh
        var passedOver: [Int: Int] = [:]
        var backs = 0
        var losses = LostRanks()
        while true {
            var current: Trainer?
            do {
                let trainer = try Trainer(
                    configuration, communicator: communicator, fresh: fresh, from: start, surroundings: surroundings, passingOver: passedOver)
                current = trainer
                losses.tell(trainer)
                return try trainer.run()
            } catch let back as GoesBack {
                guard let trainer = current else { throw back }
                backs += 1
                guard backs <= configuration.recovery.limit else {
                    throw TrainingStep.Outcome.error("\(back.reason); the session has gone back \(backs - 1) times already", step: back.step)
                }
                // Until a checkpoint is published, an earlier run would come back.
                fresh = fresh && trainer.checkpoints.longest == nil
                let newest = try communicator.onEveryRank {
                    communicator.rank == 0 && !fresh ? try CheckpointStore(directory: configuration.directory).steps().last ?? 0 : 0
                }
                let target = try communicator.allReduced(newest, .maximum)
                passedOver[target, default: 0] += back.step - target
                if communicator.rank == 0 {
                    surroundings.report(
                        "step \(back.step): \(back.reason); the run goes back to step \(target) and leaves out \(quantity(passedOver[target] ?? 0, "batch", "batches"))")
                }
            } catch {
                guard try losses.goOn(after: error, current, configuration, communicator) else { throw error }
                // Where this fails, another rank is lost, and the next session does not begin.
                fresh = fresh && !losses.isSaved && current?.checkpoints.longest == nil
                fresh = (try? communicator.allReduced(fresh ? 1 : 0, .minimum) == 1) ?? fresh
            }
        }
    }

    /// Prepares a session: checks that ranks agree, opens the corpora, builds the model, takes the run directory, reads the newest checkpoint. Collective.
    ///
    /// - Parameters:
    ///   - configuration: the run, the same on every rank.
    ///   - communicator: the ranks.
    ///   - fresh: start from step 0 even when the run directory holds checkpoints, which go once the first new one is published.
    ///   - start: where a run without a checkpoint of its own begins.
    ///   - passedOver: batches behind a checkpoint that are left out, by its step.
    /// - Throws: `UserError`, the same on every rank. The run directory then holds what it held before.
    private init(
        _ configuration: RunConfiguration, communicator: any Communicator, fresh: Bool, from start: StartingPoint?, surroundings: SessionSurroundings,
        passingOver passedOver: [Int: Int]
    ) throws {
        self.configuration = configuration
        let ledger = Ledger()
        self.ledger = ledger
        judge = StepJudge(configuration.recovery)
        let communicator: any Communicator = communicator.size > 1 ? LedgerCommunicator(communicator, ledger) : communicator
        self.communicator = communicator
        self.surroundings = surroundings
        let stopWish = StopWish(signal: surroundings.stopRequest, deadline: communicator.rank == 0 ? surroundings.findDeadline() : nil)
        self.stopWish = stopWish
        interruptible = communicator.interruptible { stopWish.number != nil }
        let threads = try Self.agree(configuration, communicator, surroundings)
        let ending = StandstillEnd(ledger, surroundings.endStandstill)
        watchdog = communicator.size > 1 && configuration.watchdog.isEnabled && surroundings.endStandstill != nil
            ? try Watchdog(configuration.watchdog, communicator, ledger, end: ending.end) : nil
        let begin = ContinuousClock.now
        if surroundings.traces { ledger.keepSpans() }
        ledger.enter("start")
        defer { ledger.leave() }

        let task = try communicator.onEveryRank { try configuration.task.makeTask(configuration, savedIn: nil) }
        self.task = task
        try communicator.agree(on: task.agreement)
        if configuration.schedule.kind == .plateau {
            guard task.hasValidation else { throw Self.noValidation }
            counters.plateau = PlateauState()
        }
        let ranksPerNode = try communicator.ranksPerNode()
        let (ownership, tree) = try communicator.onEveryRank {
            try LaneOwnership.divide(
                configuration.batch, reproducible: configuration.parallel.reproducible, rank: communicator.rank, size: communicator.size,
                ranksPerNode: ranksPerNode)
        }
        self.ownership = ownership
        let crossCheck = try communicator.onEveryRank { try CrossCheck(configuration, communicator, ranksPerNode: ranksPerNode) }
        self.crossCheck = crossCheck
        model = task.model
        let store = model.store
        try MemoryNeed(configuration, task, ownership, tree, rank: communicator.rank, size: communicator.size).check(communicator)
        loader = try communicator.onEveryRank { try task.makeLoader(owning: Set(ownership.microBatches.joined()).union(crossCheck?.lanes ?? []).sorted()) }
        store.allocate(seed: nil, activations: configuration.precision.activations)
        memory = LaneMemory(model, laneCount: configuration.batch.lanes, microBatches: ownership.microBatches)
        memorized = MemorizedPairs(for: model)
        let buckets = try BucketAgreement(
            configuration, communicator, gradientBytes: store.parameterCount * MemoryLayout<Float>.stride, ranksPerNode: ranksPerNode, fresh: fresh,
            report: surroundings.report)
        let partition = ParameterPartition(
            store, sharedAlong: configuration.parallel.shardOptimizer ? tree : nil, rank: communicator.rank,
            bucketBytes: buckets.bytes,
            travelsInParts: GradientRounding.travelsInParts(configuration.parallel.gradients, configuration.parallel.combination))
        let residuals = ResidualState(configuration.parallel.gradients, store: store, tree: tree, rank: communicator.rank)
        optimizer = try makeOptimizer(configuration.optimizer, parameterCount: configuration.parallel.localSteps == nil ? partition.stateCount(store) : 1)
        trainingStep = TrainingStep(
            store: store, optimizer: optimizer, update: TrainingStep.Update(configuration.optimizer, lanes: configuration.batch.lanes),
            communicator: communicator, tree: tree, partition: partition,
            rounding: GradientRounding(
                configuration.parallel.gradients, configuration.parallel.combination, parts: partition.parts, residuals: residuals?.residuals),
            microBatches: ownership.microBatches.count, ranksPerNode: ranksPerNode)

        if let settings = configuration.parallel.localSteps, let tree {
            localSteps = try LocalSteps(
                settings, store: store, optimizer: configuration.optimizer,
                update: TrainingStep.Update(configuration.optimizer, lanes: configuration.batch.lanes / tree.groupCount), tree: tree, partition: partition,
                rounding: GradientRounding(configuration.parallel.gradients, parts: partition.parts, residuals: residuals?.residuals), communicator: communicator)
        } else {
            localSteps = nil
        }

        bank = task.bank.map {
            RunBank($0, run: configuration.directory, identity: SessionIdentity(environment: surroundings.environment), communicator: communicator)
        }

        // Everything that a run saves. Nothing else names it.
        registry = RunStateRegistry([
            ParameterState(store: store), localSteps ?? OptimizerState(optimizer: optimizer, store: store, partition: partition), LoaderState(loader: loader, communicator: communicator),
            memory, counters, judge, IdentityState(configuration: configuration, task: task),
        ] + [memorized as (any RunState)?, residuals, watchdog, bank].compactMap { $0 })
        copies = communicator.outlivesLostRanks && communicator.size > 1
            ? PartnerCopies(
                registry.items.filter { $0.placement != .replicated } + SharedParameters(store: store, partition: partition).items, loader: loader,
                counters: counters, communicator: communicator) : nil
        let directory = try communicator.onEveryRank {
            communicator.rank == 0
                ? try RunDirectory(
                    claiming: configuration.directory, ranks: communicator.size, mostStarts: configuration.recovery.starts,
                    environment: surroundings.environment, timing: surroundings.lockTiming, report: surroundings.report) : nil
        }
        self.directory = directory
        ending.directory = directory
        startsBefore = try communicator.allReduced(fresh ? 0 : directory?.startsBefore ?? 0, .maximum)
        do {
            checkpoints = try RunCheckpoints(
                configuration, communicator: communicator, directory: directory, registry: registry, perNode: configuration.checkpointPerNode,
                report: surroundings.report)
            if !fresh {
                ledger.enter("restore")
                step = try Self.restore(registry, configuration, communicator, task, ownership, directory, checkpoints, surroundings)
                ledger.leave()
            }
            // A session that goes on does not wait for random numbers that it would overwrite.
            if step == 0 { store.initialize(seed: configuration.seed) }
            savedStep = step
            for _ in 0..<(passedOver[step] ?? 0) { try loader.advance() }
            if step == 0, let start {
                let states: [any RunState] = [
                    ParameterState(store: store), localSteps ?? OptimizerState(optimizer: optimizer, store: store, partition: partition), memory,
                ] + [memorized].compactMap { $0 }
                let tokenizer = task.identity.first { $0.name == "tokenizer_fingerprint" }?.value
                let lines = try start.load(states, tokenizer: tokenizer, communicator)
                if communicator.rank == 0 { lines.forEach(surroundings.report) }
            } else if let start, communicator.rank == 0 {
                surroundings.report("the run goes on from its own checkpoint, not from \(start.path)")
            }
            if step == 0 { localSteps?.begin() }
            // Nothing refuses the session from here on but the disk.
            let own = task.files.map(\.name) + [RunBank.folder] + [task.bank?.formerFile].compactMap { $0 }
            try communicator.onEveryRank {
                if fresh { try directory?.setEarlierRunAside(files: own) }
                if let directory { try buckets.store(in: directory.path) }
            }
            backends = surroundings.ownsProcess
                ? try BackendAgreement(
                    communicator, directory: configuration.directory, cache: MatrixProductCache(directory: surroundings.cacheDirectory),
                    measures: !configuration.parallel.reproducible, report: surroundings.report) : nil
            secondsBefore = counters.seconds
            let lastKnown = max(directory?.previous?.step ?? 0, directory.flatMap { MetricsFile.lastStep(in: $0.path) } ?? 0)
            try announce(threads)
            goodput = GoodputLedger(ledger, communicator, directory: configuration.directory, step: step, lastKnown: fresh ? 0 : lastKnown)
            if surroundings.traces { trace = try TraceFile(directory: configuration.directory, since: begin, communicator, ledger) }
        } catch {
            bank?.close()
            directory?.end(by: error, step: directory?.previous?.step ?? 0)
            throw error
        }
    }
}

extension Error {
    /// The code that a process ends with for the error.
    var exitCode: ExitCode { (self as? UserError)?.exitCode ?? .software }
}

extension Duration {
    /// The duration in seconds.
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
