// The end-to-end memory network as a language model: golden vectors, carried words, decoding, and its section of a run file.

import Configuration
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// What Golden/generate_memory_network_language_model.py wrote.
private struct GoldenLanguageModel: Decodable {
    struct Case: Decodable {
        let name, tying, rectifier: String
        let transition, carried: Bool
        let hops, memory: Int
        let loss: Double
        let attention: [[Float]]
        let parameters, gradients: [String: [Float]]
    }

    let vocabulary, width: Int
    let inputs, targets, before: [[Int32]]
    let cases: [Case]

    static func read() throws -> GoldenLanguageModel {
        let url = try #require(Bundle.module.url(forResource: "memory-network-language-model", withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode(GoldenLanguageModel.self, from: Data(contentsOf: url))
    }

    var batch: TokenBatch {
        func tensor(_ rows: [[Int32]]) -> Tensor { Tensor(rows.flatMap { $0 }, [rows.count, rows[0].count]) }
        return TokenBatch(lanes: Array(inputs.indices), inputs: tensor(inputs), targets: tensor(targets))
    }

    /// What is remembered of `before` in so many slots.
    func words(slots: Int) -> Tensor {
        Tensor(
            before.flatMap { words in
                let latest = words.suffix(slots)
                return [Float](repeating: -1, count: slots - latest.count) + latest.map { Float($0) }
            }, [before.count, slots])
    }
}

private typealias Configuration = MemoryNetworkLanguageModel.Configuration

@Suite("Memory network as a language model")
struct MemoryNetworkLanguageModelTests {
    fileprivate static let adjacent = changed(Configuration(width: 8)) {
        $0.tying = .adjacent
        ($0.hops, $0.memory, $0.rectifier, $0.deviation) = (3, 6, .none, 0.4)
    }
    fileprivate static let layerWise = changed(Configuration(width: 8)) { ($0.hops, $0.memory, $0.deviation) = (2, 5, 0.4) }

    private func model(
        _ configuration: Configuration, carry: Bool = false, activations: DataType = .float32, _ change: (inout Configuration) -> Void = { _ in }
    ) -> MemoryNetworkLanguageModel {
        var configuration = configuration
        configuration.carriesMemory = carry
        change(&configuration)
        let model = MemoryNetworkLanguageModel(configuration, vocabularySize: 13)
        model.store.allocate(seed: 4, activations: activations)
        return model
    }

    private func word(_ lane: Int, _ step: Int) -> Int32 { Int32((step * step * 7 + lane * 5) % 13) }

    /// Steps of the streams of some lanes.
    private func tokens(_ steps: Range<Int>, _ lanes: [Int] = [0, 1, 2]) -> TokenBatch {
        func part(_ shift: Int) -> Tensor {
            var ids: [Int32] = []
            for lane in lanes { for step in steps { ids.append(word(lane, step + shift)) } }
            return Tensor(ids, [lanes.count, steps.count])
        }
        return TokenBatch(lanes: lanes, inputs: part(0), targets: part(1))
    }

    private func gradients(_ model: MemoryNetworkLanguageModel) -> [Float] {
        model.store.zeroMissingGradients()
        return model.store.parameters.flatMap { $0.gradient.array }
    }

    @Test("losses, attention and gradients are those of an independent program")
    func golden() throws {
        let golden = try GoldenLanguageModel.read()
        for test in golden.cases {
            let configuration = try changed(Configuration(width: golden.width)) {
                $0.tying = try #require(MemoryTying(rawValue: test.tying))
                $0.rectifier = try #require(MemoryRectifier(rawValue: test.rectifier))
                ($0.hops, $0.memory, $0.transition, $0.carriesMemory) = (test.hops, test.memory, test.transition, test.carried)
            }
            let model = MemoryNetworkLanguageModel(configuration, vocabularySize: golden.vocabulary)
            try model.store.take(test.parameters, of: test.name)
            let (tape, trace) = (Tape(), MemoryTrace())
            let carried = CarriedMemory(["words": golden.words(slots: test.memory)])
            let loss = model.loss(golden.batch, ForwardPass(tape: tape, memory: carried, trace: trace))
            #expect(abs(Double(loss.loss.scalar) - test.loss) < 1e-5 * test.loss, "\(test.name): \(loss.loss.scalar), not \(test.loss)")
            #expect(loss.count == 24)
            let picture = try #require(trace.pictures.first)
            #expect(picture.rows == test.hops && picture.columns == test.attention[0].count && picture.columnAxis == "word")
            for (value, expected) in zip(picture.values, test.attention.flatMap { $0 }) { #expect(abs(value - expected) < 1e-5, "\(test.name)") }
            tape.backward(from: loss.loss)
            model.store.zeroMissingGradients()
            for parameter in model.store.parameters {
                let error = relativeError(parameter.gradient.array, try #require(test.gradients[parameter.name]))
                #expect(error < 1e-4, "\(test.name), \(parameter.name): \(error)")
            }
        }
    }

    @Test("words carried by lanes: batches of any lengths have the losses and the gradients of one long one", arguments: [adjacent, layerWise])
    fileprivate func carried(_ options: Configuration) throws {
        let model = model(options, carry: true)
        #expect(model.memory == [MemoryDeclaration("words", [options.memory], axes: ["slot"], lifetime: .lane, initial: .constant(-1))])
        let tape = Tape()
        let whole = model.loss(tokens(0..<17), ForwardPass(tape: tape))
        tape.backward(from: whole.loss)
        let expected = gradients(model)
        model.store.clearGradients()
        var words: [String: Tensor] = [:]
        var sum: Float = 0
        for steps in [0..<3, 3..<4, 4..<13, 13..<17] {
            let (tape, memory) = (Tape(), CarriedMemory(words))
            let loss = model.loss(tokens(steps), ForwardPass(tape: tape, memory: memory))
            sum += loss.loss.scalar
            tape.backward(from: loss.loss)
            let kept = try #require(memory.after["words"])
            #expect(kept.shape == [3, options.memory] && kept.dataType == .float32 && !kept.requiresGradient)
            // Empty slots first, then the latest words.
            let count = min(steps.upperBound, options.memory)
            for lane in 0..<3 {
                let row = kept.array[lane * options.memory..<(lane + 1) * options.memory]
                let latest = (steps.upperBound - count..<steps.upperBound).map { Float(word(lane, $0)) }
                #expect(Array(row) == [Float](repeating: -1, count: options.memory - count) + latest)
            }
            words = memory.after
        }
        #expect(abs(sum - whole.loss.scalar) < 1e-4)
        #expect(relativeError(gradients(model), expected) < 1e-5)
        let anew = model.loss(tokens(13..<17), ForwardPass()).negativeLogLikelihood
        #expect(abs(anew - model.loss(tokens(13..<17), ForwardPass(memory: CarriedMemory(words))).negativeLogLikelihood) > 1e-3, "the words matter")
        // A model that does not carry keeps nothing, and starts each batch with an empty memory.
        let forgetful = CarriedMemory(words)
        #expect(self.model(options).loss(tokens(13..<17), ForwardPass(memory: forgetful)).negativeLogLikelihood == anew)
        #expect(forgetful.after.isEmpty && self.model(options).memory[0].lifetime == .sequence)
    }

    @Test("decoding has the logits of whole sequences", arguments: [adjacent, layerWise])
    fileprivate func decoding(_ options: Configuration) {
        let model = model(options)
        var random = RandomStream(seed: 3, name: "prompts")
        func draw(_ count: Int) -> [Int32] { (0..<count).map { _ in Int32.random(in: 0..<13, using: &random) } }
        /// The logits after a whole text.
        func whole(_ text: [Int32]) -> [Float] { Array(model.logits(Tensor(text, [1, text.count]), ForwardPass()).array.suffix(13)) }
        var texts = [1, 9, 4, 6].map(draw)
        let decoder = model.startDecoding(texts, maximumNewTokens: 12)
        func compare(_ logits: Tensor?) {
            guard let logits, logits.shape == [texts.count, 13] else { return #expect(Bool(false), "logits \(String(describing: logits?.shape))") }
            for (row, text) in texts.enumerated() {
                #expect(relativeError(Array(logits.array[row * 13..<(row + 1) * 13]), whole(text)) < 1e-5, "after \(text.count) words")
            }
        }
        compare(decoder.firstLogits)
        for step in 0..<12 {
            if let parents = [2: [2, 0, 3, 1], 5: [0, 0, 1, 2, 3], 9: [4, 1]][step] {
                decoder.reorder(parents)
                texts = parents.map { texts[$0] }
            }
            let next = draw(texts.count)
            for row in texts.indices { texts[row].append(next[row]) }
            compare(decoder.advance(next))
        }
    }

    @Test("with dropout, loss and gradients do not depend on how lanes are split")
    func lanes() {
        let model = model(Self.layerWise) { $0.dropout = 0.3 }
        func step(_ split: [[Int]]) -> (Float, [Float]) {
            model.store.clearGradients()
            var sum: Float = 0
            for lanes in split {
                let tape = Tape()
                let loss = model.loss(tokens(0..<9, lanes), ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 3, lanes: lanes))).loss
                sum += loss.scalar
                tape.backward(from: loss)
            }
            return (sum, gradients(model))
        }
        let (together, apart) = (step([[0, 1, 2]]), step([[1], [0, 2]]))
        #expect(abs(together.0 - apart.0) < 1e-4 && relativeError(apart.1, together.1) < 1e-5)
        #expect(abs(together.0 - model.loss(tokens(0..<9), ForwardPass()).loss.scalar) > 1e-2, "dropout does something")
    }

    @Test("gradients of the parameters before the output layer are those of central differences")
    func centralDifferences() {
        let model = model(Self.layerWise) { $0.width = 5 }
        let inputs = Tensor((0..<14).map { word($0 / 7, $0 % 7) }, [2, 7])
        let names = model.store.parameters.map(\.name).filter { $0 != "output.weight" }
        let report = checkGradients(store: model.store, names: names, step: 0.01) { tape, _ in model.hidden(inputs, ForwardPass(tape: tape)).hidden }
        #expect(report.passes(worst: 2e-2, ofNorm: 2e-3), "\(report)")
    }

    @Test("bfloat16 is close to float32", arguments: [adjacent, layerWise])
    fileprivate func lowPrecision(_ options: Configuration) {
        func run(_ activations: DataType) -> (Float, [Float]) {
            let (model, tape) = (model(options, activations: activations), Tape())
            let loss = model.loss(tokens(0..<9), ForwardPass(tape: tape)).loss
            tape.backward(from: loss)
            return (loss.scalar, gradients(model))
        }
        let (exact, low) = (run(.float32), run(.bfloat16))
        #expect(abs(exact.0 - low.0) < 0.01 * exact.0 && relativeError(low.1, exact.1) < 0.03)
    }

    @Test("names and shapes of parameters by option")
    func names() {
        func listing(_ options: Configuration) -> [String] { model(options).store.parameters.map { "\($0.name) \($0.shape)" } }
        #expect(
            listing(Self.layerWise) == [
                "memory.input.words.weight [13, 8]", "memory.output.words.weight [13, 8]", "memory.input.times [5, 8]", "memory.output.times [5, 8]",
                "transition [8, 8]", "output.weight [13, 8]",
            ])
        #expect(
            listing(Self.adjacent) == (0...3).map { "memory.\($0).words.weight [13, 8]" } + (0...3).map { "memory.\($0).times [6, 8]" })
    }

    @Test("the section model is read, and its mistakes are named")
    func configuration() throws {
        func read(_ yaml: String) throws -> Configuration {
            let tree = try ConfigurationTree(yaml: "model: {width: 8, \(yaml)}", file: "run.yaml")
            return try Configuration(.memoryNetwork, tree.root.section("model"))
        }
        let paper = try read("")
        #expect(paper.hops == 6 && paper.memory == 100 && paper.tying == .layerWise && paper.transition && paper.rectifier == .half)
        #expect(paper.deviation == 0.05 && paper.width == 8 && !paper.carriesMemory)
        let other = try read("hops: 2, memory: 7, tying: adjacent, rectifier: none, deviation: 0.1")
        #expect(other.hops == 2 && other.memory == 7 && other.tying == .adjacent && !other.transition && other.rectifier == .none)
        #expect(other.deviation == 0.1)
        for (yaml, part) in [
            ("memory: 0", "model.memory"), ("hops: 65", "model.hops"), ("rectifier: haf", "did you mean 'half'?"), ("tying: layerwise", "layer-wise"),
            ("deviation: 0", "model.deviation"),
        ] {
            #expect("\(yaml) names \(part)") { try read(yaml) } throws: { error in
                (error as? UserError)?.exitCode == .configuration && "\(error)".contains(part)
            }
        }
    }
}
