import Collectives
import NeuralNetworks
import Optimizers
import Tensors
import Testing
import Training

@Suite("What becomes of a gradient before it is applied")
struct UpdateTests {
    /// One step of plain SGD with learning rate 1 on two parameters whose summed gradients are 3, 4 and 12; 2 answers, 4 lanes.
    private func step(_ update: TrainingStep.Update) throws -> (values: [Float], outcome: TrainingStep.Outcome) {
        let store = ParameterStore()
        let pair = store.add("pair", [2], .zeros)
        let single = store.add("single", [1], .zeros)
        store.allocate(seed: 1)
        let optimizer = try makeOptimizer(OptimizerConfiguration(kind: .sgd, learningRate: 1), parameterCount: store.flatCount)
        let step = TrainingStep(store: store, optimizer: optimizer, update: update, communicator: SingleProcess())
        let outcome = try step.run(step: 1, learningRate: 1) { _, tape in
            let pass = ForwardPass(tape: tape)
            let weighted = pass(pair) * Tensor([3, 4] as [Float], [2])
            let loss = weighted.sum() + (pass(single) * Tensor([12] as [Float], [1])).sum() + Tensor([10] as [Float], [1])
            return SummedLoss(loss: loss, negativeLogLikelihood: 10, count: 2, perPosition: [])
        }
        return (pair.value.array + single.value.array, outcome)
    }

    @Test("the mean divides by answers, the lane form by lanes, the sum by nothing; the loss is always a mean")
    func reductions() throws {
        #expect(try step(.init(reduction: .mean, lanes: 4)).values == [-1.5, -2, -6])
        #expect(try step(.init(reduction: .lane, lanes: 4)).values == [-0.75, -1, -3])
        let sum = try step(.init(reduction: .sum, lanes: 4))
        #expect(sum.values == [-3, -4, -12])
        #expect(sum.outcome.loss == 5)
        #expect(sum.outcome.gradientNorm == 13)
    }

    @Test("clipping by parameter leaves small gradients alone, clipping by the whole does not")
    func clipping() throws {
        let apart = try step(.init(clip: 6, clipPer: .parameter, reduction: .sum)).values
        #expect(apart[0] == -3 && apart[1] == -4 && abs(apart[2] + 6) < 1e-5)
        let whole = try step(.init(clip: 6.5, reduction: .sum)).values
        #expect(zip(whole, [-1.5, -2, -6]).allSatisfy { abs($0 - $1) < 1e-5 })
    }
}
