// The training loop: step, log, evaluate, checkpoint, stop when asked.

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

/// How a training session ended.
public enum TrainingOutcome: Sendable {
    /// All steps are done.
    case finished
    /// A signal asked to stop; a checkpoint of `step` was written.
    case stopped(signal: Int32, step: Int)
}

/// What a session is given by the program that it runs in, so that it runs in a test, and on threads of one process, too.
public struct SessionSurroundings {
    /// Whether this process computes nothing else: then the session sets its threads, pins them, and chooses its matrix backends.
    public var ownsProcess = true
    /// The signal that asked to stop, if any has.
    public var stopRequest: () -> Int32? = { nil }
    /// Where this machine's choices of matrix backends are kept; `nil` for nowhere, and a fixed rule chooses.
    public var cacheDirectory: String?
    /// Where progress is shown.
    public var terminal = TerminalWriter(descriptor: 2)
    /// The width of the terminal that progress is drawn on; `nil` for plain lines, as in a batch log.
    public var terminalColumns: Int?
    /// The environment variables: they tell the scheduler's job.
    public var environment: [String: String] = [:]
    /// How the lock of the run directory is kept.
    public var lockTiming = DirectoryLock.Timing()
    /// Takes lines for the user, on rank 0.
    public var report: (String) -> Void = { _ in }
    /// Whether each rank writes down what it does and when.
    public var traces = false
    /// Finds out when the job ends; called on rank 0. `nil` where nobody knows of an end.
    public var findDeadline: () -> JobDeadline? = { nil }
    /// Ends the process because ranks wait for one that does not move, and says why; `nil` for no watchdog. Called from another thread.
    public var endStandstill: (@Sendable (String) -> Void)?

    public init() {}
}

/// One training session of a run: from its newest checkpoint (or from nothing) to its last step or a stop request.
public final class Trainer {
    let configuration: RunConfiguration
    let communicator: any Communicator
    /// The same ranks, for works that end at a stop request.
    private let interruptible: any Communicator
    let surroundings: SessionSurroundings
    private let stopWish: StopWish
    private let task: any LearningTask
    let model: any TrainableModel
    private let optimizer: any Optimizer
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
    private let bank: RunBank?
    /// What is not lost with a rank; `nil` where ranks end together.
    let copies: PartnerCopies?
    /// How many sessions in a row before this one came to no new checkpoint.
    private let startsBefore: Int
    private let backends: BackendAgreement?
    /// What this rank is doing, for the watchdog of others.
    let ledger: Ledger
    private let watchdog: Watchdog?
    private var stragglers: StragglerWatch?
    private var goodput: GoodputLedger?
    private var trace: TraceFile?
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
    private var savedStep = 0
    private var secondsBefore = 0.0
    private var sessionStart = ContinuousClock.now
    /// Seconds.
    private var longestStep = 0.0

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
            directory?.end(.failed, step: directory?.previous?.step ?? 0, exitCode: error.exitCode, message: "\(error)")
            throw error
        }
    }

    /// Makes sure that all ranks have the same program, configuration and arithmetic, and gives this process its threads. Collective.
    /// - Returns: the threads, for the line that a run begins with.
    private static func agree(
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
    private static func restore(
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
    private func announce(_ threads: String) throws {
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

    /// Trains to the last step, or until a signal asks to stop. Collective.
    /// - Throws: `UserError`. The run directory then still holds every checkpoint that was complete.
    private func run() throws -> TrainingOutcome {
        defer {
            watchdog?.stop()
            trace?.finish()
            bank?.close()
        }
        do {
            let outcome = try trainSteps()
            if copies != nil, try !communicator.agrees(true) { throw PartnerCopies.lost(during: step) }
            switch outcome {
            case .finished: directory?.end(.finished, step: step, exitCode: .finished)
            case .stopped(let signal, let step):
                directory?.end(.stopped, step: step, exitCode: .stoppedOnRequest, message: StopSignals.name(signal))
            }
            return outcome
        } catch let back as GoesBack {
            try? checkpoints.finish()
            directory?.end(.stopped, step: step, exitCode: .stoppedOnRequest, message: "goes back: \(back.reason)")
            throw back
        } catch {
            if copies != nil, LostRanks.mayBeMeant(by: error) { throw error }
            throw ended(by: error)
        }
    }

    /// Ends the session with an error.
    /// - Returns: what to throw.
    func ended(by error: any Error) -> any Error {
        if let known = error as? UserError, known.isShared || communicator.size == 1 {
            // Every rank comes here: the checkpoint under way, which is of an earlier step, is still completed, and what was trained since then saved.
            try? checkpoints.finish()
            if isBetweenSteps, step > savedStep, !checkpoints.hasFailed {
                counters.seconds = elapsed
                if (try? checkpoints.begin(step: step)) != nil { try? checkpoints.finish() }
            }
        }
        let error = withoutProgress(error)
        directory?.end(.failed, step: step, exitCode: error.exitCode, message: "\(error)")
        return error
    }

    /// The same error, or, where too many sessions in a row have come to no new checkpoint, one that says so: with the same data it would come again.
    private func withoutProgress(_ error: any Error) -> any Error {
        guard let known = error as? UserError, known.exitCode == .badData, known.isShared, checkpoints.longest == nil,
            startsBefore + 1 >= configuration.recovery.starts
        else { return error }
        return UserError(
            .noProgress, "\(known.what); \(quantity(startsBefore, "session")) before came to no new checkpoint either", at: known.place,
            advice: "change the run: \(known.advice ?? "it comes no further as it is")").shared
    }

    private func trainSteps() throws -> TrainingOutcome {
        sessionStart = ContinuousClock.now
        var lastCheckpoint = sessionStart
        var lastEvaluation = sessionStart
        var (loggedTokens, loggedSeconds) = (counters.tokens, secondsBefore)
        defer { sinks.finish() }

        if communicator.size > 1 {
            stragglers = StragglerWatch(nodes: try communicator.allGather(Array(communicator.nodeName.utf8)).map { String(decoding: $0, as: UTF8.self) })
        }
        var (busySeconds, busySteps) = (0.0, 0)
        do { try evaluateStopStep() } catch is Interrupted {
            // The checkpoint that the session began with says it all.
            return try stopped(by: agreedSignal(), step: step)
        }
        if step < configuration.steps {
            batches = try communicator.onEveryRank { try ledger.section("data") { try loadBatches(for: step + 1) } }
            try ledger.section("rehearsal") { try backends?.prepare(rehearse: rehearse) { sinks.note($0) } }
        }
        while step < configuration.steps {
            step += 1
            let isLast = step == configuration.steps
            ledger.note(step: step)
            ledger.enter("step")
            _ = ledger.takeWaited()
            let start = ContinuousClock.now
            // Where ranks compute different bits, what they have computed since the last checkpoint is not worth one either.
            isBetweenSteps = false
            let metrics = try trainStep()
            isBetweenSteps = true
            unwritten = metrics
            let next = Result { isLast ? [] : try ledger.section("data") { try loadBatches(for: step + 1) } }
            let now = ContinuousClock.now
            let seconds = start.duration(to: now).seconds
            busySeconds += seconds - ledger.takeWaited()
            longestStep = max(longestStep, seconds)
            stopWish.margin = marginBeforeEnd
            busySteps += 1
            ledger.mark("ready")
            var request = try StepRequests(
                signal: stopWish.number ?? 0,
                checkpointIsDue: communicator.rank == 0 && isDue(configuration.checkpointEvery, since: lastCheckpoint, now: now),
                evaluationIsDue: communicator.rank == 0 && isDue(configuration.evaluationEvery, since: lastEvaluation, now: now),
                failed: next.isFailure, isWaiting: !checkpoints.isReady
            ).agreed(communicator)
            ledger.leave()
            trace?.write()
            if let problem = trace?.takeProblem() { sinks.note("warning: \(problem)") }
            if request.failed { _ = try communicator.onEveryRank { try next.get() } }
            batches = try next.get()
            if !request.isWaiting, !checkpoints.isIdle { try ledger.section("publish") { try checkpoints.advance() } }

            let evaluationIsDue = task.hasValidation && (request.evaluationIsDue || isLast && configuration.evaluationEvery != .never)
            var logged = metrics
            // A stop does not wait for an evaluation: the next session makes up for it.
            if evaluationIsDue, request.signal == 0 || isLast {
                do {
                    stopWish.deadline?.refresh()
                    logged.validation = try evaluate()
                    try follow(logged.validation)
                    lastEvaluation = ContinuousClock.now
                } catch is Interrupted { request.signal = try agreedSignal() }
            }
            let isStopping = request.signal != 0 && (!isLast || evaluationIsDue && logged.validation == nil)
            if evaluationIsDue || isLast || step % configuration.logEvery == 0 {
                try ledger.section("log") { try nameStragglers(busySeconds / Double(busySteps)) }
                (busySeconds, busySteps) = (0, 0)
                let seconds = elapsed
                logged[.parameterNorm] = gradientNorm(of: UnsafeBufferPointer(model.store.values))
                logged[.seconds] = seconds
                logged[.tokensPerSecond] = Double(counters.tokens - loggedTokens) / max(seconds - loggedSeconds, 1e-9)
                (loggedTokens, loggedSeconds) = (counters.tokens, seconds)
                sinks.record(logged)
            }
            unwritten = nil
            if request.checkpointIsDue || isLast || isStopping {
                counters.seconds = elapsed
                try finishCheckpoint()
                try ledger.section("save") {
                    try checkpoints.begin(step: step)
                    savedStep = step
                    _ = try goodput?.record(step: step)
                }
                lastCheckpoint = now
            }
            if isStopping {
                try finishCheckpoint()
                return try stopped(by: request.signal, step: step)
            }
        }
        try finishCheckpoint()
        if let line = try goodput?.record(step: step) { sinks.note(line) }
        return .finished
    }

    /// Writes the metrics of a step that the session before has finished, and had no time to write.
    func record(unwritten metrics: StepMetrics) {
        let isLast = metrics.step == configuration.steps
        let isEvaluated = if case .steps(let interval) = configuration.evaluationEvery { task.hasValidation && metrics.step % interval == 0 } else { false }
        guard isLast || isEvaluated || metrics.step % configuration.logEvery == 0 else { return }
        var logged = metrics
        logged[.parameterNorm] = gradientNorm(of: UnsafeBufferPointer(model.store.values))
        logged[.seconds] = counters.seconds
        logged[.tokensPerSecond] = Double(counters.tokens) / max(counters.seconds, 1e-9)
        sinks.record(logged)
    }

    /// Waits for a checkpoint under way. A section of its own: what is quick while nobody waits for it has another limit. Collective.
    private func finishCheckpoint() throws {
        if !checkpoints.isIdle { try ledger.section("wait for the checkpoint") { try checkpoints.finish() } }
    }

    /// Seconds that the last save and the steps before it may take: twice what was seen, or, before the first save, what a slow file system takes
    /// for the parameters and the optimizer's state.
    private var marginBeforeEnd: Double {
        let bytes = model.store.parameterCount * 12 * (configuration.checkpointParity ? 2 : 1)
        let save = checkpoints.longest ?? 5 + Double(bytes) / 50e6
        return 5 + 2 * (save + longestStep)
    }

    /// Says which ranks keep the others waiting. Collective.
    /// - Parameter seconds: how long this rank has worked for a step, without what it waited for others.
    private func nameStragglers(_ seconds: Double) throws {
        guard stragglers != nil else { return }
        var all = [Double](repeating: 0, count: communicator.size)
        all[communicator.rank] = seconds
        all = try communicator.allReduced(all, .sum)
        stragglers?.observe(all).forEach { sinks.note($0) }
    }

    /// The largest signal of any rank. Collective.
    private func agreedSignal() throws -> Int32 { Int32(try communicator.agreeOnFlag(Int(stopWish.number ?? 0))) }

    private func stopped(by signal: Int32, step: Int) throws -> TrainingOutcome {
        if let line = try goodput?.record(step: step) { sinks.note(line) }
        sinks.note("stopped by \(StopSignals.name(signal)) after step \(step); a checkpoint is written, start the run again to go on")
        return .stopped(signal: signal, step: step)
    }

    /// Evaluates the step that a stop request ended before its evaluation, so that the metrics are those of a run that was never stopped, and the
    /// learning rate follows what it would have followed.
    private func evaluateStopStep() throws {
        guard task.hasValidation, step > 0 else { return }
        let isDue = if case .steps(let interval) = configuration.evaluationEvery { step % interval == 0 } else { false }
        guard isDue || step == configuration.steps && configuration.evaluationEvery != .never else { return }
        let isLogged = try communicator.agreeOnFlag(sinks.lacksValidation(of: step) ? 1 : 0) == 0
        let isFollowed = !isDue || counters.plateau.map { $0.step >= step } ?? true
        if isLogged, isFollowed { return }
        let validation = try evaluate()
        if !isLogged { sinks.complete(with: validation) }
        if !isFollowed { try follow(validation) }
    }

    /// Lets a schedule of kind plateau see the evaluation of the present step. One that only the end of a shorter session asked for does not count.
    private func follow(_ validation: TaskScores?) throws {
        guard counters.plateau != nil, case .steps(let interval) = configuration.evaluationEvery, step % interval == 0 else { return }
        guard let loss = validation?.loss else { throw Self.noValidation }
        counters.plateau?.observe(loss, step: step, configuration.schedule)
    }

    private static var noValidation: UserError {
        UserError(
            .configuration, "plateau follows the validation loss, which this run does not have", at: "schedule.kind",
            advice: "name a validation corpus in corpus.validation, or use another schedule").shared
    }

    private func evaluate() throws -> TaskScores? { try ledger.section("evaluation") { try task.evaluate(.validation, interruptible) } }

    var elapsed: Double { secondsBefore + sessionStart.duration(to: .now).seconds }

    private func isDue(_ interval: ConfigurationInterval, since last: ContinuousClock.Instant, now: ContinuousClock.Instant) -> Bool {
        switch interval {
        case .steps(let steps): step % steps == 0
        case .seconds(let seconds): last.duration(to: now).seconds >= seconds
        case .never: false
        }
    }

    private static func grouped(_ number: Int) -> String { number.formatted(.number.grouping(.automatic).locale(Locale(identifier: "en_US"))) }
}

/// What ranks decide together at a step boundary.
private struct StepRequests {
    var signal: Int32
    var checkpointIsDue: Bool
    var evaluationIsDue: Bool
    /// Whether the batches of the next step could not be loaded.
    var failed: Bool
    /// Whether a checkpoint under way has to wait.
    var isWaiting: Bool

    /// The largest signal of any rank, what rank 0's clock says, and whether any rank has failed or waits. Collective: one small reduction.
    func agreed(_ communicator: any Communicator) throws -> StepRequests {
        guard communicator.size > 1 else { return self }
        let all = try communicator.allReduced([Int64(signal), checkpointIsDue ? 1 : 0, evaluationIsDue ? 1 : 0, failed ? 1 : 0, isWaiting ? 1 : 0], .maximum)
        return StepRequests(
            signal: Int32(all[0]), checkpointIsDue: all[1] == 1, evaluationIsDue: all[2] == 1, failed: all[3] == 1, isWaiting: all[4] == 1)
    }
}

extension Result {
    fileprivate var isFailure: Bool { if case .failure = self { true } else { false } }
}

extension Error {
    /// The code that a process ends with for the error.
    var exitCode: ExitCode { (self as? UserError)?.exitCode ?? .software }
}

extension Duration {
    /// The duration in seconds.
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
