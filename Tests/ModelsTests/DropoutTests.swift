// Dropout belongs to lanes: however lanes are split over batches, a step computes the same.

import Models
import NeuralNetworks
import Tensors
import Testing

@Suite struct DropoutTests {
    private static let lengths = [(source: 7, target: 9), (source: 4, target: 3), (source: 11, target: 6), (source: 2, target: 8)]

    /// The batch of some of the four lanes, padded to its own longest sequences.
    private func batch(_ model: any LanguageModel, _ lanes: [Int]) -> PreparedBatch {
        var sources: [[Int32]] = []
        var inputs: [[Int32]] = []
        var outputs: [[Int32]] = []
        for lane in lanes {
            var random = RandomStream(seed: 11, name: "lane \(lane)")
            let (source, target) = Self.lengths[lane]
            sources.append(randomTokens(source, &random))
            inputs.append(randomTokens(target, &random))
            outputs.append(randomTokens(target, &random))
        }
        let (targetInputs, targetOutputs) = (padded(inputs), padded(outputs, with: -1))
        return model.prepared {
            TokenBatch(lanes: lanes, inputs: targetInputs, targets: targetOutputs)
        } pairs: {
            SequencePairBatch(
                lanes: lanes, sources: padded(sources), sourceLengths: sources.map(\.count), targetInputs: targetInputs, targetOutputs: targetOutputs)
        }
    }

    private func train(_ model: any LanguageModel, step: Int, split: [[Int]]) -> (loss: Float, gradients: [Float]) {
        model.store.clearGradients()
        var loss: Float = 0
        for lanes in split {
            let tape = Tape()
            let pass = ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: step, lanes: lanes))
            let result = batch(model, lanes).loss(pass)
            loss += result.loss.scalar
            tape.backward(from: result.loss)
        }
        model.store.zeroMissingGradients()
        return (loss, Array(model.store.gradients))
    }

    @Test(arguments: ModelKind.allCases)
    func lossAndGradientsDoNotDependOnHowLanesAreSplit(kind: ModelKind) {
        let model = makeSmallModel(kind, dropout: 0.2, labelSmoothing: 0.1, attentionGain: 1)
        let whole = train(model, step: 4, split: [[0, 1, 2, 3]])
        for split in [[[0, 1], [2, 3]], [[3, 0], [1, 2]], [[2], [1], [0], [3]]] {
            let parts = train(model, step: 4, split: split)
            #expect(relativeError([parts.loss], [whole.loss]) < 1e-5, "\(kind) \(split)")
            #expect(relativeError(parts.gradients, whole.gradients) < 1e-5, "\(kind) \(split)")
        }
    }

    @Test(arguments: ModelKind.allCases)
    func masksFollowTheStepAndOnlyTraining(kind: ModelKind) {
        let model = makeSmallModel(kind, dropout: 0.2)
        let lanes = [[0, 1, 2, 3]]
        let first = train(model, step: 1, split: lanes)
        #expect(first.loss == train(model, step: 1, split: lanes).loss)
        #expect(first.loss != train(model, step: 2, split: lanes).loss)
        let evaluated = batch(model, [0, 1, 2, 3]).loss(ForwardPass()).loss.scalar
        #expect(evaluated != first.loss)
        #expect(evaluated == batch(makeSmallModel(kind, dropout: 0), [0, 1, 2, 3]).loss(ForwardPass()).loss.scalar)
    }
}
