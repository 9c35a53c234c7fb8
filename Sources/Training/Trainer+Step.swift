// One step of the training loop: its batches, the check on a neighbour, forward and backward passes, and what becomes of a step that went wrong.

import Checkpoints
import Diagnostics
import Models
import NeuralNetworks
import Tensors

extension Trainer {
    /// The present step's batches, one for each micro-batch.
    func loadBatches(for step: Int) throws -> [PreparedBatch] {
        neighbourBatch = try crossCheck.flatMap { check in check.isDue(step) ? try loader.batch(lanes: check.lanes) : nil }
        return try ownership.microBatches.map { try loader.batch(lanes: $0) }
    }

    /// Computes a part of the neighbour's step, where the step is checked. Collective.
    /// - Returns: its digest, to be compared with that of the neighbour's own pass.
    func computeNeighbour() throws -> UInt64? {
        guard let crossCheck, crossCheck.isDue(step), let neighbourBatch else { return nil }
        let memory = try memory.exchangeLast(crossCheck.lanes.count, communicator)
        return try trainingStep.digest { tape in
            let dropout = DropoutContext(seed: configuration.seed, step: step, lanes: crossCheck.lanes)
            return neighbourBatch.loss(ForwardPass(tape: tape, dropout: dropout, memory: memory, pairs: memorized?.reading(), stepsDone: step - 1))
        }
    }

    /// Forward and backward passes of the step that comes, without other ranks: parameters, lanes and the loader stay as they are.
    func rehearse() throws {
        try trainingStep.rehearse { index, tape in
            let lanes = ownership.microBatches[index]
            let dropout = DropoutContext(seed: configuration.seed, step: step + 1, lanes: lanes)
            return batches[index].loss(
                ForwardPass(tape: tape, dropout: dropout, memory: memory.carried(index), pairs: memorized?.reading(), stepsDone: step))
        }
    }

    /// Forward, backward, all-reduce, clip and update, for the batch of the step.
    func trainStep() throws -> StepMetrics {
        let learningRate = configuration.schedule.learningRate(
            base: configuration.optimizer.learningRate, step: step, reductions: counters.plateau?.reductions ?? 0)
        // The batches of the step are loaded: copies of the state are those of the step's end.
        try loader.advance()
        let start = memory.moment
        let seen = try computeNeighbour()
        var (outcome, carriesGradient, problem) = try computeStep(learningRate, start, seen)
        if let fault = problem, fault.action == .again {
            memory.goBack(to: start)
            (outcome, carriesGradient, problem) = try computeStep(learningRate, start, seen)
            guard problem == nil else { throw TrainingStep.Outcome.error("\(fault.text), and so it is when the step is repeated", step: step) }
            sinks.note("step \(step) was repeated: \(fault.text) at first, which did not come again: a node may be faulty")
        }
        var read = PairStatistics()
        if let problem {
            memory.goBack(to: start)
            memorized?.discard()
            switch problem.action {
            case .skip: sinks.note(try judge.skip(problem, step: step))
            case .back: throw GoesBack(reason: problem.text, step: step)
            case .stop, .again: throw TrainingStep.Outcome.error(problem.text, step: step)
            }
        } else {
            judge.accept(outcome)
            if let memorized { read = try memorized.commit() }
            counters.tokens += outcome.tokens
        }
        if Failpoint.parameterDrift.isHit { model.store.values[model.store.values.count / 2] += 1e-6 }
        if let interval = configuration.logHistograms, step % interval == 0 { try trainingStep.gatherGradients() }
        if sinks.wantsHistograms(of: step), problem == nil {
            sinks.record(GradientHistogram.all(of: model.store, scale: outcome.gradientScale), step: step)
        }
        var metrics = StepMetrics(step: step)
        metrics[.tokens] = Double(counters.tokens)
        metrics[.loss] = outcome.loss
        metrics[.auxiliaryLoss] = outcome.auxiliaryLoss == 0 ? nil : outcome.auxiliaryLoss
        metrics[.gradientNorm] = outcome.gradientNorm
        metrics[.carriedGradientNorm] = carriesGradient ? outcome.measuredNorm : nil
        metrics.set(read)
        metrics[.skippedSteps] = judge.skipped > 0 ? Double(judge.skipped) : nil
        metrics[.learningRate] = learningRate
        // Every batch of a step knows how many examples of all lanes were cut.
        if let cut = batches.first?.cutExamples, cut > 0 { metrics[.cutPairs] = Double(cut) }
        return metrics
    }

    /// Computes the step's gradient, and applies it where nothing is wrong with it. Collective.
    /// - Parameters:
    ///   - start: what lanes remembered before.
    ///   - seen: the digest of the neighbour's part as this rank has computed it, where the step is checked.
    private func computeStep(
        _ learningRate: Double, _ start: [[Tensor]], _ seen: UInt64?
    ) throws -> (TrainingStep.Outcome, carriesGradient: Bool, StepProblem?) {
        var carried: CarriedMemory?
        var carriesGradient = false
        var finding: NumericsCheck.Finding?
        var problem: StepProblem?
        func compute(_ index: Int, _ tape: Tape) throws -> SummedLoss {
            let lanes = ownership.microBatches[index]
            let dropout = DropoutContext(seed: configuration.seed, step: step, lanes: lanes)
            let numerics = configuration.checkNumerics ? NumericsCheck() : nil
            carried = memory.carried(index)
            let pairs = memorized?.reading()
            let loss = batches[index].loss(
                ForwardPass(tape: tape, dropout: dropout, numerics: numerics, memory: carried, pairs: pairs, stepsDone: step - 1))
            memory.keep(carried, index)
            memorized?.keep(pairs, index, lanes: lanes)
            finding = finding ?? numerics?.finding
            return loss
        }
        func measure(_ index: Int) -> Double {
            guard let squares = carried?.gradientSquares else { return 0 }
            carriesGradient = true
            return squares
        }
        func verify(_ digest: UInt64?) throws {
            if let digest, let seen { try CrossCheck.compare(own: digest, seen: seen, step: step, communicator) }
            // Ranks may have unlike numbers of micro-batches: they meet after all of them.
            if configuration.checkNumerics { try communicator.onEveryRank { if let finding { throw Self.notFinite(finding, step: step) } } }
            try memorized?.gather(communicator)
        }
        func accepts(_ outcome: TrainingStep.Outcome) throws -> Bool {
            problem = judge.problem(of: outcome)
            // A fault of one rank's memory is every rank's.
            if try communicator.agreeOnFlag(problem == nil ? 0 : 1) == 1 {
                problem = problem ?? StepProblem(text: "another rank's gradient went wrong", action: configuration.recovery.notFinite)
            }
            // Parameters that every rank updates alike are those of the step before until all ranks have copies of the rest.
            if !trainingStep.sharesUpdates { try finish(start, problem) }
            return problem == nil
        }
        let outcome =
            try localSteps?.run(step: step, learningRate: learningRate, compute: compute, measure: measure, verify: verify, accepts: accepts)
            ?? trainingStep.run(
                step: step, learningRate: learningRate, compute: compute, measure: measure, isDigested: seen != nil, verify: verify, accepts: accepts)
        // What ranks update for one another may be half done when one is lost: the copies of the step before hold it.
        if trainingStep.sharesUpdates { try finish(start, problem) }
        return (outcome, carriesGradient, problem)
    }

    /// Counts the step as finished on all ranks, where they can outlive one another. Collective.
    private func finish(_ start: [[Tensor]], _ problem: StepProblem?) throws {
        guard let copies, problem == nil || problem?.action == .skip else { return }
        if problem != nil { memory.goBack(to: start) }
        try copies.finish(step)
    }

    private static func notFinite(_ finding: NumericsCheck.Finding, step: Int) -> UserError {
        UserError(
            .badData,
            "\(finding.layer) is the first layer whose output is not finite: \(finding.value) in \(finding.shape)"
                + (finding.operation.map { ", from the operation \($0)" } ?? ""), at: "step \(step)",
            advice: "lower optimizer.learningRate or set optimizer.clip; the last checkpoint is from before this step")
    }
}
