// Activations computed again give the numbers of activations that were kept, bit for bit, in less memory.

import Models
import NeuralNetworks
import Tensors
import Testing

@Suite struct RecomputationTests {
    private func model(_ kind: ModelKind, _ activations: DataType, recompute: Bool) -> any LanguageModel {
        var configuration = TransformerConfiguration(
            kind == .decoderOnly ? .decoderOnly : .encoderDecoder(preNorm: false), layers: 3, width: 24, heads: 3, feedForward: 40)
        (configuration.dropout, configuration.context, configuration.labelSmoothing, configuration.recompute) = (0.2, 20, 0.1, recompute)
        let model = configuration.makeModel(vocabularySize: 31)
        model.store.allocate(seed: 7, activations: activations)
        return model
    }

    private func batch(_ model: any LanguageModel) -> PreparedBatch {
        var random = RandomStream(seed: 5, name: "batch")
        let tokens = (0..<4).map { _ in randomTokens(11, &random) }
        let targets = (0..<4).map { _ in randomTokens(11, &random) }
        return model.prepared {
            TokenBatch(lanes: [0, 1, 2, 3], inputs: padded(tokens), targets: padded(targets, with: -1))
        } pairs: {
            SequencePairBatch(
                lanes: [0, 1, 2, 3], sources: padded(tokens), sourceLengths: [11, 3, 8, 1], targetInputs: padded(targets),
                targetOutputs: padded(targets, with: -1))
        }
    }

    private func gradients(_ model: any LanguageModel) -> (loss: Float, gradients: [Float], entries: Int, completed: [String]) {
        model.store.clearGradients()
        let tape = Tape()
        var completed: [String] = []
        tape.onProgress = { if let parameter = $0 { completed.append(parameter.name) } }
        let loss = batch(model).loss(ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 3, lanes: [0, 1, 2, 3]))).loss
        let entries = tape.count
        tape.backward(from: loss)
        model.store.zeroMissingGradients()
        return (loss.scalar, Array(model.store.gradients), entries, completed)
    }

    @Test(arguments: [ModelKind.decoderOnly, .encoderDecoder], [DataType.float32, .bfloat16])
    func sameBits(kind: ModelKind, activations: DataType) {
        let kept = gradients(model(kind, activations, recompute: false))
        let again = gradients(model(kind, activations, recompute: true))
        #expect(kept.loss == again.loss)
        #expect(kept.gradients == again.gradients)
        #expect(again.entries < kept.entries / 2, "a layer is one operation")
        #expect(Set(kept.completed) == Set(again.completed), "every parameter is said to be complete")
        #expect(again.completed.count == Set(again.completed).count, "and only once")
    }

    @Test func evaluationDoesNotComputeTwice() {
        let model = model(.decoderOnly, .float32, recompute: true)
        let numerics = NumericsCheck()
        _ = batch(model).loss(ForwardPass(numerics: numerics))
        #expect(numerics.finding == nil)
    }
}
