// One optimizer step from a batch to new parameters: what the training loop and the benchmarks both run.

import Collectives
import Diagnostics
import Models
import Optimizers
import Tensors

/// Forward and backward passes of all micro-batches, the all-reduce, clipping by the global norm, and the update.
package final class TrainingStep {
    /// What a step has computed, over all ranks.
    package struct Outcome: Sendable {
        /// The mean loss of a token, nats, before the update.
        package var loss: Double
        /// What parts of the model have learned from besides, the mean of a token; 0 where there is nothing such.
        package var auxiliaryLoss = 0.0
        /// Predicted tokens.
        package var tokens: Int
        /// The gradient's global norm before clipping.
        package var gradientNorm: Double
        /// The root of the sum of what was measured, scaled as the gradient: the norm of another gradient whose squares were measured.
        package var measuredNorm: Double
        /// What the store's gradients, sums over all lanes, are multiplied by before they are clipped.
        package var gradientScale: Double
        /// Why nothing could be updated: the gradient or its norm is not finite. `nil` for a step that can be applied.
        package var notFinite: String?

        /// The error of a step that cannot be applied, or must not be. The same on every rank.
        package static func error(_ problem: String, step: Int) -> UserError {
            UserError(
                .badData, problem, at: "step \(step)",
                advice: "lower optimizer.learningRate or set optimizer.clip; the last checkpoint is from before this step"
            ).shared
        }
    }

    /// What becomes of a gradient before it is applied.
    package struct Update: Sendable {
        /// The largest norm; 0 for no clipping.
        package var clip: Double
        package var clipPer: ClipScope
        package var reduction: LossReduction
        /// L, the lanes of the global batch.
        package var lanes: Int

        package init(clip: Double = 0, clipPer: ClipScope = .all, reduction: LossReduction = .mean, lanes: Int = 1) {
            self.clip = clip
            self.clipPer = clipPer
            self.reduction = reduction
            self.lanes = lanes
        }

        /// As a run's configuration says it.
        init(_ optimizer: OptimizerConfiguration, lanes: Int) {
            self.init(clip: optimizer.clip, clipPer: optimizer.clipPer, reduction: optimizer.reduction, lanes: lanes)
        }

        /// What the summed gradient of some tokens in some of the lanes is multiplied by.
        fileprivate func scale(tokens: Double, lanes: Int) -> Double {
            switch reduction {
            case .mean: 1 / max(tokens, 1)
            case .lane: 1 / Double(max(lanes, 1))
            case .sum: 1
            }
        }
    }

    private let store: ParameterStore
    private let optimizer: any Optimizer
    private let update: Update
    private let microBatches: Int
    private let communicator: any Communicator
    private let partition: ParameterPartition
    private let reduction: GradientReduction
    /// The lanes of each group whose gradients are scaled before they become one; `nil` where their sum is scaled.
    private let lanesOfScaledGroup: Int?

    /// - Parameters:
    ///   - store: the model's parameters, allocated with gradients.
    ///   - optimizer: the update rule with its state.
    ///   - update: how gradients are scaled and clipped.
    ///   - communicator: the ranks.
    ///   - tree: sums gradients along the fixed tree; `nil` lets the library sum them.
    ///   - partition: what this rank updates, and what travels together; `nil` for all, in buckets of the usual size.
    ///   - rounding: what the tree's nodes hold.
    ///   - microBatches: micro-batches of this rank in a step.
    ///   - ranksPerNode: as `Communicator.ranksPerNode()` gives it.
    package init(
        store: ParameterStore, optimizer: any Optimizer, update: Update, communicator: any Communicator, tree: ReproducibleTree? = nil,
        partition: ParameterPartition? = nil, rounding: GradientRounding = .none, microBatches: Int = 1, ranksPerNode: Int = 1
    ) {
        let partition = partition ?? ParameterPartition(store)
        self.communicator = communicator
        self.partition = partition
        self.store = store
        self.optimizer = optimizer
        self.update = update
        self.microBatches = microBatches
        lanesOfScaledGroup = tree.flatMap { rounding.combination == .adasum ? update.lanes / $0.groupCount : nil }
        reduction = GradientReduction(
            store: store, communicator: communicator, tree: tree, partition: partition, rounding: rounding, ranksPerNode: ranksPerNode)
    }

    /// Runs the forward and backward passes of a step on this rank alone, and drops the gradients.
    ///
    /// - Parameter compute: the forward pass of one micro-batch, as in a step.
    package func rehearse(compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss) throws {
        for index in 0..<microBatches {
            store.clearGradients()
            let tape = Tape()
            tape.backward(from: try compute(index, tape).objective)
        }
        store.clearGradients()
    }

    /// The digest of one micro-batch's loss and gradient, as a step in which it is a rank's last gives it. On this rank alone; the gradients are dropped.
    ///
    /// - Parameter compute: the forward pass.
    func digest(compute: (_ tape: Tape) throws -> SummedLoss) throws -> UInt64 {
        store.clearGradients()
        let tape = Tape()
        let result = try compute(tape)
        tape.backward(from: result.objective, seed: weight(tokens: result.count))
        store.zeroMissingGradients()
        var digest = GradientDigest()
        let gradients = store.gradients
        for range in partition.buckets.buckets { digest.add(gradients, range) }
        store.clearGradients()
        return digest.finalized(loss: result.loss.scalar)
    }

    /// What a micro-batch's gradient is multiplied by before it is added to others.
    private func weight(tokens: Int) -> Float { lanesOfScaledGroup.map { Float(update.scale(tokens: Double(tokens), lanes: $0)) } ?? 1 }

    /// Runs one step. Collective.
    ///
    /// - Parameters:
    ///   - step: the step's number, from 1.
    ///   - learningRate: of this step, as the schedule gave it.
    ///   - compute: the forward pass of one micro-batch; returns its summed loss, to be run backwards on the tape.
    ///   - measure: called after the backward pass of a micro-batch; gives squares to be summed for `Outcome.measuredNorm`.
    ///   - isDigested: whether `verify` is to be given the digest of this rank's last micro-batch, as ``digest(compute:)`` gives it.
    ///   - verify: called on every rank once all micro-batches are computed and before anything is updated; what it throws ends the step.
    ///   - accepts: whether the step is applied; called on every rank with the same outcome. Parameters and optimizer else stay as they were. Without it
    ///     a step is applied when its gradient is finite.
    /// - Throws: `UserError` (.badData), the same on every rank, when the gradient is not finite and nobody else judges it; what `accepts` throws.
    package func run(
        step: Int, learningRate: Double, compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss, measure: (_ index: Int) -> Double = { _ in 0 },
        isDigested: Bool = false, verify: (_ digest: UInt64?) throws -> Void = { _ in }, accepts: ((Outcome) throws -> Bool)? = nil
    ) throws -> Outcome {
        let sums = try reduction.run(step: step, microBatches, isDigested: isDigested, compute: compute, weight: weight, measure: measure)
        try verify(sums.digest)
        let meanLoss = sums.loss / max(sums.tokens, 1)
        let scale = lanesOfScaledGroup == nil ? update.scale(tokens: sums.tokens, lanes: update.lanes) : 1
        var pieces = partition.pieces
        if !partition.isShared {
            for parameter in store.parameters where parameter.gradientForm == .rows {
                pieces[parameter.index].range.rows = parameter.rowGradient.map { GradientRows(numbers: $0.rows, values: $0.values, width: $0.width) }
            }
        }
        if Failpoint.gradient.isHit, let part = partition.ownParts.first { store.gradientMemory[partition.parts[part].lowerBound] = .nan }
        let squares = try partition.squares(of: UnsafeBufferPointer(store.gradientMemory), rows: pieces.map(\.range), communicator)
        let norm = squares.reduce(0, +).squareRoot() * abs(scale)
        var outcome = Outcome(
            loss: meanLoss, auxiliaryLoss: sums.auxiliary / max(sums.tokens, 1), tokens: Int(sums.tokens), gradientNorm: norm, measuredNorm: sums.measure.squareRoot() * scale, gradientScale: scale)
        if !norm.isFinite {
            let first = squares.firstIndex { !$0.isFinite }.map { ", first that of \(store.parameters[partition.parameterOfPart[$0]].name)" } ?? ""
            outcome.notFinite = "the gradient is not finite\(first), with a loss of \(meanLoss.isNaN ? "nan" : "\(meanLoss)")"
        }
        if let accepts {
            guard try accepts(outcome) else { return outcome }
        } else if let problem = outcome.notFinite {
            throw Outcome.error(problem, step: step)
        }
        guard let values = store.values.baseAddress, let gradients = store.gradientMemory.baseAddress else { fatalError("no parameters") }
        func apply(_ ranges: [ParameterRange], _ factor: Double) {
            optimizer.step(
                values: values, gradients: gradients, ranges: ranges, learningRate: learningRate, gradientScale: scale * factor, step: step,
                lowPrecision: store.operands)
        }
        switch update.clipPer {
        case .all: apply(pieces.map(\.range), clipFactor(norm: norm, clip: update.clip))
        case .parameter:
            var sums = [Double](repeating: 0, count: store.parameters.count)
            for (part, sum) in squares.enumerated() { sums[partition.parameterOfPart[part]] += sum }
            for piece in pieces { apply([piece.range], clipFactor(norm: sums[piece.parameter].squareRoot() * abs(scale), clip: update.clip)) }
        }
        if partition.isShared {
            try reduction.distribute(store.values)
            store.refreshOperands()
        }
        return outcome
    }

    /// Whether each rank updates a part of the parameters, for all.
    package var sharesUpdates: Bool { partition.isShared }

    /// Brings the whole gradient of the step to every rank, where each has its own parts. Collective.
    package func gatherGradients() throws { if partition.isShared { try reduction.distribute(store.gradientMemory) } }
}
