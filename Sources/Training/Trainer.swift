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
import Tensors

/// How a training session ended.
public enum TrainingOutcome: Sendable {
    /// All steps are done.
    case finished
    /// A signal asked to stop; a checkpoint of `step` was written.
    case stopped(signal: Int32, step: Int)
}

/// One training session of a run: from its newest checkpoint (or from nothing) to its last step or a stop request.
public final class Trainer {
    private let configuration: RunConfiguration
    private let communicator: any Communicator
    private let task: any LearningTask
    private let model: any TrainableModel
    private let optimizer: any Optimizer
    private let loader: TaskLoader
    private let memory: LaneMemory
    private let ownership: LaneOwnership
    private let trainingStep: TrainingStep
    private let checkpoints: RunCheckpoints
    private let backends: BackendAgreement
    private var sinks = MetricSinks()

    /// What the next step computes. Loaded before ranks meet at the step boundary, so that one rank's damaged shard is every rank's error.
    private var batches: [PreparedBatch] = []
    private var step = 0
    private var tokens = 0
    private var secondsBefore = 0.0
    /// `nil` but for a schedule of kind plateau.
    private var plateau: PlateauState?
    private var sessionStart = ContinuousClock.now

    /// Prepares a session: checks that ranks agree, opens the corpora, builds the model, reads the newest checkpoint. Collective.
    ///
    /// - Parameters:
    ///   - configuration: the run, the same on every rank.
    ///   - communicator: the ranks.
    ///   - fresh: start from step 0 even when the run directory holds checkpoints, which are removed.
    ///   - cacheDirectory: where this machine's choices of matrix backends are kept; `nil` for nowhere, and a fixed rule chooses.
    ///   - terminal: where progress is shown.
    ///   - terminalColumns: the width of the terminal that progress is drawn on; `nil` for plain lines, as in a batch log.
    ///   - report: takes lines for the user on rank 0.
    /// - Throws: `UserError`, the same on every rank.
    public init(
        _ configuration: RunConfiguration, communicator: any Communicator, fresh: Bool, cacheDirectory: String? = nil,
        terminal: TerminalWriter = TerminalWriter(descriptor: 2), terminalColumns: Int? = nil, report: (String) -> Void
    ) throws {
        self.configuration = configuration
        self.communicator = communicator
        try communicator.agree(on: [("program", ProgramIdentity.fingerprint)] + configuration.items)
        // Where a product is divided may depend on the number of threads, and so its last bits: a reproducible run must not take as many as there
        // happen to be.
        let threads = try communicator.workerThreads(requested: configuration.parallel.threads ?? (configuration.parallel.reproducible ? 1 : nil))
        Workers.count = threads.threads
        if communicator.size > 1, threads.ownsCores { Workers.pin() }

        let task = try communicator.onEveryRank { try configuration.task.makeTask(configuration, savedIn: nil) }
        self.task = task
        try communicator.agree(on: task.agreement)

        let (ownership, tree) = try communicator.onEveryRank {
            try LaneOwnership.divide(
                configuration.batch, reproducible: configuration.parallel.reproducible, rank: communicator.rank, size: communicator.size)
        }
        self.ownership = ownership
        model = task.model
        let model = model
        try MemoryNeed(
            parameters: model.store.parameterCount, optimizer: configuration.optimizer, activations: configuration.precision.activations
        ).check(communicator)
        let lanes = ownership.microBatches.flatMap { $0 }
        loader = try communicator.onEveryRank { try task.makeLoader(owning: lanes) }
        model.store.allocate(seed: configuration.seed, activations: configuration.precision.activations)
        memory = LaneMemory(model, laneCount: configuration.batch.lanes, microBatches: ownership.microBatches)
        optimizer = try makeOptimizer(configuration.optimizer, parameterCount: model.store.flatCount)
        trainingStep = TrainingStep(
            store: model.store, optimizer: optimizer, update: TrainingStep.Update(configuration.optimizer, lanes: configuration.batch.lanes),
            communicator: communicator, tree: tree, microBatches: ownership.microBatches.count, bucketBytes: configuration.parallel.bucketBytes)
        checkpoints = try RunCheckpoints(configuration, communicator: communicator, task: task, fresh: fresh)

        if configuration.schedule.kind == .plateau {
            guard task.hasValidation else { throw Self.noValidation }
            plateau = PlateauState()
        }
        let restored = try checkpoints.restore(optimizer: optimizer, loader: loader, memory: memory)
        model.store.refreshOperands()
        for line in restored.passedOver where communicator.rank == 0 { report(line) }
        if let state = restored.state {
            step = state.step
            tokens = state.tokens
            secondsBefore = state.seconds
            plateau = state.plateau
        }
        backends = try BackendAgreement(
            communicator, directory: configuration.directory, cache: MatrixProductCache(directory: cacheDirectory),
            measures: !configuration.parallel.reproducible, report: report)
        if communicator.rank == 0 {
            let ranks = communicator.size == 1 ? "1 rank" : "\(communicator.size) ranks"
            report("run \(configuration.directory): \(ranks) (\(communicator.libraryDescription))")
            report("kernels \(Kernels.active.instructionSet), \(BackendAgreement.libraries), \(threads.description)")
            report("model \(configuration.task.modelKind), \(Self.grouped(model.store.parameterCount)) parameters; \(task.summary)")
            report(step == 0 ? "starting at step 0" : "resuming at step \(step) from \(configuration.directory)/step-\(step)")
        }
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            try checkpoints.writeConfiguration(resuming: step > 0)
            sinks = try MetricSinks(configuration, targets: task.targets, terminal: terminal, columns: terminalColumns)
            try sinks.rewind(to: step)
        }
    }

    /// Trains to the last step, or until a signal asks to stop. Collective.
    /// - Throws: `UserError`. The run directory then still holds every checkpoint that was complete.
    public func run() throws -> TrainingOutcome {
        do { return try trainSteps() } catch let error as UserError where error.isShared {
            // Every rank comes here: the checkpoint under way, which is of an earlier step, is still completed.
            try? checkpoints.finish()
            throw error
        }
    }

    private func trainSteps() throws -> TrainingOutcome {
        sessionStart = ContinuousClock.now
        var lastCheckpoint = sessionStart
        var lastEvaluation = sessionStart
        var (loggedTokens, loggedSeconds) = (tokens, secondsBefore)
        defer { sinks.finish() }

        try evaluateStopStep()
        if step < configuration.steps {
            batches = try communicator.onEveryRank { try loadBatches() }
            try backends.prepare(rehearse: rehearse) { sinks.note($0) }
        }
        while step < configuration.steps {
            step += 1
            let isLast = step == configuration.steps
            let metrics = try trainStep()
            let next = Result { isLast ? [] : try loadBatches() }
            let now = ContinuousClock.now
            let request = try StepRequests(
                signal: StopSignals.received ?? 0,
                checkpointIsDue: communicator.rank == 0 && isDue(configuration.checkpointEvery, since: lastCheckpoint, now: now),
                evaluationIsDue: communicator.rank == 0 && isDue(configuration.evaluationEvery, since: lastEvaluation, now: now),
                failed: next.isFailure
            ).agreed(communicator)
            if request.failed { _ = try communicator.onEveryRank { try next.get() } }
            batches = try next.get()
            try checkpoints.poll()

            let isStopping = request.signal != 0 && !isLast
            let evaluationIsDue = task.hasValidation && (request.evaluationIsDue || isLast && configuration.evaluationEvery != .never)
            var logged = metrics
            // A stop does not wait for an evaluation: the next session makes up for it.
            if evaluationIsDue, !isStopping {
                logged.validation = try evaluate()
                try follow(logged.validation)
                lastEvaluation = ContinuousClock.now
            }
            if evaluationIsDue || isLast || step % configuration.logEvery == 0 {
                let seconds = elapsed
                logged[.seconds] = seconds
                logged[.tokensPerSecond] = Double(tokens - loggedTokens) / max(seconds - loggedSeconds, 1e-9)
                (loggedTokens, loggedSeconds) = (tokens, seconds)
                sinks.record(logged)
            }
            if request.checkpointIsDue || isLast || isStopping {
                let state = CheckpointState(step: step, tokens: tokens, seconds: elapsed, plateau: plateau)
                try checkpoints.begin(state, optimizer: optimizer, loader: loader, memory: memory)
                lastCheckpoint = now
            }
            if isStopping {
                try checkpoints.finish()
                sinks.note(
                    "stopped by \(StopSignals.name(request.signal)) after step \(step); a checkpoint is written, start the run again to go on")
                return .stopped(signal: request.signal, step: step)
            }
        }
        try checkpoints.finish()
        return .finished
    }

    /// Evaluates the step that a stop request ended before its evaluation, so that the metrics are those of a run that was never stopped, and the
    /// learning rate follows what it would have followed.
    private func evaluateStopStep() throws {
        guard task.hasValidation, step > 0, case .steps(let interval) = configuration.evaluationEvery, step % interval == 0 else { return }
        let isLogged = try communicator.agreeOnFlag(sinks.lacksValidation(of: step) ? 1 : 0) == 0
        let isFollowed = plateau.map { $0.step >= step } ?? true
        if isLogged, isFollowed { return }
        let validation = try evaluate()
        if !isLogged { sinks.complete(with: validation) }
        if !isFollowed { try follow(validation) }
    }

    /// Lets a schedule of kind plateau see the evaluation of the present step. One that only the end of a shorter session asked for does not count.
    private func follow(_ validation: TaskScores?) throws {
        guard plateau != nil, case .steps(let interval) = configuration.evaluationEvery, step % interval == 0 else { return }
        guard let loss = validation?.loss else { throw Self.noValidation }
        plateau?.observe(loss, step: step, configuration.schedule)
    }

    private static var noValidation: UserError {
        UserError(
            .configuration, "plateau follows the validation loss, which this run has not", at: "schedule.kind",
            advice: "name a validation corpus in corpus.validation, or use another schedule").shared
    }

    private func evaluate() throws -> TaskScores? { try task.evaluate(.validation, communicator) }

    /// The present step's batches, one for each micro-batch.
    private func loadBatches() throws -> [PreparedBatch] { try ownership.microBatches.map { try loader.batch(lanes: $0) } }

    /// Forward and backward passes of the step that comes, without other ranks: parameters, lanes and the loader stay as they are.
    private func rehearse() throws {
        try trainingStep.rehearse { index, tape in
            let lanes = ownership.microBatches[index]
            let dropout = DropoutContext(seed: configuration.seed, step: step + 1, lanes: lanes)
            return batches[index].loss(ForwardPass(tape: tape, dropout: dropout, memory: memory.carried(index), stepsDone: step))
        }
    }

    /// Forward, backward, all-reduce, clip and update, for the batch of the step.
    private func trainStep() throws -> StepMetrics {
        let learningRate = configuration.schedule.learningRate(
            base: configuration.optimizer.learningRate, step: step, reductions: plateau?.reductions ?? 0)
        var carried: CarriedMemory?
        var carriesGradient = false
        let outcome = try trainingStep.run(step: step, learningRate: learningRate) { index, tape in
            let lanes = ownership.microBatches[index]
            let dropout = DropoutContext(seed: configuration.seed, step: step, lanes: lanes)
            let numerics = configuration.checkNumerics ? NumericsCheck() : nil
            carried = memory.carried(index)
            let loss = batches[index].loss(ForwardPass(tape: tape, dropout: dropout, numerics: numerics, memory: carried, stepsDone: step - 1))
            memory.keep(carried, index)
            if let numerics { try communicator.onEveryRank { if let finding = numerics.finding { throw Self.notFinite(finding, step: step) } } }
            return loss
        } measure: { _ in
            guard let squares = carried?.gradientSquares else { return 0 }
            carriesGradient = true
            return squares
        }
        try loader.advance()
        tokens += outcome.tokens
        if sinks.wantsHistograms(of: step) {
            sinks.record(GradientHistogram.all(of: model.store, scale: outcome.gradientScale), step: step)
        }
        var metrics = StepMetrics(step: step)
        metrics[.tokens] = Double(tokens)
        metrics[.loss] = outcome.loss
        metrics[.gradientNorm] = outcome.gradientNorm
        metrics[.carriedGradientNorm] = carriesGradient ? outcome.measuredNorm : nil
        metrics[.learningRate] = learningRate
        return metrics
    }

    private static func notFinite(_ finding: NumericsCheck.Finding, step: Int) -> UserError {
        UserError(
            .badData,
            "\(finding.layer) is the first layer whose output is not finite: \(finding.value) in \(finding.shape)"
                + (finding.operation.map { ", from the operation \($0)" } ?? ""), at: "step \(step)",
            advice: "lower optimizer.learningRate or set optimizer.clip; the last checkpoint is from before this step")
    }

    private var elapsed: Double { secondsBefore + sessionStart.duration(to: .now).seconds }

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

    /// The largest signal of any rank, what rank 0's clock says, and whether any rank has failed. Collective.
    func agreed(_ communicator: any Communicator) throws -> StepRequests {
        guard communicator.size > 1 else { return self }
        let all = try communicator.allReduced([Int64(signal), checkpointIsDue ? 1 : 0, evaluationIsDue ? 1 : 0, failed ? 1 : 0], .maximum)
        return StepRequests(signal: Int32(all[0]), checkpointIsDue: all[1] == 1, evaluationIsDue: all[2] == 1, failed: all[3] == 1)
    }
}

extension Result {
    fileprivate var isFailure: Bool { if case .failure = self { true } else { false } }
}

extension Duration {
    /// The duration in seconds.
    var seconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
