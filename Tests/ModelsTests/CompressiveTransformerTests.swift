// The Compressive Transformer: against an independent program, what its parts learn from, what lanes remember, resets, writing, configuration.

import Configuration
import Diagnostics
import Foundation
import Memory
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

/// What Golden/generate_compressive_transformer.py wrote.
private struct GoldenCompression: Decodable {
    struct Case: Decodable {
        let name, loss: String
        let preNorm: Bool
        let losses, ownLosses: [Double]
        let memory, compressed, use: [[[Float]]]
        let lossGradients, ownGradients: [String: [Float]]
    }

    let vocabulary, width, heads, layers, feedForward, memory, rate, slots: Int
    let cuts: [Int]
    let tokens: [[Int32]]
    let resets: [[Int]]
    let parameters: [String: [Float]]
    let cases: [Case]

    static func read() throws -> GoldenCompression {
        let url = try #require(Bundle.module.url(forResource: "compressive-transformer", withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode(GoldenCompression.self, from: Data(contentsOf: url))
    }

    func model(_ one: Case) throws -> TransformerXL {
        let function = try #require(CompressionFunction(rawValue: one.name))
        let loss = try #require(CompressionLoss(rawValue: one.loss))
        var configuration = TransformerXLConfiguration(layers: layers, width: width, heads: heads, feedForward: feedForward, memory: memory)
        (configuration.preNorm, configuration.resets) = (one.preNorm, true)
        configuration.compression = CompressionConfiguration(slots: slots, rate: rate, function: function, loss: loss)
        let model = TransformerXL(configuration, vocabularySize: vocabulary)
        model.store.allocate(seed: 1)
        for parameter in model.store.parameters {
            let values = try #require(parameters[parameter.name], "\(parameter.name)")
            try #require(values.count == parameter.shape.count)
            for (place, value) in values.enumerated() { parameter.value.floats[place] = value }
        }
        return model
    }

    func segment(_ index: Int) -> TokenBatch {
        let steps = cuts[index]..<cuts[index + 1]
        func part(_ shift: Int) -> Tensor {
            Tensor(tokens.flatMap { $0[steps.lowerBound + shift..<steps.upperBound + shift] }, [tokens.count, steps.count])
        }
        return TokenBatch(
            lanes: Array(tokens.indices), inputs: part(0), targets: part(1),
            resets: tokens.indices.flatMap { lane in steps.map { resets.contains([lane, $0]) } })
    }
}

@Suite("Compressive Transformer") struct CompressiveTransformerTests {
    private func model(
        _ compression: CompressionConfiguration = CompressionConfiguration(slots: 4, rate: 3), activations: DataType = .float32,
        _ change: (inout TransformerXLConfiguration) -> Void = { _ in }
    ) -> TransformerXL {
        var configuration = TransformerXLConfiguration(layers: 2, width: 12, heads: 3, feedForward: 20, memory: 5)
        configuration.compression = compression
        let model = TransformerXL(changed(configuration, change), vocabularySize: 13)
        model.store.allocate(seed: 4, activations: activations)
        for parameter in model.store.parameters where parameter.name.contains("attention.") {
            for i in 0..<parameter.shape.count { parameter.value.floats[i] *= 3 }
        }
        return model
    }

    private func batch(_ steps: Range<Int>, lanes: [Int] = [0, 1, 2], resets: [[Int]] = []) -> TokenBatch {
        func tokens(_ shift: Int) -> Tensor {
            func token(_ lane: Int, _ step: Int) -> Int32 { Int32((step * step * 7 + lane * 5 + step) % 13) }
            return Tensor(lanes.flatMap { lane in steps.map { token(lane, $0 + shift) } }, [lanes.count, steps.count])
        }
        return TokenBatch(
            lanes: lanes, inputs: tokens(0), targets: tokens(1),
            resets: resets.isEmpty ? [] : lanes.flatMap { lane in steps.map { resets[lane].contains($0) } })
    }

    /// What lanes remember by name after some segments, and the hidden states of all of them.
    private func segments(
        _ model: TransformerXL, _ cuts: [Range<Int>], resets: [[Int]] = []
    ) -> (hidden: Tensor, memory: [String: Tensor]) {
        var (parts, state): ([Tensor], MemoryState?) = ([], nil)
        for steps in cuts {
            let (pass, part) = (ForwardPass(), batch(steps, resets: resets))
            pass.resets = part.resets
            let read = model.hidden(part.inputs, from: state, pass)
            parts.append(read.hidden.converted(to: .float32))
            state = read.state
        }
        let names = model.memory.map(\.name)
        return (concatenate(parts, axis: 1), Dictionary(uniqueKeysWithValues: zip(names, state?.tensors ?? [])))
    }

    @Test("losses, what lanes remember and gradients are those of an independent program", arguments: 0..<6)
    func golden(_ index: Int) throws {
        let file = try GoldenCompression.read()
        try #require(file.cases.count == 6)
        let one = file.cases[index]
        let model = try file.model(one)
        var memory = CarriedMemory([:])
        for segment in 0..<file.cuts.count - 1 {
            model.store.clearGradients()
            let (tape, carried) = (Tape(), CarriedMemory(memory.after))
            let loss = model.loss(file.segment(segment), ForwardPass(tape: tape, memory: carried))
            let own = loss.auxiliary?.scalar ?? 0
            #expect(abs(Double(loss.loss.scalar) - one.losses[segment]) < 1e-5 * one.losses[segment], "segment \(segment)")
            #expect(abs(Double(own) - one.ownLosses[segment]) < 2e-5 * max(one.ownLosses[segment], 0.1), "segment \(segment): \(own)")
            memory = carried
            guard segment == file.cuts.count - 2, !one.lossGradients.isEmpty else { continue }
            // The two losses reach parameters of their own, and nothing else.
            let learned = Set(model.store.parameters.map(\.name).filter { $0.contains(".compression.") })
            #expect(Set(one.ownGradients.keys) == learned && learned.isDisjoint(with: one.lossGradients.keys))
            tape.backward(from: loss.objective)
            model.store.zeroMissingGradients()
            for parameter in model.store.parameters {
                let expected = one.ownGradients[parameter.name] ?? one.lossGradients[parameter.name]
                let error = relativeError(parameter.gradient.array, expected ?? [Float](repeating: 0, count: parameter.shape.count))
                #expect(error < 5e-5, "\(parameter.name): \(error)")
            }
        }
        let after = memory.after
        for lane in 0..<2 {
            let (remembered, slots) = (Int(after["remembered"]!.floats[lane]), Int(after["slots"]!.floats[lane]))
            for layer in 0..<file.layers {
                func latest(_ name: String, _ count: Int) throws -> [Float] {
                    let values = try #require(after["layers.\(layer).\(name)"]).slice(lane..<lane + 1, axis: 0).array
                    #expect(values.dropLast(count).allSatisfy { $0 == 0 }, "what nothing has filled comes first, and is 0")
                    return Array(values.suffix(count))
                }
                let memory = try latest("memory", remembered * file.width)
                #expect(relativeError(memory, one.memory[lane][layer]) < 1e-5)
                let compressed = try latest("compressed", slots * file.width)
                #expect(relativeError(compressed, one.compressed[lane][layer]) < 1e-5)
                if one.name == "most-used" { #expect(relativeError(try latest("use", remembered), one.use[lane][layer]) < 1e-5) }
            }
        }
    }

    @Test("what is compressed together does not depend on the cuts into segments", arguments: CompressionFunction.allCases)
    func cuts(_ function: CompressionFunction) throws {
        let model = model(CompressionConfiguration(slots: 4, rate: 3, function: function)) { $0.resets = true }
        let (resets, whole) = ([[], [7], [16]], [0..<8, 8..<20])
        let first = segments(model, whole, resets: resets).memory
        #expect(first["slots"]?.array == [4, 2, 0] && first["remembered"]?.array == [5, 7, 4])
        // Of the first layer's inputs alone, which are embeddings; which of them are used depends on what was seen.
        guard function != .mostUsed else { return }
        let cut = segments(model, [0..<1, 1..<6, 6..<13, 13..<14, 14..<20], resets: resets).memory
        for name in ["slots", "remembered", "layers.0.memory", "layers.0.compressed"] {
            #expect(relativeError(try #require(cut[name]).array, try #require(first[name]).array) < 1e-6, "\(name)")
        }
        if function == .meanPooling {
            // The group of positions 3 ... 5 of the first lane is the first of the four slots.
            let words = self.batch(0..<20).inputs.integerArray[3..<6].map { Int($0) }
            let embedding = try #require(model.store["embedding.weight"]).value
            let mean = (0..<12).map { (unit: Int) -> Float in words.reduce(0) { $0 + embedding.floats[$1 * 12 + unit] } / 3 * Float(12).squareRoot() }
            #expect(relativeError(Array(try #require(first["layers.0.compressed"]).array[..<12]), mean) < 1e-6)
        }
    }

    @Test("positions are compressed only when they leave: before that a compressing model is a Transformer-XL")
    func beforeAnythingLeaves() {
        let (compressing, plain) = (model { $0.memory = 30; $0.evaluationMemory = 30 }, model { $0.compression = nil; $0.evaluationMemory = 30 })
        for parameter in plain.store.parameters {
            guard let other = compressing.store[parameter.name] else { continue }
            parameter.value.floats.update(from: other.value.floats, count: parameter.shape.count)
        }
        let cuts = [0..<9, 9..<12, 12..<30]
        #expect(relativeError(segments(compressing, cuts).hidden.array, segments(plain, cuts).hidden.array) < 1e-6)
        let (left, right) = (segments(compressing, cuts + [30..<40]).memory, segments(plain, cuts + [30..<40]).memory)
        #expect(left["slots"]?.array == [3, 3, 3] && right["slots"] == nil)
    }

    @Test("a lane that forgets at documents reads each as if nothing had been before", arguments: [CompressionFunction.dilatedConvolution, .mostUsed])
    func resets(_ function: CompressionFunction) {
        let model = model(CompressionConfiguration(slots: 3, rate: 2, function: function)) { $0.resets = true }
        let cuts = [0..<6, 6..<12, 12..<18]
        let read = segments(model, cuts, resets: [[6], [0], [12]])
        func rows(_ steps: Range<Int>, lane: Int) -> [Float] { read.hidden.slice(steps, axis: 1).slice(lane..<lane + 1, axis: 0).array }
        for (lane, start) in [(0, 6), (2, 12)] {
            let alone = segments(model, cuts.filter { $0.lowerBound >= start }).hidden.slice(lane..<lane + 1, axis: 0).array
            #expect(relativeError(rows(start..<18, lane: lane), alone) < 1e-5)
        }
        let remembering = segments(self.model(CompressionConfiguration(slots: 3, rate: 2, function: function)), cuts).hidden
        #expect(relativeError(remembering.slice(0..<1, axis: 0).array, read.hidden.slice(0..<1, axis: 0).array) > 0.01)
    }

    /// The losses and the gradients of a segment after others.
    private func gradients(_ model: TransformerXL, lanes split: [[Int]] = [[0, 1, 2]]) -> (losses: [Float], gradients: [Float]) {
        model.store.clearGradients()
        var sums: [Float] = [0, 0]
        for lanes in split {
            var carried = CarriedMemory([:])
            for steps in [0..<7, 7..<14] {
                let next = CarriedMemory(carried.after)
                _ = model.loss(batch(steps, lanes: lanes), ForwardPass(memory: next, isTraining: true))
                carried = next
            }
            let tape = Tape()
            let dropout = DropoutContext(seed: 1, step: 3, lanes: lanes)
            let loss = model.loss(batch(14..<20, lanes: lanes), ForwardPass(tape: tape, dropout: dropout, memory: CarriedMemory(carried.after)))
            tape.backward(from: loss.objective)
            sums[0] += loss.loss.scalar
            sums[1] += loss.auxiliary?.scalar ?? 0
        }
        model.store.zeroMissingGradients()
        return (sums, Array(model.store.gradients))
    }

    @Test(
        "with dropout, losses and gradients do not depend on how lanes are split, nor on layers being computed again",
        arguments: [CompressionFunction.convolution, .mostUsed])
    func lanesAndRecomputation(_ function: CompressionFunction) {
        func dropping(_ recompute: Bool) -> TransformerXL {
            model(CompressionConfiguration(slots: 4, rate: 2, function: function)) {
                ($0.dropout, $0.attentionDropout, $0.recompute) = (0.2, 0.1, recompute)
            }
        }
        let whole = gradients(dropping(false))
        let parts = gradients(dropping(false), lanes: [[2, 0], [1]])
        #expect(relativeError(parts.losses, whole.losses) < 1e-5 && relativeError(parts.gradients, whole.gradients) < 1e-5)
        let again = gradients(dropping(true))
        #expect(again.losses == whole.losses && again.gradients == whole.gradients)
        #expect((whole.losses[1] > 0) == function.isLearned)
    }

    @Test("a compression that learns loses less and less, and nothing else of the model changes", arguments: CompressionLoss.allCases)
    func learning(_ loss: CompressionLoss) throws {
        let model = model(CompressionConfiguration(slots: 4, rate: 2, loss: loss))
        var first: Float = 0
        var last: Float = 0
        let others = model.store.parameters.filter { !$0.name.contains(".compression.") }
        let before = others.map(\.value.array)
        for step in 0..<60 {
            model.store.clearGradients()
            let (state, tape) = (model.hidden(batch(0..<8).inputs, ForwardPass(isTraining: true)).state, Tape())
            let pass = ForwardPass(tape: tape)
            _ = model.hidden(batch(8..<16).inputs, from: state, pass)
            let own = try #require(pass.auxiliaryLoss)
            tape.backward(from: own)
            model.store.zeroMissingGradients()
            (first, last) = (step == 0 ? own.scalar : first, own.scalar)
            // Steps of one length, whatever the loss.
            let gradients = Array(model.store.gradients)
            let norm = gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()
            for (i, gradient) in gradients.enumerated() { model.store.values[i] -= 0.1 * gradient / norm }
        }
        #expect(last < first / 2, "\(first) to \(last)")
        #expect(others.map(\.value.array) == before, "the compression's loss reaches nothing else")
    }

    @Test("bfloat16 is close to float32", arguments: [CompressionFunction.convolution, .maxPooling])
    func lowPrecision(_ function: CompressionFunction) {
        func hidden(_ type: DataType) -> [Float] {
            let model = model(CompressionConfiguration(slots: 4, rate: 2, function: function), activations: type)
            for parameter in model.store.parameters where parameter.name.contains("attention.") {
                for i in 0..<parameter.shape.count { parameter.value.floats[i] /= 3 }
            }
            model.store.refreshOperands()
            return segments(model, [0..<8, 8..<16]).hidden.array
        }
        let error = relativeError(hidden(.bfloat16), hidden(.float32))
        #expect(error < 0.05, "\(error)")
    }

    @Test("what is written goes on from what is remembered of the prompt, token by token")
    func decoding() {
        let model = model()
        var texts: [[Int32]] = [[4, 9, 1, 12, 7, 3, 3, 5, 8, 1, 2], [12, 1], [3, 3, 8, 0, 2, 9, 9, 4, 6, 6, 1]]
        let prompts = texts
        let decoder = model.startDecoding(texts, maximumNewTokens: 9)
        for step in 0..<9 {
            let next = texts.indices.map { Int32(($0 * 5 + step * 3) % 13) }
            for row in texts.indices { texts[row].append(next[row]) }
            let logits = decoder.advance(next).array
            for (row, text) in texts.enumerated() {
                var memory = CarriedMemory([:])
                var last: [Float] = []
                for part in [prompts[row]] + text.dropFirst(prompts[row].count).map({ [$0] }) {
                    let pass = CarriedMemory(memory.after)
                    last = Array(model.logits(Tensor(part, [1, part.count]), ForwardPass(memory: pass)).array.suffix(13))
                    memory = pass
                }
                #expect(relativeError(Array(logits[row * 13..<(row + 1) * 13]), last) < 1e-5, "step \(step), text \(row)")
            }
        }
    }

    @Test("a picture says how much of what a layer looks at is compressed")
    func pictures() throws {
        let (model, trace) = (model(), MemoryTrace())
        let first = CarriedMemory([:])
        _ = model.logits(batch(0..<12).inputs, ForwardPass(memory: first))
        _ = model.logits(batch(12..<17).inputs, ForwardPass(memory: CarriedMemory(first.after), trace: trace))
        let sources = try #require(trace.pictures.last)
        #expect(sources.name == "attention by source" && sources.columnLabels == ["compressed", "memory", "segment"] && sources.rows == 2)
        for layer in 0..<2 {
            let row = sources.values[layer * 3..<(layer + 1) * 3]
            #expect(abs(row.reduce(0, +) - 1) < 1e-5 && row.allSatisfy { $0 > 0 })
        }
    }

    @Test("names and shapes of parameters and of memory are what checkpoints hold")
    func names() {
        func model(_ function: CompressionFunction, _ loss: CompressionLoss) -> TransformerXL {
            var configuration = TransformerXLConfiguration(layers: 1, width: 8, heads: 2, memory: 5)
            configuration.compression = CompressionConfiguration(slots: 6, rate: 3, function: function, loss: loss)
            return TransformerXL(configuration, vocabularySize: 11)
        }
        func own(_ model: TransformerXL) -> [String] {
            model.store.parameters.filter { $0.name.contains("compression") }.map { "\($0.name) \($0.shape)" }
        }
        let convolution = ["layers.0.compression.convolution.weight [8, 24]", "layers.0.compression.convolution.bias [8]"]
        #expect(own(model(.convolution, .attention)) == convolution)
        #expect(
            own(model(.dilatedConvolution, .autoEncoding))
                == convolution + ["layers.0.compression.decoder.weight [24, 8]", "layers.0.compression.decoder.bias [24]"])
        #expect(own(model(.maxPooling, .autoEncoding)) == [])
        #expect(
            model(.mostUsed, .attention).memory == [
                MemoryDeclaration("layers.0.memory", [7, 8], axes: ["position", "unit"], lifetime: .lane),
                MemoryDeclaration("layers.0.compressed", [6, 8], axes: ["slot", "unit"], lifetime: .lane),
                MemoryDeclaration("layers.0.use", [7], axes: ["position"], lifetime: .lane),
                MemoryDeclaration("slots", [], axes: [], lifetime: .lane), MemoryDeclaration("remembered", [], axes: [], lifetime: .lane),
            ])
    }

    @Test("the section model is read, and its mistakes are named")
    func configuration() throws {
        func read(_ yaml: String) throws -> TransformerXLConfiguration {
            let tree = try ConfigurationTree(yaml: "model: {layers: 2, width: 8, heads: 2, \(yaml)}", file: "run.yaml")
            return try TransformerXLConfiguration(.compressiveTransformer, tree.root.section("model"))
        }
        let plain = try read("memory: 7")
        #expect(plain.compression == CompressionConfiguration(slots: 7) && plain.kind == .compressiveTransformer)
        let other = try read("memory: 7, compression: {slots: 9, rate: 4, function: dilated-convolution, loss: auto-encoding}")
        #expect(other.compression == CompressionConfiguration(slots: 9, rate: 4, function: .dilatedConvolution, loss: .autoEncoding))
        for (yaml, part) in [
            ("memory: 0", "model.memory"), ("evaluationMemory: 0", "model.evaluationMemory"), ("compression: {rate: 1}", "model.compression.rate"),
            ("compression: {slots: 0}", "model.compression.slots"), ("compression: {function: sum}", "model.compression.function"),
            ("memory: 3, compression: {rate: 5, function: dilated-convolution}", "model.compression.rate"),
        ] {
            #expect("\(yaml) names \(part)") { try read(yaml) } throws: { error in
                (error as? UserError)?.exitCode == .configuration && "\(error)".contains(part)
            }
        }
    }
}
