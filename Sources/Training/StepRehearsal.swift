// A run's step on this machine, without other ranks: what it computes, how long that takes, and how much memory it holds.

import Collectives
import Corpora
import Diagnostics
import Kernels
import Models
import NeuralNetworks
import Optimizers
import Tensors

/// What a run's micro-batches of several sizes took here.
package struct StepRehearsal: Codable, Sendable, Equatable {
    /// One size of a micro-batch, the mean over some batches.
    package struct Point: Codable, Sendable, Equatable {
        package var lanes: Int
        /// Forward and backward pass.
        package var seconds: Double
        /// Of these in matrix products.
        package var productSeconds: Double
        /// Multiplications and additions of the matrix products, counted as they are called.
        package var flops: Double
        /// The most memory that the pass holds beside parameters, gradients and optimizer state.
        package var activationBytes: Double

        package init(lanes: Int, seconds: Double, productSeconds: Double, flops: Double, activationBytes: Double) {
            (self.lanes, self.seconds, self.productSeconds) = (lanes, seconds, productSeconds)
            (self.flops, self.activationBytes) = (flops, activationBytes)
        }
    }

    /// By rising size.
    package var points: [Point]
    /// The gradient's norm, clipping and the update.
    package var updateSeconds: Double
    package var threads: Int

    package init(points: [Point], updateSeconds: Double, threads: Int) {
        (self.points, self.updateSeconds, self.threads) = (points, updateSeconds, threads)
    }

    /// Computes steps of a run on this process alone, with the process's number of threads.
    ///
    /// - Parameters:
    ///   - task: made from the configuration, its model not allocated; it is of no use afterwards.
    ///   - lanes: sizes of micro-batches, at most the run's lanes.
    ///   - cacheDirectory: where this machine's choices of matrix backends are kept.
    ///   - seconds: about how long a size is measured; three batches are computed in any case.
    ///   - beside: is called before the first size and after each: what is to be measured on the same machine, whose speed changes.
    /// - Throws: `UserError` where the data cannot be read.
    package init(
        _ configuration: RunConfiguration, _ task: any LearningTask, lanes: [Int], cacheDirectory: String?, seconds: Double = 2, beside: () -> Void = {}
    ) throws {
        let sizes = Set(lanes).sorted()
        require(!sizes.isEmpty && sizes[0] > 0 && (sizes.last ?? 0) <= configuration.batch.lanes, "\(lanes) of \(configuration.batch.lanes) lanes")
        let (model, ranks) = (task.model, SingleProcess())
        let loader = try task.makeLoader(owning: Array(0..<(sizes.last ?? 1)))
        model.store.allocate(seed: configuration.seed, activations: configuration.precision.activations)
        let optimizer = try makeOptimizer(configuration.optimizer, parameterCount: model.store.flatCount)
        let step = TrainingStep(
            store: model.store, optimizer: optimizer, update: TrainingStep.Update(configuration.optimizer, lanes: configuration.batch.lanes), communicator: ranks)
        let held = MemoryPool.shared.statistics.usedBytes
        (points, updateSeconds, threads) = ([], 0, Workers.count)
        for size in sizes {
            let lanes = Array(0..<size)
            let memory = LaneMemory(model, laneCount: configuration.batch.lanes, microBatches: [lanes])
            var batch = try loader.batch(lanes: lanes)
            func compute(_: Int, _ tape: Tape) throws -> SummedLoss {
                let carried = memory.carried(0)
                let dropout = DropoutContext(seed: configuration.seed, step: 1, lanes: lanes)
                let loss = batch.loss(ForwardPass(tape: tape, dropout: dropout, memory: carried, stepsDone: 0))
                memory.keep(carried, 0)
                return loss
            }
            if points.isEmpty {
                let cache = MatrixProductCache(directory: cacheDirectory)
                try BackendAgreement(ranks, directory: nil, cache: cache, measures: !configuration.parallel.reproducible) { _ in }
                    .prepare(rehearse: { try step.rehearse(compute: compute) }, report: { _ in })
            }
            if points.isEmpty { beside() }
            MemoryPool.shared.restartPeak()
            try step.rehearse(compute: compute)
            var times: [Double] = []
            ProductCount.begin()
            while times.count < 3 || times.count < 200 && times.reduce(0, +) < seconds {
                let start = ContinuousClock.now
                try step.rehearse(compute: compute)
                times.append(start.duration(to: .now).seconds)
                // Batches differ in length: what counts is their mean.
                try loader.advance()
                batch = try loader.batch(lanes: lanes)
            }
            let total = ProductCount.end()
            let mean = Self.mean(times)
            // What disturbed a pass is left out of the time in products too.
            let share = min(1, total.seconds / Double(threads) / max(times.reduce(0, +), 1e-9))
            points.append(
                Point(
                    lanes: size, seconds: mean, productSeconds: mean * share, flops: Double(total.flops) / Double(times.count),
                    activationBytes: Double(MemoryPool.shared.statistics.peakUsedBytes - held)))
            if points.count == 1 {
                // A whole step less its passes, in turns, so that both see the same batches and the same machine.
                var differences: [Double] = []
                let begin = ContinuousClock.now
                while differences.count < 5 || differences.count < 50 && begin.duration(to: .now).seconds < seconds {
                    let start = ContinuousClock.now
                    _ = try step.run(step: differences.count + 1, learningRate: 0, compute: compute)
                    let middle = ContinuousClock.now
                    try step.rehearse(compute: compute)
                    differences.append(start.duration(to: middle).seconds - middle.duration(to: .now).seconds)
                }
                updateSeconds = max(0, differences.sorted()[differences.count / 2])
            }
            beside()
        }
    }

    /// The mean without the largest tenth, which something else has disturbed.
    private static func mean(_ times: [Double]) -> Double {
        let kept = times.sorted().prefix(max(1, times.count - times.count / 10))
        return kept.reduce(0, +) / Double(kept.count)
    }

    /// The figures of a micro-batch of so many lanes: between two measured sizes in proportion, beyond them along the line through the last two.
    package func point(lanes: Int) -> Point {
        guard points.count > 1, let upper = points.firstIndex(where: { $0.lanes >= lanes }) ?? Optional(points.count - 1) else { return points[0] }
        let (a, b) = (points[max(upper, 1) - 1], points[max(upper, 1)])
        let share = Double(lanes - a.lanes) / Double(b.lanes - a.lanes)
        func between(_ value: (Point) -> Double) -> Double { max(0, value(a) + share * (value(b) - value(a))) }
        return Point(
            lanes: lanes, seconds: between(\.seconds), productSeconds: between(\.productSeconds), flops: between(\.flops),
            activationBytes: between(\.activationBytes))
    }
}
