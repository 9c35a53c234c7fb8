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
    /// What parts of the model have learned from besides.
    var auxiliary = 0.0
    /// Of this rank's last micro-batch, where it was asked for.
    var digest: UInt64?
}

/// Runs the micro-batches of a step and leaves the sum over all lanes of all ranks in the store's gradients. Gradients that are rows gather over the
/// micro-batches of one rank as rows; between ranks, and in the tree, they are dense. Where ranks share out the optimizer's state, each is left with the
/// sums of its own parts.
final class GradientReduction {
    private let store: ParameterStore
    private let communicator: any Communicator
    private let partition: ParameterPartition
    /// What travels while the backward pass still runs; `nil` on one rank.
    private let buckets: GradientBuckets?
    private let tree: ReproducibleTree?
    /// Along which sums travel between ranks; `nil` where the library sums.
    private let exchange: ReproducibleTree?
    /// `nil` without a tree, and where one group is its own sum as it is.
    private let accumulator: GroupAccumulator?
    /// What the tree's nodes hold.
    private var rounding: GradientRounding
    private var isMarked: [Bool]
    /// Of the last micro-batch of the present step; `nil` where nobody asks for it.
    private var digest: GradientDigest?

    /// - Parameter ranksPerNode: as `Communicator.ranksPerNode()` gives it.
    init(
        store: ParameterStore, communicator: any Communicator, tree: ReproducibleTree?, partition: ParameterPartition, rounding: GradientRounding = .none,
        ranksPerNode: Int = 1
    ) {
        let size = communicator.size
        // Between nodes, collectives of libraries stand still while ranks compute: Open MPI over TCP hides nothing of them behind a backward pass, and
        // all of the messages of a tree that it can.
        let travelsAlone = tree == nil && communicator.localSize < size && size.nonzeroBitCount == 1
        exchange = travelsAlone ? try? ReproducibleTree(groupCount: size, size: size, ranksPerNode: ranksPerNode) : tree
        self.rounding = rounding
        self.store = store
        self.communicator = communicator
        self.tree = tree
        self.partition = partition
        isMarked = Array(repeating: false, count: store.parameters.count)
        accumulator = tree.flatMap { $0.groupCount > 1 || rounding.format != .float32 ? $0.accumulator(ofRank: communicator.rank, elementCount: store.flatCount) : nil }
        buckets = communicator.size == 1 ? nil : partition.buckets
    }

    /// - Parameters:
    ///   - step: the number of the step.
    ///   - count: micro-batches of this rank.
    ///   - isDigested: whether the last micro-batch's digest is made, of what is about to be summed.
    ///   - compute: forward pass of one micro-batch; returns its summed loss, to be run backwards on the tape.
    ///   - weight: what a micro-batch's gradient is multiplied by, by the number of its tokens.
    ///   - measure: called after the backward pass of a micro-batch; its results are summed.
    /// - Returns: the sums over all ranks.
    func run(
        step: Int, _ count: Int, isDigested: Bool = false, compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss,
        weight: (_ tokens: Int) -> Float, measure: (_ index: Int) -> Double
    ) throws -> StepSums {
        rounding.step = step
        digest = isDigested ? GradientDigest() : nil
        var sums: [[Double]] = []
        for index in 0..<count {
            if index == 0 || tree != nil { store.clearGradients() }
            let tape = Tape()
            let result = try compute(index, tape)
            let isLast = index == count - 1
            let travel = isLast ? buckets.map(begin) : nil
            tape.onProgress = travel?.progress
            tape.backward(from: result.objective, seed: weight(result.count))
            if let failure = travel?.failure { throw failure }
            sums.append([Double(result.loss.scalar), Double(result.count), measure(index), Double(result.auxiliary?.scalar ?? 0)])
            if isLast || tree != nil { store.zeroMissingGradients() }
            if isLast, buckets == nil { for range in partition.buckets.buckets { digest?.add(store.gradients, range) } }
            if let accumulator, !isLast || buckets == nil { accumulator.add(store.gradients, rounding) }
        }
        if let buckets {
            for (index, isMarked) in isMarked.enumerated() where !isMarked { try markReady(store.parameters[index], in: buckets) }
            try buckets.finish()
            accumulator?.endStep()
        }
        let totals = try total(sums)
        return StepSums(
            loss: totals[0], tokens: totals[1], measure: totals[2], auxiliary: totals[3], digest: digest?.finalized(loss: Float(sums.last?[0] ?? 0)))
    }

    /// Leaves in the store's gradients, which are all dense then, the sum over all groups of what `fill` writes there for each of this rank's. Collective.
    func sum(step: Int, _ count: Int, _ fill: (_ index: Int) -> Void) throws {
        rounding.step = step
        for index in 0..<count {
            store.clearGradients()
            store.zeroMissingGradients()
            fill(index)
            if let accumulator, index < count - 1 || buckets == nil { accumulator.add(store.gradients, rounding) }
        }
        guard let buckets else { return }
        _ = begin(buckets)
        for parameter in store.parameters { try buckets.markReady(parameter.index) }
        try buckets.finish()
        accumulator?.endStep()
    }

    /// Brings every rank's own parts of flat memory to all ranks. Collective.
    func distribute(_ memory: UnsafeMutableBufferPointer<Float>) throws {
        guard let buckets, let tree else { return }
        buckets.begin { [communicator, partition] range in
            try tree.startAllGather(UnsafeMutableBufferPointer(rebasing: memory[range]), of: range, cuts: partition.cuts, communicator: communicator)
        }
        try buckets.finish()
    }

    /// Sums of a few numbers of each micro-batch, over all ranks.
    private func total(_ rows: [[Double]]) throws -> [Double] {
        if let tree { return try tree.sum(rows, communicator: communicator) }
        let own = rows.dropFirst().reduce(rows[0]) { zip($0, $1).map { $0 + $1 } }
        return communicator.size == 1 ? own : try communicator.allReduced(own, .sum)
    }

    /// Follows a backward pass, whose callbacks cannot throw.
    private final class Travel {
        var progress: ((Parameter?) -> Void)?
        var failure: (any Error)?
    }

    /// Opens the buckets for the last backward pass of a step.
    private func begin(_ buckets: GradientBuckets) -> Travel {
        for parameter in isMarked.indices { isMarked[parameter] = false }
        let gradients = store.gradientMemory
        buckets.begin { [self, communicator, exchange, accumulator, partition, rounding] range in
            digest?.add(gradients, range)
            let part = UnsafeMutableBufferPointer(rebasing: gradients[range])
            guard let exchange else { return try communicator.startAllReduce(part) }
            accumulator?.addLast(gradients, range, rounding)
            let partials = accumulator?.partials(range) ?? []
            return partition.isShared
                ? try exchange.startReduceScatter(
                    part, of: range, cuts: partition.cuts, partials: partials, rounding: rounding, communicator: communicator)
                : try exchange.startAllReduce(part, of: range, partials: partials, rounding: rounding, communicator: communicator)
        }
        let travel = Travel()
        travel.progress = { [self, unowned travel] parameter in
            guard travel.failure == nil else { return }
            do {
                if let parameter {
                    guard store.parameters.indices.contains(parameter.index), store.parameters[parameter.index] === parameter else { return }
                    try markReady(parameter, in: buckets)
                } else {
                    try buckets.poll()
                }
            } catch { travel.failure = error }
        }
        return travel
    }

    private func markReady(_ parameter: Parameter, in buckets: GradientBuckets) throws {
        isMarked[parameter.index] = true
        parameter.makeGradientDense()
        try buckets.markReady(parameter.index)
    }
}
