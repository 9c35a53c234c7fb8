// Logits, losses and every gradient of the models against PyTorch's own layers.

import Kernels
import Models
import NeuralNetworks
import Tensors
import Testing

@Suite struct GoldenTransformerTests {
    private static let tolerance: Float = 1e-5
    /// Of a row alone, whose elements may all be small.
    private static let rowTolerance: Float = 5e-5

    /// In a process of its own, with work so fine that even these small models are divided between threads.
    @Test(arguments: [2, 3])
    func equalsPyTorchOnThreads(threads: Int) async {
        await #expect(processExitsWith: .success) { [threads] in
            Workers.count = threads
            elementGrain = 8
            let tests = GoldenTransformerTests()
            try tests.decoderOnlyEqualsPyTorch()
            try tests.encoderDecoderEqualsPyTorch(preNorm: false)
            try tests.encoderDecoderEqualsPyTorch(preNorm: true)
        }
    }

    @Test func decoderOnlyEqualsPyTorch() throws {
        let fixture = try GoldenFixture("decoder-only")
        let model = DecoderOnlyTransformer(fixture.transformer(.decoderOnly), vocabularySize: fixture.sizes.vocabulary)
        try fixture.load(into: model)
        let inputs = try fixture["input/tokens"]
        let batch = PreparedBatch(TokenBatch(lanes: [0, 1, 2], inputs: inputs, targets: try fixture["input/targets"]), for: model)
        try compare(model, fixture, batch, logits: model.logits(inputs, ForwardPass()), name: "decoder-only")
    }

    @Test(arguments: [false, true])
    func encoderDecoderEqualsPyTorch(preNorm: Bool) throws {
        let name = preNorm ? "encoder-decoder-pre-norm" : "encoder-decoder-post-norm"
        let fixture = try GoldenFixture(name)
        let model = EncoderDecoderTransformer(
            fixture.transformer(.encoderDecoder(preNorm: preNorm)), preNorm: preNorm, vocabularySize: fixture.sizes.vocabulary)
        try fixture.load(into: model)
        let pairs = SequencePairBatch(
            lanes: [0, 1, 2], sources: try fixture["input/sources"], sourceLengths: try fixture["input/sourceLengths"].integerArray.map { Int($0) },
            targetInputs: try fixture["input/targetInputs"], targetOutputs: try fixture["input/targetOutputs"])
        try compare(model, fixture, PreparedBatch(pairs, for: model), logits: model.logits(pairs, ForwardPass()), name: name)
    }

    @Test(arguments: [RecurrentCell.lstm, .gru])
    func recurrentModelsEqualPyTorch(cell: RecurrentCell) throws {
        let fixture = try GoldenFixture(cell.rawValue)
        let model = RecurrentLanguageModel(fixture.recurrent(cell), vocabularySize: fixture.sizes.vocabulary)
        try fixture.load(into: model)
        let inputs = try fixture["input/tokens"]
        let batch = PreparedBatch(TokenBatch(lanes: [0, 1, 2], inputs: inputs, targets: try fixture["input/targets"]), for: model)
        try compare(model, fixture, batch, logits: model.logits(inputs, ForwardPass()), name: cell.rawValue)
    }

    private func compare(_ model: any LanguageModel, _ fixture: GoldenFixture, _ batch: PreparedBatch, logits: Tensor, name: String) throws {
        let tape = Tape()
        let result = batch.loss(ForwardPass(tape: tape))
        tape.backward(from: result.loss)
        model.store.zeroMissingGradients()
        var errors = [
            ("logits", relativeError(logits.array, try fixture["logits"].array)),
            ("loss", relativeError([result.loss.scalar], try fixture["loss"].array)),
            ("negative log likelihood", relativeError([Float(result.negativeLogLikelihood)], try fixture["negativeLogLikelihood"].array)),
        ]
        var byRow: [(String, Float)] = []
        for parameter in model.store.parameters {
            let golden = try fixture["gradient/\(parameter.name)"]
            errors.append((parameter.name, relativeError(parameter.gradient.array, golden.array)))
            byRow.append((parameter.name, relativeErrorByRow(parameter.gradient, golden)))
        }
        for (tensor, error) in errors { #expect(error < Self.tolerance, "\(name): \(tensor)") }
        for (tensor, error) in byRow { #expect(error < Self.rowTolerance, "\(name): a row of \(tensor)") }
        let (worst, worstRow) = (try #require(errors.max { $0.1 < $1.1 }), try #require(byRow.max { $0.1 < $1.1 }))
        print("\(name): \(errors.count) tensors, largest relative error \(worst.1) (\(worst.0)), of a row \(worstRow.1) (\(worstRow.0))")

        let evaluated = batch.loss(ForwardPass())
        #expect(relativeError([evaluated.loss.scalar], try fixture["negativeLogLikelihood"].array) < Self.tolerance, "evaluation smooths no labels")
    }
}
