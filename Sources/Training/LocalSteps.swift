// Groups that train by themselves for some steps, and then meet.
//
// Legend: G groups of the batch, K of them a rank's own; H steps between two meetings; N parameters.

import Checkpoints
import Collectives
import Models
import Optimizers
import Tensors

/// What a run file says of steps that groups make by themselves.
public struct LocalStepSettings: Sendable, Equatable {
    /// H.
    public var interval: Int
    /// What the mean of the groups' ways is multiplied by.
    public var learningRate: Double
    /// How much of the step before is in a step of the whole (Nesterov's momentum).
    public var momentum: Double

    /// Steps between two meetings, and what happens there.
    public init(interval: Int, learningRate: Double, momentum: Double) {
        (self.interval, self.learningRate, self.momentum) = (interval, learningRate, momentum)
    }
}

/// Each group of the batch has parameters and an optimizer of its own. Every H steps the mean way that the groups have gone is a gradient for the
/// parameters of the whole, which follow it with Nesterov's momentum and are where all groups go on from:
///
///     d = theta - mean(theta_g);  u = momentum u + d;  theta = theta - learningRate (d + momentum u);  theta_g = theta
///
/// Ranks exchange a few numbers a step, and parameters every H steps alone. What belongs to a group is saved as that, and other numbers of ranks take it over:
/// any number computes the same bits.
///
/// - Source: Douillard et al., "DiLoCo: Distributed Low-Communication Training of Language Models", 2023, algorithm 1, with groups for workers.
package final class LocalSteps: RunState {
    /// One group: its parameters, and what updates them.
    private struct Group {
        let values: UnsafeMutableBufferPointer<Float>
        let optimizer: any Optimizer
        let step: TrainingStep
    }

    package let stateName = "local"
    private let settings: LocalStepSettings
    private let store: ParameterStore
    private let communicator: any Communicator
    private let tree: ReproducibleTree
    private let reduction: GradientReduction
    private var groups: [Group] = []
    /// The rank's groups, as places in the tree's order.
    private let places: Range<Int>
    /// theta and u, [N], as of the last meeting.
    private let values: UnsafeMutableBufferPointer<Float>
    private let momentum: UnsafeMutableBufferPointer<Float>
    /// Those of a meeting that is not agreed on yet.
    private let nextValues: UnsafeMutableBufferPointer<Float>
    private let nextMomentum: UnsafeMutableBufferPointer<Float>

    /// - Parameters:
    ///   - store: the parameters of the whole, allocated. Between steps it holds them; in a step, those of the group that is computed.
    ///   - optimizer: the rule of the groups.
    ///   - update: how a group's gradient is scaled and clipped: its `lanes` are those of one group.
    ///   - tree: of the groups.
    ///   - partition: what of the parameters travels together; `nil` for buckets of the usual size.
    ///   - rounding: what the tree's nodes hold where groups meet.
    /// - Throws: `UserError` (.configuration).
    package init(
        _ settings: LocalStepSettings, store: ParameterStore, optimizer: OptimizerConfiguration, update: TrainingStep.Update, tree: ReproducibleTree,
        partition: ParameterPartition? = nil, rounding: GradientRounding = .none, communicator: any Communicator
    ) throws {
        (self.settings, self.store, self.tree, self.communicator) = (settings, store, tree, communicator)
        reduction = GradientReduction(
            store: store, communicator: communicator, tree: tree, partition: partition ?? ParameterPartition(store), rounding: rounding)
        places = tree.places(ofRank: communicator.rank)
        func zeros() -> UnsafeMutableBufferPointer<Float> {
            let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: store.flatCount)
            buffer.initialize(repeating: 0)
            return buffer
        }
        (values, momentum, nextValues, nextMomentum) = (zeros(), zeros(), zeros(), zeros())
        groups = try places.map { _ in
            let rule = try makeOptimizer(optimizer, parameterCount: store.flatCount)
            return Group(
                values: zeros(), optimizer: rule, step: TrainingStep(store: store, optimizer: rule, update: update, communicator: SingleProcess()))
        }
    }

    deinit { for buffer in [values, momentum, nextValues, nextMomentum] + groups.map(\.values) { buffer.deallocate() } }

    /// Lets all groups begin where the whole is: a run that begins, or one that had no local steps before.
    package func begin() {
        wasRestored()
        for group in groups { copy(store.values, to: group.values) }
    }

    package func wasRestored() { copy(store.values, to: values) }

    private func copy(_ source: UnsafeMutableBufferPointer<Float>, to target: UnsafeMutableBufferPointer<Float>) {
        _ = target.update(fromContentsOf: source[..<store.flatCount])
    }

    /// Puts parameters where the model looks for them.
    private func load(_ source: UnsafeMutableBufferPointer<Float>) {
        copy(source, to: store.values)
        store.refreshOperands()
    }

    /// Runs one step of every group, and lets them meet where it is time. As ``TrainingStep/run(step:learningRate:compute:measure:isDigested:verify:accepts:)``, but
    /// a group whose gradient is not finite is not updated, and the others are: such a step is not to be skipped. Collective.
    package func run(
        step: Int, learningRate: Double, compute: (_ index: Int, _ tape: Tape) throws -> SummedLoss, measure: (_ index: Int) -> Double = { _ in 0 },
        verify: (_ digest: UInt64?) throws -> Void = { _ in }, accepts: (TrainingStep.Outcome) throws -> Bool
    ) throws -> TrainingStep.Outcome {
        defer { load(values) }
        var rows: [[Double]] = []
        for (index, group) in groups.enumerated() {
            load(group.values)
            var measured = 0.0
            let outcome = try group.step.run(step: step, learningRate: learningRate) { _, tape in
                try compute(index, tape)
            } measure: { _ in
                measured = measure(index)
                return 0
            } accepts: {
                $0.notFinite == nil
            }
            copy(store.values, to: group.values)
            rows.append([
                outcome.loss * Double(outcome.tokens), Double(outcome.tokens), measured * outcome.gradientScale * outcome.gradientScale,
                outcome.gradientNorm * outcome.gradientNorm, outcome.notFinite == nil ? 0 : 1, outcome.auxiliaryLoss * Double(outcome.tokens),
            ])
        }
        try verify(nil)
        let sums = try tree.sum(rows, communicator: communicator)
        let count = Double(tree.groupCount)
        var outcome = TrainingStep.Outcome(
            loss: sums[0] / max(sums[1], 1), auxiliaryLoss: sums[5] / max(sums[1], 1), tokens: Int(sums[1]), gradientNorm: (sums[3] / count).squareRoot(), measuredNorm: (sums[2] / count).squareRoot(),
            gradientScale: 1)
        if sums[4] > 0 { outcome.notFinite = "the gradient of \(Int(sums[4])) of \(tree.groupCount) groups is not finite" }
        let meets = step % settings.interval == 0
        if meets { try meet(step) }
        guard try accepts(outcome) else { return outcome }
        if meets {
            copy(nextValues, to: values)
            copy(nextMomentum, to: momentum)
        }
        return outcome
    }

    /// Brings the groups together. Collective.
    private func meet(_ step: Int) throws {
        try reduction.sum(step: step, groups.count) { index in
            let gradients = store.gradientMemory
            for element in 0..<store.flatCount { gradients[element] = values[element] - groups[index].values[element] }
        }
        let gradients = store.gradientMemory
        let (share, rate, inertia) = (1 / Float(tree.groupCount), Float(settings.learningRate), Float(settings.momentum))
        for element in 0..<store.flatCount {
            let way = gradients[element] * share
            nextMomentum[element] = inertia * momentum[element] + way
            nextValues[element] = values[element] - rate * (way + inertia * nextMomentum[element])
        }
        store.clearGradients()
        for group in groups { copy(nextValues, to: group.values) }
    }

    package var stateItems: [StateItem] {
        func perGroup(_ name: String, _ buffer: @escaping (Group) -> UnsafeMutableBufferPointer<Float>) -> [StateItem] {
            store.parameters.map { parameter in
                let elements = parameter.offset..<parameter.offset + parameter.shape.count
                return StateItem(
                    "local/\(name)/\(parameter.name)", .float32, shape: [tree.groupCount] + parameter.shape.array, placement: .rows([places]),
                    save: { [self] in groups.flatMap { Array(buffer($0)[elements]) } }
                ) { [self] (saved: [Float]) in
                    for (index, group) in groups.enumerated() {
                        let part = saved[index * elements.count..<(index + 1) * elements.count]
                        _ = UnsafeMutableBufferPointer(rebasing: buffer(group)[elements]).update(fromContentsOf: part)
                    }
                }
            }
        }
        let slots = groups.first?.optimizer.slots.map(\.name) ?? []
        return perGroup("parameters", \.values) + slots.indices.flatMap { slot in perGroup(slots[slot]) { $0.optimizer.slots[slot].buffer } }
            + store.parameters.map { parameter in
                let elements = parameter.offset..<parameter.offset + parameter.shape.count
                return StateItem(
                    "local/outer_momentum/\(parameter.name)", .float32, shape: parameter.shape.array,
                    memory: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: momentum[elements])))
            }
    }
}
