// How gradients of micro-batches and ranks become one: buckets that travel during the backward pass, or the reproducible tree.

import Collectives
import Tensors

/// Sums of one step that all ranks need.
struct StepSums {
    /// Training loss, nats.
    var loss = 0.0
    /// Predicted tokens.
    var tokens = 0.0
    /// What was measured of each micro-batch after its backward pass.
    var measure = 0.0
}

/// Runs the micro-batches of a step and leaves the sum over all lanes of all ranks in the store's gradients. Gradients that are rows gather over the
/// micro-batches of one rank as rows; between ranks, and in the tree, they are dense.
final class GradientReduction {
    private let store: ParameterStore
    private let communicator: any Communicator
    private let buckets: GradientBuckets?
    private let tree: ReproducibleTree?
    private let accumulator: GroupAccumulator?
    private var isMarked: [Bool]

    init(store: ParameterStore, communicator: any Communicator, tree: ReproducibleTree?, microBatches: Int, bucketBytes: Int) {
        self.store = store
        self.communicator = communicator
        self.tree = tree
        isMarked = Array(repeating: false, count: store.parameters.count)
        if tree != nil {
            accumulator = GroupAccumulator(groupCount: microBatches, elementCount: store.flatCount)
            buckets = nil
        } else {
            accumulator = nil
            buckets = communicator.size == 1
                ? nil : GradientBuckets(ranges: store.parameters.map { $0.offset..<$0.offset + $0.shape.count }, bucketBytes: bucketBytes)
        }
    }

    /// - Parameters:
    ///   - count: micro-batches of this rank.
    ///   - compute: forward pass of one micro-batch; returns its summed loss, to be run backwards on the tape.
    ///   - measure: called after the backward pass of a micro-batch; its results are summed.
    /// - Returns: the sums over all ranks.
    func run(_ count: Int, compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss, measure: (_ index: Int) -> Double) throws -> StepSums {
        tree == nil ? try runBuckets(count, compute, measure) : try runTree(count, compute, measure)
    }

    private func runBuckets(_ count: Int, _ compute: (Int, Tape) throws -> SummedLoss, _ measure: (Int) -> Double) throws -> StepSums {
        store.clearGradients()
        var sums = StepSums()
        var failure: (any Error)?
        for index in 0..<count {
            let tape = Tape()
            let result = try compute(index, tape)
            sums.loss += Double(result.loss.scalar)
            sums.tokens += Double(result.count)
            if let buckets, index == count - 1 {
                buckets.begin(gradients: store.gradientMemory, communicator: communicator)
                for parameter in isMarked.indices { isMarked[parameter] = false }
                tape.onProgress = { [self] parameter in
                    guard failure == nil else { return }
                    do {
                        if let parameter {
                            guard store.parameters.indices.contains(parameter.index), store.parameters[parameter.index] === parameter else { return }
                            isMarked[parameter.index] = true
                            parameter.makeGradientDense()
                            try buckets.markReady(parameter.index)
                        } else {
                            try buckets.poll()
                        }
                    } catch { failure = error }
                }
            }
            tape.backward(from: result.loss)
            if let failure { throw failure }
            sums.measure += measure(index)
        }
        store.zeroMissingGradients()
        if let buckets {
            for (index, done) in isMarked.enumerated() where !done {
                store.parameters[index].makeGradientDense()
                try buckets.markReady(index)
            }
            try buckets.finish()
            try withUnsafeTemporaryAllocation(of: Double.self, capacity: 3) { buffer in
                (buffer[0], buffer[1], buffer[2]) = (sums.loss, sums.tokens, sums.measure)
                try communicator.allReduce(buffer, .sum)
                sums = StepSums(loss: buffer[0], tokens: buffer[1], measure: buffer[2])
            }
        }
        return sums
    }

    private func runTree(_ count: Int, _ compute: (Int, Tape) throws -> SummedLoss, _ measure: (Int) -> Double) throws -> StepSums {
        guard let tree, let accumulator else { preconditionFailure("no tree") }
        var groupSums: [[Double]] = []
        for index in 0..<count {
            store.clearGradients()
            let tape = Tape()
            let result = try compute(index, tape)
            tape.backward(from: result.loss)
            groupSums.append([Double(result.loss.scalar), Double(result.count), measure(index)])
            store.zeroMissingGradients()
            // One group on one rank is its own sum.
            if tree.groupCount > 1 { accumulator.add(store.gradients) }
        }
        if tree.size > 1 { try tree.allReduce(store.gradients, communicator: communicator) }
        let sums = try tree.sum(groupSums, communicator: communicator)
        return StepSums(loss: sums[0], tokens: sums[1], measure: sums[2])
    }
}
