// Groups that train by themselves and meet, against the definition in Double.

import Collectives
import Diagnostics
import NeuralNetworks
import Optimizers
import Tensors
import TestSupport
import Testing
import Training

@Suite("Local steps, and where they meet")
struct LocalStepTests {
    /// What group g's gradient is made of at a step: its loss is the sum over elements of (value - target)^2, for one answer.
    private static func target(_ group: Int, _ step: Int, _ element: Int) -> Double {
        let draw = (group * 7 + step * 3 + element * 5) % 11
        return Double(draw) / 4 - 1
    }

    private static let (groups, elements, steps, rate) = (4, 3, 7, 0.1)
    private static let settings = LocalStepSettings(interval: 3, learningRate: 0.7, momentum: 0.9)

    /// Values of the whole after each step, by the equations.
    private func expected() -> [[Double]] {
        var whole = [Double](repeating: 0, count: Self.elements)
        var momentum = whole
        var own = [[Double]](repeating: whole, count: Self.groups)
        var after: [[Double]] = []
        for step in 1...Self.steps {
            for group in 0..<Self.groups {
                for element in 0..<Self.elements { own[group][element] -= Self.rate * 2 * (own[group][element] - Self.target(group, step, element)) }
            }
            if step % Self.settings.interval == 0 {
                for element in 0..<Self.elements {
                    let way = whole[element] - own.reduce(0) { $0 + $1[element] } / Double(Self.groups)
                    momentum[element] = Self.settings.momentum * momentum[element] + way
                    whole[element] -= Self.settings.learningRate * (way + Self.settings.momentum * momentum[element])
                    for group in 0..<Self.groups { own[group][element] = whole[element] }
                }
            }
            after.append(whole)
        }
        return after
    }

    @Test("the parameters of the whole follow the definition, the same bits on 1, 2 and 3 ranks", arguments: [1, 2, 3])
    func definition(ranks: Int) throws {
        func values(ranks: Int) throws -> [[Float]] {
            try withThreads(1) {
                try LoopbackCommunicator.run(size: ranks) { communicator in
                    let store = ParameterStore()
                    let parameter = store.add("values", [Self.elements], .zeros)
                    store.allocate(seed: 1)
                    let tree = try ReproducibleTree(groupCount: Self.groups, size: ranks)
                    let local = try LocalSteps(
                        Self.settings, store: store, optimizer: OptimizerConfiguration(kind: .sgd, learningRate: Self.rate), update: .init(), tree: tree,
                        communicator: communicator)
                    local.begin()
                    let own = tree.groups(ofRank: communicator.rank)
                    return try (1...Self.steps).flatMap { step in
                        _ = try local.run(step: step, learningRate: Self.rate) { index, tape in
                            let targets = (0..<Self.elements).map { Float(Self.target(own[index], step, $0)) }
                            let difference = ForwardPass(tape: tape)(parameter) - Tensor(targets, [Self.elements])
                            return SummedLoss(loss: (difference * difference).sum(), negativeLogLikelihood: 0, count: 1, perPosition: [])
                        } accepts: { _ in true }
                        return parameter.value.array
                    }
                }
            }
        }
        let found = try values(ranks: ranks)
        for rank in found {
            for (value, wanted) in zip(rank, expected().joined()) { #expect(abs(Double(value) - wanted) < 1e-5) }
        }
        #expect(try found.allSatisfy { try $0 == values(ranks: 1)[0] })
    }
}
