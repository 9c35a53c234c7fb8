// Sequence models: losses over answered steps alone, padding that changes nothing, gradients, options of recurrent layers.

import Foundation
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A small sequence model, allocated.
private func sequenceModel(
    _ cell: RecurrentCell, _ input: SequenceModelForm.Input, _ output: SequenceModelForm.Output, options: RecurrentOptions = RecurrentOptions(),
    embedding: Int? = nil
) -> SequenceModel {
    let model = SequenceModel(
        SequenceModelConfiguration(core: RecurrentLayersConfiguration(cell, layers: 2, units: 5, options), embedding: embedding),
        SequenceModelForm(input: input, output: output))
    model.store.allocate(seed: 3)
    return model
}

private func random(_ name: String, _ shape: Shape) -> Tensor {
    var stream = RandomStream(seed: 5, name: name)
    return Tensor((0..<shape.count).map { _ in stream.nextNormal() }, shape)
}

/// The loss, and the gradient of all parameters.
private func gradients(
    _ model: SequenceModel, _ batch: SequenceBatch, dropout: DropoutContext? = nil
) -> (loss: SummedLoss, gradients: [Float]) {
    model.store.clearGradients()
    let tape = Tape()
    let result = model.loss(batch, ForwardPass(tape: tape, dropout: dropout))
    tape.backward(from: result.loss)
    model.store.zeroMissingGradients()
    return (result, Array(model.store.gradients))
}

@Suite("Sequence models") struct SequenceModelTests {
    private static let counts = [false, true, true, false, true, false, false, true]

    private func batch(_ targets: SequenceTargets, _ inputs: SequenceInputs? = nil) -> SequenceBatch {
        SequenceBatch(lanes: [0, 1], inputs: inputs ?? .vectors(random("x", [2, 4, 3])), targets: targets, counts: Self.counts)
    }

    @Test("bits: the sum of binary cross-entropies of answered steps")
    func bits() {
        let model = sequenceModel(.lstm, .vectors(3), .bits(2))
        let targets = Tensor((0..<16).map { $0 % 3 == 0 ? 1 : 0 } as [Float], [2, 4, 2])
        let batch = batch(.bits(targets))
        let outputs = model.outputs(batch.inputs, ForwardPass())
        var (sum, perStep) = (0.0, [Double](repeating: 0, count: 8))
        for i in 0..<16 where Self.counts[i / 2] {
            let (x, t) = (Double(outputs.floats[i]), Double(targets.floats[i]))
            let loss: Double = log(1 + exp(x)) - t * x
            sum += loss
            perStep[i / 2] += loss
        }
        let result = model.loss(batch, ForwardPass())
        #expect(abs(result.negativeLogLikelihood - sum) < 1e-5 && abs(Double(result.loss.scalar) - sum) < 1e-5 && result.count == 8)
        for (a, b) in zip(result.perPosition, perStep) { #expect(abs(Double(a) - b) < 1e-5) }
    }

    @Test("classes and values: answered steps alone")
    func classesAndValues() {
        let classes = Tensor([2, 0, 1, 9, 2, 9, 9, 0] as [Int32], [2, 4])
        let classifier = sequenceModel(.gru, .vectors(3), .classes(3))
        let logits = classifier.outputs(batch(.classes(classes)).inputs, ForwardPass())
        var sum = 0.0
        for row in 0..<8 where Self.counts[row] {
            let values = (0..<3).map { Double(logits.floats[row * 3 + $0]) }
            sum += log(values.reduce(0) { $0 + exp($1) }) - values[Int(classes.integers[row])]
        }
        let result = classifier.loss(batch(.classes(classes)), ForwardPass())
        #expect(abs(result.negativeLogLikelihood - sum) < 1e-5 && result.count == 4)

        let values = random("y", [2, 4, 2])
        let regressor = sequenceModel(.elman, .vectors(3), .values(2))
        let outputs = regressor.outputs(batch(.values(values)).inputs, ForwardPass())
        let squares = (0..<16).filter { Self.counts[$0 / 2] }.reduce(0.0) { $0 + pow(Double(outputs.floats[$1] - values.floats[$1]), 2) }
        let squared = regressor.loss(batch(.values(values)), ForwardPass())
        #expect(abs(squared.negativeLogLikelihood - squares) < 1e-5 && squared.count == 8)
    }

    @Test("what stands where nothing is answered, or behind the end, changes neither loss nor gradients", arguments: RecurrentCell.allCases)
    func padding(_ cell: RecurrentCell) {
        let model = sequenceModel(cell, .vectors(3), .bits(2))
        let counts = [false, true, true, false, false, false, true, false, false, false]
        var (x, y) = (random("x", [2, 5, 3]).array, (0..<20).map { Float($0 % 2) })
        func result(_ steps: Int) -> (SummedLoss, [Float]) {
            func cut<Element>(_ all: [Element]) -> [Element] {
                let (half, kept) = (all.count / 2, all.count / 10 * steps)
                return Array(all[..<kept] + all[half..<half + kept])
            }
            let batch = SequenceBatch(
                lanes: [0, 1], inputs: .vectors(Tensor(cut(x), [2, steps, 3])), targets: .bits(Tensor(cut(y), [2, steps, 2])), counts: cut(counts))
            return gradients(model, batch)
        }
        let short = result(3)
        for i in 0..<6 {
            x[9 + i] = 1e3
            x[24 + i] = -1e3
        }
        for step in [0, 3, 4, 5, 7, 8, 9] {
            y[2 * step] = 77
            y[2 * step + 1] = -5
        }
        let long = result(5)
        #expect(abs(short.0.loss.scalar - long.0.loss.scalar) < 1e-6 && short.0.count == long.0.count)
        #expect(relativeError(long.1, short.1) < 1e-5)
    }

    @Test("gradients of all parameters are those of central differences", arguments: RecurrentCell.allCases)
    func centralDifferences(_ cell: RecurrentCell) {
        for (output, targets) in [
            (SequenceModelForm.Output.bits(2), SequenceTargets.bits(Tensor((0..<16).map { Float($0 % 2) }, [2, 4, 2]))),
            (.classes(3), .classes(Tensor([0, 2, 1, 0, 0, 1, 2, 2] as [Int32], [2, 4]))), (.values(2), .values(random("y", [2, 4, 2]))),
        ] {
            let model = sequenceModel(
                cell, .symbols(6), output, options: RecurrentOptions(inputDropout: 0.3, stateDropout: 0.4, initialBound: 0.9), embedding: 4)
            let batch = batch(targets, .symbols(Tensor([0, 5, 3, 1, 2, 2, 4, 0] as [Int32], [2, 4])))
            // The loss is one float32 of size ten, too coarse for small differences: it is checked where it is made, and the answers for all
            // parameters.
            let report = checkGradients(store: model.store, names: ["output.weight", "output.bias"]) { tape, _ in
                model.loss(batch, ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 2, lanes: [0, 1]))).loss
            }
            #expect(report.passes(worst: 2e-3, ofNorm: 1e-3), "\(cell) \(output):\n\(report)")
            let answers = checkGradients(store: model.store, elementLimit: 24) { tape, _ in
                model.answers(batch, ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 2, lanes: [0, 1])))
            }
            #expect(answers.passes(worst: 2e-2, ofNorm: 5e-3), "answers of \(cell) \(output):\n\(answers)")
        }
    }

    @Test("one-hot symbols are vectors of ones")
    func oneHotSymbols() {
        let (symbols, vectors) = (sequenceModel(.lstm, .symbols(4), .classes(3)), sequenceModel(.lstm, .vectors(4), .classes(3)))
        let ids = Tensor([3, 0, 2, 1, 1, 0, 0, 3] as [Int32], [2, 4])
        #expect(symbols.outputs(.symbols(ids), ForwardPass()).array == vectors.outputs(.vectors(oneHot(ids, classes: 4)), ForwardPass()).array)
    }

    @Test("memory is declared layer by layer")
    func memory() {
        #expect(sequenceModel(.lstm, .vectors(3), .bits(1)).memory.map(\.name) == ["core.0.hidden", "core.0.cell", "core.1.hidden", "core.1.cell"])
        let gru = sequenceModel(.gru, .vectors(3), .bits(1)).memory
        #expect(gru.map(\.name) == ["core.0.hidden", "core.1.hidden"])
        #expect(gru.allSatisfy { $0.shape == [5] && $0.axes == ["unit"] && $0.lifetime == .sequence && $0.initial == .constant(0) })
    }

    @Test("bfloat16 is close to float32", arguments: RecurrentCell.allCases)
    func lowPrecision(_ cell: RecurrentCell) {
        let exact = sequenceModel(cell, .vectors(3), .bits(2))
        let low = SequenceModel(
            SequenceModelConfiguration(core: RecurrentLayersConfiguration(cell, layers: 2, units: 5)),
            SequenceModelForm(input: .vectors(3), output: .bits(2)))
        low.store.allocate(seed: 3, activations: .bfloat16)
        let batch = batch(.bits(Tensor((0..<16).map { Float($0 % 2) }, [2, 4, 2])))
        let (a, b) = (gradients(exact, batch), gradients(low, batch))
        #expect(abs(a.loss.loss.scalar - b.loss.loss.scalar) < 0.03 * a.loss.loss.scalar)
        #expect(relativeError(b.gradients, a.gradients) < 0.05)
    }
}

@Suite("Options of recurrent layers") struct RecurrentOptionTests {
    private func languageModel(
        _ cell: RecurrentCell, options: RecurrentOptions = RecurrentOptions(), embedding: Int? = nil, carry: Bool = false
    ) -> RecurrentLanguageModel {
        var configuration = RecurrentLanguageModel.Configuration(RecurrentLayersConfiguration(cell, layers: 2, units: 6, options))
        (configuration.embedding, configuration.carriesMemory) = (embedding, carry)
        let model = RecurrentLanguageModel(configuration, vocabularySize: 13)
        model.store.allocate(seed: 2)
        return model
    }

    private func tokens(_ steps: Range<Int>) -> TokenBatch {
        Self.tokens([0, 1, 2], steps)
    }

    /// Steps of the streams of some lanes.
    private static func tokens(_ lanes: [Int], _ steps: Range<Int>) -> TokenBatch {
        func part(_ shift: Int) -> Tensor {
            var ids: [Int32] = []
            for lane in lanes { for step in steps { ids.append(Int32((step * 7 + lane * 5 + shift) % 13)) } }
            return Tensor(ids, [lanes.count, steps.count])
        }
        return TokenBatch(lanes: lanes, inputs: part(0), targets: part(1))
    }

    @Test("state carried by lanes: two batches are one long one, without gradient between them", arguments: RecurrentCell.allCases)
    func carried(_ cell: RecurrentCell) {
        let model = languageModel(cell, carry: true)
        #expect(model.memory.allSatisfy { $0.lifetime == .lane })
        let whole = model.loss(tokens(0..<9), ForwardPass()).negativeLogLikelihood
        let first = CarriedMemory([:])
        let before = model.loss(tokens(0..<4), ForwardPass(memory: first)).negativeLogLikelihood
        #expect(Set(first.after.keys) == Set(model.memory.map(\.name)))
        #expect(first.after.values.allSatisfy { !$0.requiresGradient && $0.shape == [3, 6] && $0.dataType == .float32 })
        let after = model.loss(tokens(4..<9), ForwardPass(memory: CarriedMemory(first.after))).negativeLogLikelihood
        #expect(abs(before + after - whole) < 1e-4)
        #expect(abs(model.loss(tokens(4..<9), ForwardPass()).negativeLogLikelihood - after) > 1e-3, "the state matters")
        // A model that does not carry keeps nothing.
        let forgetful = CarriedMemory(first.after)
        _ = languageModel(cell).loss(tokens(0..<4), ForwardPass(memory: forgetful))
        #expect(forgetful.after.isEmpty)
    }

    @Test("names and shapes of parameters by option")
    func names() {
        func listing(_ model: RecurrentLanguageModel) -> [String] { model.store.parameters.map { "\($0.name) \($0.shape)" } }
        #expect(
            listing(languageModel(.elman, embedding: 4)) == [
                "tokenEmbedding.weight [13, 4]", "layers.0.inputWeight [6, 4]", "layers.0.hiddenWeight [6, 6]", "layers.0.inputBias [6]",
                "layers.0.hiddenBias [6]", "layers.1.inputWeight [6, 6]", "layers.1.hiddenWeight [6, 6]", "layers.1.inputBias [6]",
                "layers.1.hiddenBias [6]", "output.weight [13, 6]", "output.bias [13]",
            ])
        let biases = { (model: RecurrentLanguageModel) in
            model.store.parameters.map(\.name).filter { $0.hasPrefix("layers.0") && $0.lowercased().hasSuffix("bias") }
        }
        #expect(biases(languageModel(.lstm, options: RecurrentOptions(hasSingleBias: true))) == ["layers.0.bias"])
        #expect(biases(languageModel(.gruResetBefore)) == ["layers.0.bias"])
        #expect(biases(languageModel(.gru, options: RecurrentOptions(hasSingleBias: true))) == ["layers.0.inputBias", "layers.0.hiddenBias"])
        // The small model of Zaremba et al. 2014 on PTB.
        let small = RecurrentLayersConfiguration(.lstm, layers: 2, units: 200, RecurrentOptions(hasSingleBias: true))
        #expect(RecurrentLanguageModel(RecurrentLanguageModel.Configuration(small), vocabularySize: 10_000).store.parameterCount == 4_651_600)
    }

    @Test("starting values by option")
    func startingValues() throws {
        let model = languageModel(.lstm, options: RecurrentOptions(forgetBias: 1, initialBound: 0.04))
        #expect(
            try #require(model.store["layers.1.inputBias"]).value.array == [Float](repeating: 0, count: 6) + [Float](repeating: 1, count: 6)
                + [Float](repeating: 0, count: 12))
        #expect(try #require(model.store["layers.1.hiddenBias"]).value.array.allSatisfy { $0 == 0 })
        for parameter in model.store.parameters where !parameter.name.hasPrefix("layers") || parameter.shape.rank == 2 {
            let largest = parameter.value.array.reduce(0) { max($0, abs($1)) }
            #expect(largest <= 0.04 && largest > 0.02, "\(parameter.name)")
        }
    }

    @Test("variational dropout has one mask for all steps, in the input and in the state")
    func variational() {
        let context = DropoutContext(seed: 1, step: 1, lanes: [4, 2])
        let dropped = variationalDropout(Tensor(repeating: 1, [2, 6, 9]), rate: 0.5, context).array
        for b in 0..<2 { for t in 1..<6 { #expect(dropped[(b * 6 + t) * 9..<(b * 6 + t + 1) * 9] == dropped[b * 54..<b * 54 + 9]) } }
        #expect(dropped[0..<9] != dropped[54..<63] && Set(dropped) == [0, 2])
        let plain = dropout(Tensor(repeating: 1, [2, 6, 9]), rate: 0.5, DropoutContext(seed: 1, step: 1, lanes: [4, 2])).array
        #expect(plain[0..<9] != plain[9..<18])
    }

    @Test("with all dropouts, loss and gradients do not depend on how lanes are split", arguments: RecurrentCell.allCases)
    func lanes(_ cell: RecurrentCell) {
        let model = languageModel(cell, options: RecurrentOptions(dropout: 0.2, inputDropout: 0.3, stateDropout: 0.4))
        func step(_ split: [[Int]], number: Int = 3) -> (Float, [Float]) {
            model.store.clearGradients()
            var sum: Float = 0
            for lanes in split {
                let tape = Tape()
                let loss = model.loss(
                    Self.tokens(lanes, 0..<5), ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: number, lanes: lanes))
                ).loss
                sum += loss.scalar
                tape.backward(from: loss)
            }
            model.store.zeroMissingGradients()
            return (sum, Array(model.store.gradients))
        }
        let whole = step([[0, 1, 2, 3]])
        for split in [[[0, 1], [2, 3]], [[3], [0], [2, 1]]] {
            let parts = step(split)
            #expect(abs(parts.0 - whole.0) < 1e-4 && relativeError(parts.1, whole.1) < 1e-5)
        }
        #expect(step([[0, 1, 2, 3]], number: 4).0 != whole.0)
    }
}
