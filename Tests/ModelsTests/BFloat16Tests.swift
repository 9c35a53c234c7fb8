// bfloat16 activations: close to the float32 reference where rounding allows, with float32 parameters, gradients and losses.

import Models
import NeuralNetworks
import Tensors
import Testing

/// |a - b| / |b|, Euclidean norms.
private func errorOfNorm(_ a: [Float], _ b: [Float]) -> Double {
    var (difference, norm) = (0.0, 0.0)
    for (x, y) in zip(a, b) {
        difference += Double(x - y) * Double(x - y)
        norm += Double(y) * Double(y)
    }
    return norm == 0 ? difference.squareRoot() : (difference / norm).squareRoot()
}

/// The number s that makes s b the closest to a. Rounding errors have no direction: they change it much less than they change the norm.
private func scale(of a: [Float], _ b: [Float]) -> Double {
    let (product, square) = zip(a, b).reduce((0.0, 0.0)) { ($0.0 + Double($1.0) * Double($1.1), $0.1 + Double($1.1) * Double($1.1)) }
    return product / square
}

@Suite struct BFloat16Tests {
    /// bfloat16 keeps 8 bits: each rounding is wrong by up to 1/256 of the value. PyTorch's autocast and its pure bfloat16 are off by 2 to 5 % of the
    /// whole gradient on these fixtures, and by 4 to 13 % of the worst tensor.
    private static let (lossTolerance, gradientTolerance, tensorTolerance) = (2e-3, 8e-2, 2e-1)

    /// Of the scale of every tensor: a factor that is wrong in one of them is larger.
    private static let scaleTolerance = 6e-2

    private func check(_ model: any LanguageModel, _ fixture: GoldenFixture, _ batch: PreparedBatch, name: String) throws {
        let tape = Tape()
        let result = batch.loss(ForwardPass(tape: tape))
        tape.backward(from: result.loss)
        model.store.zeroMissingGradients()
        #expect(errorOfNorm([result.loss.scalar], try fixture["loss"].array) < Self.lossTolerance, "\(name): loss")
        var (worst, worstScale) = ((name: "", error: 0.0), (name: "", scale: 1.0))
        var (all, reference): ([Float], [Float]) = ([], [])
        for parameter in model.store.parameters {
            #expect(parameter.value.dataType == .float32 && parameter.gradient.dataType == .float32 && parameter.operand.dataType == .bfloat16)
            let golden = try fixture["gradient/\(parameter.name)"].array
            all += parameter.gradient.array
            reference += golden
            // The true gradient of a key's bias is zero: what is there is rounding.
            if golden.contains(where: { abs($0) > 1e-3 }) {
                let error = errorOfNorm(parameter.gradient.array, golden)
                if error > worst.error { worst = (parameter.name, error) }
                let scale = scale(of: parameter.gradient.array, golden)
                if abs(scale - 1) > abs(worstScale.scale - 1) { worstScale = (parameter.name, scale) }
            }
        }
        let whole = errorOfNorm(all, reference)
        #expect(whole < Self.gradientTolerance, "\(name): the whole gradient is off by \(whole)")
        #expect(worst.error < Self.tensorTolerance, "\(name): \(worst.name) is off by \(worst.error)")
        #expect(abs(worstScale.scale - 1) < Self.scaleTolerance, "\(name): \(worstScale.name) is \(worstScale.scale) times as large")
        // A test that could not fail would find no error at all.
        #expect(whole > 1e-4, "\(name): nothing was rounded")
        print("\(name) in bfloat16: gradient off by \(whole), worst tensor \(worst), scale \(worstScale.scale) of \(worstScale.name)")
    }

    @Test func decoderOnlyIsCloseToPyTorch() throws {
        let fixture = try GoldenFixture("decoder-only")
        let model = DecoderOnlyTransformer(fixture.transformer(.decoderOnly), vocabularySize: fixture.sizes.vocabulary)
        try fixture.load(into: model, activations: .bfloat16)
        let batch = TokenBatch(lanes: [0, 1, 2], inputs: try fixture["input/tokens"], targets: try fixture["input/targets"])
        try check(model, fixture, PreparedBatch(batch, for: model), name: "decoder-only")
    }

    @Test(arguments: [false, true])
    func encoderDecoderIsCloseToPyTorch(preNorm: Bool) throws {
        let name = preNorm ? "encoder-decoder-pre-norm" : "encoder-decoder-post-norm"
        let fixture = try GoldenFixture(name)
        let model = EncoderDecoderTransformer(
            fixture.transformer(.encoderDecoder(preNorm: preNorm)), preNorm: preNorm, vocabularySize: fixture.sizes.vocabulary)
        try fixture.load(into: model, activations: .bfloat16)
        let pairs = SequencePairBatch(
            lanes: [0, 1, 2], sources: try fixture["input/sources"], sourceLengths: try fixture["input/sourceLengths"].integerArray.map { Int($0) },
            targetInputs: try fixture["input/targetInputs"], targetOutputs: try fixture["input/targetOutputs"])
        try check(model, fixture, PreparedBatch(pairs, for: model), name: name)
    }

    @Test("the copy for matrix products is the rounded value, and follows it")
    func operands() {
        let model = TransformerConfiguration(layers: 1, width: 24, heads: 3).makeModel(vocabularySize: 31)
        model.store.allocate(seed: 7, activations: .bfloat16)
        func isRounded() -> Bool {
            model.store.parameters.allSatisfy {
                $0.operand.converted(to: .float32).array == $0.value.converted(to: .bfloat16).converted(to: .float32).array
            }
        }
        #expect(isRounded())
        for parameter in model.store.parameters { for i in 0..<parameter.shape.count { parameter.value.floats[i] += 0.5 } }
        #expect(!isRounded())
        model.store.refreshOperands()
        #expect(isRounded())
    }
}
