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
        /// Predicted tokens.
        package var tokens: Int
        /// The gradient's global norm before clipping.
        package var gradientNorm: Double
        /// The root of the sum of what was measured, scaled as the gradient: the norm of another gradient whose squares were measured.
        package var measuredNorm: Double
        /// What the store's gradients, sums over all lanes, are multiplied by before they are clipped.
        package var gradientScale: Double
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

        /// What the summed gradient is multiplied by.
        fileprivate func scale(tokens: Double) -> Double {
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
    private var ranges: [ParameterRange]
    private let reduction: GradientReduction

    /// - Parameters:
    ///   - store: the model's parameters, allocated with gradients.
    ///   - optimizer: the update rule with its state.
    ///   - update: how gradients are scaled and clipped.
    ///   - communicator: the ranks.
    ///   - tree: sums gradients along the fixed tree; `nil` sums them in buckets.
    ///   - microBatches: micro-batches of this rank in a step.
    ///   - bucketBytes: the size of a gradient bucket.
    package init(
        store: ParameterStore, optimizer: any Optimizer, update: Update, communicator: any Communicator, tree: ReproducibleTree? = nil,
        microBatches: Int = 1, bucketBytes: Int = 4 << 20
    ) {
        self.store = store
        self.optimizer = optimizer
        self.update = update
        self.microBatches = microBatches
        ranges = store.parameters.map { ParameterRange(offset: $0.offset, count: $0.shape.count, decays: $0.decays) }
        reduction = GradientReduction(store: store, communicator: communicator, tree: tree, microBatches: microBatches, bucketBytes: bucketBytes)
    }

    /// Runs the forward and backward passes of a step on this rank alone, and drops the gradients.
    ///
    /// - Parameter compute: the forward pass of one micro-batch, as in a step.
    package func rehearse(compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss) throws {
        for index in 0..<microBatches {
            store.clearGradients()
            let tape = Tape()
            tape.backward(from: try compute(index, tape).loss)
        }
        store.clearGradients()
    }

    /// Runs one step. Collective.
    ///
    /// - Parameters:
    ///   - step: the step's number, from 1.
    ///   - learningRate: of this step, as the schedule gave it.
    ///   - compute: the forward pass of one micro-batch; returns its summed loss, to be run backwards on the tape.
    ///   - measure: called after the backward pass of a micro-batch; gives squares to be summed for `Outcome.measuredNorm`.
    /// - Throws: `UserError` (.badData), the same on every rank, when the gradient is not finite; parameters are then as before the step.
    package func run(
        step: Int, learningRate: Double, compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss, measure: (_ index: Int) -> Double = { _ in 0 }
    ) throws -> Outcome {
        let sums = try reduction.run(microBatches, compute: compute, measure: measure)
        let meanLoss = sums.loss / max(sums.tokens, 1)
        let scale = update.scale(tokens: sums.tokens)
        for parameter in store.parameters where parameter.gradientForm == .rows {
            ranges[parameter.index].rows = parameter.rowGradient.map { GradientRows(numbers: $0.rows, values: $0.values, width: $0.width) }
        }
        let norm = gradientNorm(of: UnsafeBufferPointer(store.gradientMemory), ranges: ranges, scale: scale)
        guard norm.isFinite else {
            throw UserError(
                .badData,
                "the gradient is not finite\(firstNotFinite.map { ", first that of \($0)" } ?? ""), "
                    + "with a loss of \(meanLoss.isNaN ? "nan" : "\(meanLoss)")",
                at: "step \(step)", advice: "lower optimizer.learningRate or set optimizer.clip; the last checkpoint is from before this step").shared
        }
        guard let values = store.values.baseAddress, let gradients = store.gradientMemory.baseAddress else { fatalError("no parameters") }
        func apply(_ ranges: [ParameterRange], _ factor: Double) {
            optimizer.step(
                values: values, gradients: gradients, ranges: ranges, learningRate: learningRate, gradientScale: scale * factor, step: step,
                lowPrecision: store.operands)
        }
        switch update.clipPer {
        case .all: apply(ranges, clipFactor(norm: norm, clip: update.clip))
        case .parameter:
            for range in ranges {
                apply([range], clipFactor(norm: gradientNorm(of: gradients, in: range, scale: scale), clip: update.clip))
            }
        }
        return Outcome(loss: meanLoss, tokens: Int(sums.tokens), gradientNorm: norm, measuredNorm: sums.measure.squareRoot() * scale,
            gradientScale: scale)
    }
    /// The first parameter whose gradient has no finite norm.
    private var firstNotFinite: String? {
        guard let gradients = store.gradientMemory.baseAddress else { return nil }
        return store.parameters.first { !gradientNorm(of: gradients, in: ranges[$0.index]).isFinite }?.name
    }
}
