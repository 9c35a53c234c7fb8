// The training loop: step, log, evaluate, checkpoint, stop when asked.

import Checkpoints
import Collectives
import Configuration
import Diagnostics
import Foundation
import Optimizers
import Tensors

extension Trainer {
    /// Trains to the last step, or until a signal asks to stop. Collective.
    /// - Throws: `UserError`. The run directory then still holds every checkpoint that was complete.
    func run() throws -> TrainingOutcome {
        defer {
            watchdog?.stop()
            trace?.finish()
            bank?.close()
        }
        let outcome: TrainingOutcome
        do {
            outcome = try trainSteps()
            if copies != nil, try !communicator.agrees(true) { throw PartnerCopies.lost(during: step) }
        } catch let back as GoesBack {
            try? checkpoints.finish()
            // The session that begins at once writes a record of its own.
            try? directory?.end(.stopped, step: step, exitCode: .stoppedOnRequest, message: "goes back: \(back.reason)")
            throw back
        } catch {
            if copies != nil, LostRanks.mayBeMeant(by: error) { throw error }
            throw ended(by: error)
        }
        try communicator.onEveryRank {
            switch outcome {
            case .finished: try directory?.end(.finished, step: step, exitCode: .finished)
            case .stopped(let signal, let step):
                try directory?.end(.stopped, step: step, exitCode: .stoppedOnRequest, message: StopSignals.name(signal))
            }
        }
        return outcome
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
        directory?.end(by: error, step: step)
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

    static var noValidation: UserError {
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
