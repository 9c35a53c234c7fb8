// Language models over every core: memory carried from batch to batch, gradients, names, configuration.

import Configuration
import Diagnostics
import Foundation
import Memory
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// A small configuration of a recurrent language model, its extents odd.
struct SmallCore: Sendable, CustomTestStringConvertible {
    let name: String
    let core: any SequenceCoreConfiguration

    var testDescription: String { name }

    static let all: [SmallCore] = {
        func controller(_ kind: ControllerConfiguration.Kind = .lstm, layers: Int = 1) -> ControllerConfiguration {
            ControllerConfiguration(kind, width: 7, layers: layers)
        }
        func machine(_ name: String, _ change: (inout NeuralTuringMachineConfiguration) -> Void) -> SmallCore {
            var configuration = NeuralTuringMachineConfiguration()
            (configuration.rows, configuration.width, configuration.initialMemory) = (9, 5, 0.1)
            configuration.controller = controller()
            change(&configuration)
            return SmallCore(name: name, core: configuration)
        }
        func computer(_ name: String, _ change: (inout DifferentiableNeuralComputerConfiguration) -> Void) -> SmallCore {
            var configuration = DifferentiableNeuralComputerConfiguration(rows: 9, width: 5, readHeads: 3, controller: controller())
            change(&configuration)
            return SmallCore(name: name, core: configuration)
        }
        return RecurrentCell.allCases.map { SmallCore(name: $0.rawValue, core: RecurrentLayersConfiguration($0, layers: 2, units: 7)) } + [
            machine("ntm") { _ in },
            machine("ntm, several heads, two layers, computed again") {
                ($0.readHeads, $0.writeHeads, $0.recompute, $0.controller) = (2, 3, true, controller(layers: 2))
            },
            machine("ntm, feed-forward") { $0.controller = controller(.feedForward) },
            computer("dnc") { _ in },
            computer("dnc, recurrent controller, two layers, computed again") {
                ($0.controller, $0.recompute) = (controller(.recurrent, layers: 2), true)
            },
            computer("dnc, feed-forward, all fixes") {
                ($0.masksKeys, $0.erasesFreedRows, $0.sharpensLinks, $0.normalizesInterface) = (true, true, true, true)
                $0.controller = controller(.feedForward)
            },
            SmallCore(name: "erase-add", core: EraseAddConfiguration(rows: 9, width: 5, units: 7)),
        ]
    }()

    /// The model, allocated, its weights so many times as large as they start: with 2 the memory matters more.
    func model(carry: Bool = true, dropout: Float = 0, gain: Float = 2) -> RecurrentLanguageModel {
        var core = core
        if var layers = core as? RecurrentLayersConfiguration {
            layers.options.dropout = dropout
            core = layers
        }
        var configuration = RecurrentLanguageModel.Configuration(core)
        (configuration.dropout, configuration.carriesMemory, configuration.embedding) = (dropout, carry, 3)
        let model = RecurrentLanguageModel(configuration, vocabularySize: 13)
        model.store.allocate(seed: 2)
        for parameter in model.store.parameters { for i in 0..<parameter.shape.count { parameter.value.floats[i] *= gain } }
        return model
    }
}

@Suite("Language models over every core") struct MemoryLanguageModelTests {
    /// Steps of the streams of three lanes; symbols 0 to 5 in the first `half` steps, 6 to 12 after them.
    private func batch(_ steps: Range<Int>, half: Int = 5, counting counted: Range<Int>? = nil) -> TokenBatch {
        var (inputs, targets): ([Int32], [Int32]) = ([], [])
        for lane in 0..<3 {
            for step in steps {
                let random = Int32((step * step * 7 + lane * 5 + step) % 11)
                inputs.append(step < half ? random % 6 : 6 + random % 7)
                targets.append(counted?.contains(step) ?? true ? (random * 3 + Int32(lane)) % 13 : -1)
            }
        }
        return TokenBatch(lanes: [0, 1, 2], inputs: Tensor(inputs, [3, steps.count]), targets: Tensor(targets, [3, steps.count]))
    }

    private func gradients(_ model: RecurrentLanguageModel, _ batch: TokenBatch, _ memory: CarriedMemory?) -> (loss: Double, gradients: [Float]) {
        model.store.clearGradients()
        let tape = Tape()
        let loss = model.loss(batch, ForwardPass(tape: tape, memory: memory))
        tape.backward(from: loss.loss)
        model.store.zeroMissingGradients()
        return (loss.negativeLogLikelihood, Array(model.store.gradients))
    }

    @Test("two halves, the second from what the lanes remember, are the whole: losses, and each half's own gradient", arguments: SmallCore.all)
    func halves(_ small: SmallCore) throws {
        let model = small.model()
        #expect(model.memory.allSatisfy { $0.lifetime == .lane })
        let whole = model.loss(batch(0..<11), ForwardPass()).negativeLogLikelihood
        let (kept, remembered) = (CarriedMemory([:]), CarriedMemory([:]))
        let first = gradients(model, batch(0..<5), kept)
        let firstOfWhole = gradients(model, batch(0..<11, counting: 0..<5), nil)
        #expect(abs(first.loss - firstOfWhole.loss) < 1e-5 && relativeError(first.gradients, firstOfWhole.gradients) < 1e-5)

        #expect(Set(kept.after.keys) == Set(model.memory.map(\.name)))
        for declaration in model.memory {
            let values = try #require(kept.after[declaration.name])
            #expect(values.shape.array == [3] + declaration.shape.array && values.dataType == .float32 && !values.requiresGradient)
        }
        _ = model.loss(batch(0..<5), ForwardPass(memory: remembered))
        for declaration in model.memory {
            #expect(relativeError(try #require(remembered.after[declaration.name]).array, try #require(kept.after[declaration.name]).array) < 1e-5)
        }
        let carried = CarriedMemory(kept.after)
        let second = gradients(model, batch(5..<11), carried)
        #expect(abs(first.loss + second.loss - whole) < 1e-4)
        #expect(abs(model.loss(batch(5..<11), ForwardPass()).negativeLogLikelihood - second.loss) > 1e-3, "what is remembered matters")
        // Symbols that stand in the second half alone: nothing of the first half is in their gradient.
        let secondOfWhole = gradients(model, batch(0..<11, counting: 5..<11), nil)
        let symbols = 6 * 3..<13 * 3
        #expect(relativeError(Array(second.gradients[symbols]), Array(secondOfWhole.gradients[symbols])) < 2e-5)
        #expect(try #require(model.store["tokenEmbedding.weight"]).offset == 0, "the embeddings come first")
        #expect(try #require(carried.gradientSquares) > 0)
    }

    @Test("without carry nothing is kept and nothing is read", arguments: SmallCore.all)
    func forgetful(_ small: SmallCore) {
        let kept = CarriedMemory([:])
        _ = small.model().loss(batch(0..<5), ForwardPass(memory: kept))
        let (model, memory) = (small.model(carry: false), CarriedMemory(kept.after))
        #expect(model.memory.allSatisfy { $0.lifetime == .sequence })
        let loss = model.loss(batch(5..<9), ForwardPass(memory: memory)).negativeLogLikelihood
        #expect(loss == model.loss(batch(5..<9), ForwardPass()).negativeLogLikelihood && memory.after.isEmpty)
    }

    /// A state of three lanes. Where rows are sorted by usage no two are used alike, nor after one more step: they were read and written alike.
    private static func state(_ declaration: MemoryDeclaration, isSorted: Bool) -> Tensor {
        let shape = Shape([3] + declaration.shape.array)
        var random = RandomStream(seed: 4, name: declaration.name)
        let rows = declaration.shape.columns
        let isWeights = ["precedence", "readWeights", "writeWeights", "links"].contains { declaration.name.hasSuffix($0) }
        let values = (0..<shape.count).map { index -> Float in
            if declaration.name.hasSuffix("usage") { return (Float((index * 7 + 3) % rows) + 0.5) / (Float(rows) + 0.5) }
            if declaration.name.hasSuffix("links"), index / rows % rows == index % rows { return 0 }
            if isSorted, declaration.name.hasSuffix("Weights") { return 0.8 / Float(rows) }
            return isWeights ? random.nextUniform() * 0.8 / Float(rows) : 0.5 * random.nextNormal()
        }
        return Tensor(values, shape)
    }

    @Test("gradients of all parameters, and of what lanes bring with them, are those of central differences", arguments: SmallCore.all)
    func centralDifferences(_ small: SmallCore) throws {
        let model = small.model()
        // Where rows are sorted by usage, their order must not change within a step of the differences: one position, from a state that keeps it.
        let isSorted = small.core.kind == .neuralComputer
        let tokens = batch(5..<(isSorted ? 6 : 7))
        let states = model.memory.map { Self.state($0, isSorted: isSorted) }
        // The outputs depend little on usage: smaller steps would drown in rounding. Usages are further apart than a step.
        let report = checkGradients(inputs: states, store: model.store, step: isSorted ? 0.06 : 0.02, elementLimit: 24) { tape, states in
            let hidden = model.hidden(tokens.inputs, from: MemoryState(states), ForwardPass(tape: tape)).hidden
            guard let weight = model.store["output.weight"], let bias = model.store["output.bias"] else { return hidden }
            return linear(hidden, weight: tape.parameter(weight), bias: tape.parameter(bias))
        }
        for deviation in report.deviations { #expect(deviation.worst < 2e-2 && deviation.ofNorm < 3e-3, "\(small.name): \(deviation)") }
    }

    @Test("the squares of the carried gradient are those of the variables' gradients", arguments: SmallCore.all)
    func carriedGradient(_ small: SmallCore) throws {
        let model = small.model()
        let kept = CarriedMemory([:])
        _ = model.loss(batch(0..<5), ForwardPass(memory: kept))
        let carried = CarriedMemory(kept.after)
        _ = gradients(model, batch(5..<9), carried)
        let squares = try #require(carried.gradientSquares)
        let tokens = batch(5..<9)
        let tape = Tape()
        let states = try model.memory.map { tape.variable(try #require(kept.after[$0.name])) }
        let hidden = model.hidden(tokens.inputs, from: MemoryState(states), ForwardPass(tape: tape)).hidden
        let (weight, bias) = (try #require(model.store["output.weight"]), try #require(model.store["output.bias"]))
        tape.backward(from: linearCrossEntropy(hidden, weight: tape.parameter(weight), bias: tape.parameter(bias), targets: tokens.targets).loss)
        let sum = states.reduce(0.0) { sum, state in (state.node?.gradient?.array ?? []).reduce(sum) { $0 + Double($1) * Double($1) } }
        #expect(squares > 0 && abs(sum / squares - 1) < 1e-5, "\(small.name): \(squares), \(sum)")
        // Nothing was given out on a tape.
        let read = CarriedMemory(kept.after)
        _ = model.loss(batch(5..<9), ForwardPass(memory: read))
        #expect(read.gradientSquares == nil)
    }

    @Test("with dropout, loss and gradients do not depend on how lanes are split", arguments: SmallCore.all)
    func lanes(_ small: SmallCore) {
        let model = small.model(dropout: 0.3)
        func step(_ split: [[Int]]) -> (Float, [Float]) {
            let all = batch(0..<7)
            model.store.clearGradients()
            var sum: Float = 0
            for lanes in split {
                func rows(_ tensor: Tensor) -> Tensor { Tensor(lanes.flatMap { tensor.integerArray[$0 * 7..<$0 * 7 + 7] }, [lanes.count, 7]) }
                let tape = Tape()
                let part = TokenBatch(lanes: lanes, inputs: rows(all.inputs), targets: rows(all.targets))
                let loss = model.loss(part, ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 3, lanes: lanes))).loss
                sum += loss.scalar
                tape.backward(from: loss)
            }
            model.store.zeroMissingGradients()
            return (sum, Array(model.store.gradients))
        }
        let whole = step([[0, 1, 2]])
        for split in [[[0], [1, 2]], [[2, 0], [1]]] {
            let parts = step(split)
            #expect(abs(parts.0 - whole.0) < 1e-4 && relativeError(parts.1, whole.1) < 1e-5, "\(small.name) \(split)")
        }
    }

    @Test("decoding gives the logits of the whole sequence: prompts of different lengths, sequences reordered", arguments: SmallCore.all)
    func decoding(_ small: SmallCore) {
        let model = small.model()
        func whole(_ sequence: [Int32]) -> [Float] { Array(model.logits(Tensor(sequence, [1, sequence.count]), ForwardPass()).array.suffix(13)) }
        var sequences: [[Int32]] = [[4, 9, 1], [12], [3, 3, 8], [7, 2, 0, 5, 11]]
        let decoder = model.startDecoding(sequences, maximumNewTokens: 6)
        func expectSame(_ logits: Tensor?, _ step: Int) {
            for (row, sequence) in sequences.enumerated() {
                let values = logits.map { Array($0.array[row * 13..<(row + 1) * 13]) } ?? []
                #expect(relativeError(values, whole(sequence)) < 2e-5, "\(small.name), step \(step), sequence \(row)")
            }
        }
        expectSame(decoder.firstLogits, 0)
        let reorders: [Int: [Int]] = [1: [3, 1, 0, 2], 2: [2, 2, 0, 0, 3, 3, 1, 1], 4: [6, 0, 5]]
        for step in 1...6 {
            if let parents = reorders[step] {
                decoder.reorder(parents)
                sequences = parents.map { sequences[$0] }
            }
            for row in sequences.indices { sequences[row].append(Int32((row * 5 + step * 3) % 13)) }
            expectSame(decoder.advance(sequences.map { $0[$0.count - 1] }), step)
        }
    }

    @Test("names of parameters and of memory are what checkpoints hold")
    func names() throws {
        func model(_ name: String) throws -> RecurrentLanguageModel { try #require(SmallCore.all.first { $0.name == name }).model() }
        func listing(_ model: RecurrentLanguageModel) -> [String] { model.store.parameters.map { "\($0.name) \($0.shape)" } }
        let ends = ["output.bias [13]"]
        #expect(
            try listing(model("dnc")) == [
                "tokenEmbedding.weight [13, 3]", "core.controller.0.inputWeight [28, 3]", "core.controller.0.recurrentWeight [28, 22]",
                "core.controller.0.bias [28]", "core.interface.weight [48, 7]", "core.interface.bias [48]", "output.weight [13, 22]",
            ] + ends)
        #expect(
            try listing(model("ntm")) == [
                "tokenEmbedding.weight [13, 3]", "core.controller.0.inputWeight [28, 3]", "core.controller.0.recurrentWeight [28, 12]",
                "core.controller.0.bias [28]", "core.interface.weight [32, 7]", "core.interface.bias [32]", "output.weight [13, 12]",
            ] + ends)
        #expect(
            try listing(model("erase-add")) == [
                "tokenEmbedding.weight [13, 3]", "core.controller.0.inputWeight [7, 3]", "core.controller.0.recurrentWeight [7, 12]",
                "core.controller.0.bias [7]", "core.interface.inputWeight [19, 3]", "core.interface.hiddenWeight [19, 7]", "core.interface.bias [19]",
                "output.weight [13, 12]",
            ] + ends)
        let names = ["matrix", "usage", "precedence", "links", "readWeights", "writeWeights", "reads", "controller.0.hidden", "controller.0.cell"]
        #expect(try model("dnc").memory.map(\.name) == names.map { "core.\($0)" })
        #expect(
            try model("ntm").memory.map(\.name)
                == ["memory", "readWeights", "writeWeights", "reads", "controller.0.hidden", "controller.0.cell"].map { "core.\($0)" })
        #expect(try model("erase-add").memory.map(\.name) == ["core.memory", "core.controller.0.hidden"])
        #expect(try model("lstm").memory.map(\.name) == ["layers.0.hidden", "layers.0.cell", "layers.1.hidden", "layers.1.cell"])
    }

    @Test("pictures of the first lane are recorded, from what it remembers", arguments: SmallCore.all)
    func trace(_ small: SmallCore) throws {
        let model = small.model()
        let kept = CarriedMemory([:])
        _ = model.loss(batch(0..<5), ForwardPass(memory: kept))
        func pictures(_ memory: CarriedMemory) -> [MemoryTrace.Picture] {
            let trace = MemoryTrace()
            _ = model.loss(batch(5..<9), ForwardPass(memory: memory, trace: trace))
            return trace.pictures
        }
        let (warm, cold) = (pictures(CarriedMemory(kept.after)), pictures(CarriedMemory([:])))
        #expect(!warm.isEmpty && warm.map(\.name) == cold.map(\.name) && warm != cold)
        #expect(warm.contains { $0.columnAxis == "step" && $0.columns == 4 || $0.rowAxis == "step" && $0.rows == 4 })
    }
}
