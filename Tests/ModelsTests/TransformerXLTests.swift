// Transformer-XL: segments with what is remembered against one long pass, resets, windows, generation, gradients, names, configuration.

import Configuration
import Diagnostics
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Transformer-XL") struct TransformerXLTests {
    private static let small = TransformerXLConfiguration(layers: 2, width: 12, heads: 3, feedForward: 20, memory: 32)

    private func model(
        activations: DataType = .float32, _ change: (inout TransformerXLConfiguration) -> Void = { _ in }
    ) -> TransformerXL {
        let model = TransformerXL(changed(Self.small, change), vocabularySize: 13)
        model.store.allocate(seed: 4, activations: activations)
        // Weights that are far from uniform, and biases that matter.
        for parameter in model.store.parameters where parameter.name.contains("attention.") || parameter.shape.rank == 1 {
            let gain: Float = parameter.name.hasSuffix("Bias") ? 40 : parameter.name.contains("attention.") ? 3 : 1
            for i in 0..<parameter.shape.count { parameter.value.floats[i] *= gain }
        }
        return model
    }

    /// Steps of the streams of some lanes, and where documents begin in them.
    private func batch(_ steps: Range<Int>, lanes: [Int] = [0, 1, 2], resets: [[Int]] = []) -> TokenBatch {
        func tokens(_ shift: Int) -> Tensor {
            func token(_ lane: Int, _ step: Int) -> Int32 { Int32((step * step * 7 + lane * 5 + step) % 13) }
            return Tensor(lanes.flatMap { lane in steps.map { token(lane, $0 + shift) } }, [lanes.count, steps.count])
        }
        return TokenBatch(
            lanes: lanes, inputs: tokens(0), targets: tokens(1),
            resets: resets.isEmpty ? [] : lanes.flatMap { lane in steps.map { resets[lane].contains($0) } })
    }

    /// The hidden states of segments one after the other, [B, T, D] of all of them, and what is remembered last.
    private func segments(
        _ model: TransformerXL, _ cuts: [Range<Int>], resets: [[Int]] = [], tape: Bool = false
    ) -> (hidden: Tensor, last: MemoryState?) {
        var (parts, state): ([Tensor], MemoryState?) = ([], nil)
        for steps in cuts {
            let pass = ForwardPass(tape: tape ? Tape() : nil)
            let part = batch(steps, resets: resets)
            pass.resets = part.resets
            let read = model.hidden(part.inputs, from: state, pass)
            parts.append(read.hidden.converted(to: .float32))
            state = MemoryState(read.state.tensors.map { $0.stopGradient() })
        }
        return (concatenate(parts, axis: 1), state)
    }

    @Test("with room for all that was read, segments give the states of one long pass", arguments: [false, true], [DataType.float32, .bfloat16])
    func segmentsAreTheWhole(preNorm: Bool, type: DataType) throws {
        let model = model(activations: type) { $0.preNorm = preNorm }
        let whole = segments(model, [0..<23])
        for cuts in [[0..<8, 8..<16, 16..<23], [0..<1, 1..<2, 2..<15, 15..<23]] {
            let parts = segments(model, cuts)
            #expect(relativeError(parts.hidden.array, whole.hidden.array) < (type == .float32 ? 1e-5 : 2e-2))
            for (declaration, (left, right)) in zip(model.memory, zip(try #require(parts.last).tensors, try #require(whole.last).tensors)) {
                #expect(left.shape.array == [3] + declaration.shape.array && left.dataType == .float32 && !left.requiresGradient)
                #expect(relativeError(left.array, right.array) < (type == .float32 ? 1e-5 : 2e-2))
            }
        }
        #expect(try #require(whole.last?.tensors.last).array == [23, 23, 23])
        // Rows that were never filled come first.
        #expect(try #require(whole.last?.tensors[0]).array.prefix(9 * 12).allSatisfy { $0 == 0 })
        let anew = segments(model, [16..<23]).hidden.array
        #expect(relativeError(anew, whole.hidden.slice(16..<23, axis: 1).array) > 0.01, "what is remembered matters")
    }

    @Test("the memory of a lane is the latest positions, in training as in evaluation, which may remember more")
    func lengths() throws {
        let model = model { ($0.memory, $0.evaluationMemory) = (5, 9) }
        let cuts = [0..<4, 4..<7, 7..<19]
        for (isTraining, capacity) in [(true, 5), (false, 9)] {
            let state = try #require(segments(model, cuts, tape: isTraining).last)
            #expect(state.tensors.map(\.shape) == [[3, capacity, 12], [3, capacity, 12], [3]])
            #expect(state.tensors[2].array == [Float](repeating: Float(capacity), count: 3))
        }
        // The first layer's inputs are the embeddings: those of the latest words.
        let embedded = segments(self.model { ($0.memory, $0.evaluationMemory) = (19, 19) }, [0..<19]).last?.tensors[0]
        let latest = segments(model, cuts, tape: true).last?.tensors[0]
        #expect(try #require(latest).array == #require(embedded).slice(14..<19, axis: 1).array)
    }

    @Test("a lane that forgets at documents reads each as if nothing had been before")
    func resets() throws {
        let model = model { $0.resets = true }
        let resets = [[0, 6, 13], [0], [9, 10]]
        let cuts = [0..<5, 5..<11, 11..<18]
        let read = segments(model, cuts, resets: resets)
        func rows(_ steps: Range<Int>, lane: Int) -> [Float] { read.hidden.slice(steps, axis: 1).slice(lane..<lane + 1, axis: 0).array }
        for (lane, starts) in resets.enumerated() {
            for (start, end) in zip([0] + starts, starts + [18]) where start < end {
                let alone = model.hidden(batch(start..<end, lanes: [lane]).inputs, ForwardPass()).hidden.array
                #expect(relativeError(rows(start..<end, lane: lane), alone) < 1e-5, "lane \(lane), \(start)..<\(end)")
            }
        }
        #expect(try #require(read.last?.tensors.last).array == [5, 18, 8])
        let remembering = segments(self.model(), cuts, resets: resets).hidden
        #expect(relativeError(remembering.array, read.hidden.array) > 0.01)
    }

    @Test("decoding has the logits of a pass whose positions see as many before them as the model remembers", arguments: [3, 32], [false, true])
    func decoding(memory: Int, preNorm: Bool) {
        let model = model { ($0.memory, $0.evaluationMemory, $0.sameLength, $0.preNorm) = (memory, memory, true, preNorm) }
        func whole(_ text: [Int32]) -> [Float] { Array(model.logits(Tensor(text, [1, text.count]), ForwardPass()).array.suffix(13)) }
        var texts: [[Int32]] = [[4, 9, 1, 12, 7], [12], [3, 3, 8, 0, 2], [7, 2, 0]]
        let decoder = model.startDecoding(texts, maximumNewTokens: 8)
        func compare(_ logits: Tensor?) {
            let values = logits?.array ?? []
            for (row, text) in texts.enumerated() {
                #expect(relativeError(Array(values[row * 13..<(row + 1) * 13]), whole(text)) < 1e-5, "after \(text.count) words")
            }
        }
        compare(decoder.firstLogits)
        for step in 0..<8 {
            if let parents = [2: [2, 0, 3, 1], 4: [0, 0, 1, 2, 3], 6: [4, 1]][step] {
                decoder.reorder(parents)
                texts = parents.map { texts[$0] }
            }
            let next = texts.indices.map { Int32(($0 * 5 + step * 3) % 13) }
            for row in texts.indices { texts[row].append(next[row]) }
            compare(decoder.advance(next))
        }
    }

    @Test("without a memory what is written is one segment, of which each position sees its window", arguments: [nil, 2, 3])
    func decodingWithoutMemory(window: Int?) throws {
        let model = model { ($0.memory, $0.evaluationMemory, $0.window) = (0, 0, window) }
        #expect(model.memory.isEmpty && !model.configuration.carriesMemory)
        let decoder = model.startDecoding([[4, 9]], maximumNewTokens: 3)
        var text: [Int32] = [4, 9]
        for token in [1, 2, 3] as [Int32] {
            text.append(token)
            let whole = model.logits(Tensor(text, [1, text.count]), ForwardPass()).array.suffix(13)
            #expect(relativeError(decoder.advance([token]).array, Array(whole)) < 1e-5)
        }
    }

    @Test("a window hides what is further back in the segment, and nothing that is remembered")
    func window() {
        let model = model { $0.window = 2 }
        func last(changing place: Int?) -> [Float] {
            let inputs = batch(0..<12, lanes: [0]).inputs.copied()
            if let place { inputs.integers[place] = (inputs.integers[place] + 1) % 13 }
            let state = model.hidden(inputs.slice(0..<4, axis: 1), ForwardPass()).state
            return model.hidden(inputs.slice(4..<12, axis: 1), from: state, ForwardPass()).hidden.slice(7..<8, axis: 1).array
        }
        let unchanged = last(changing: nil)
        // Two layers look two positions back.
        for place in 4..<9 { #expect(last(changing: place) == unchanged, "position \(place)") }
        for place in [0, 3, 9, 10, 11] { #expect(last(changing: place) != unchanged, "position \(place)") }
    }

    /// The loss and the gradients of a segment after another.
    private func gradients(_ model: TransformerXL, dropout: Bool = false, lanes split: [[Int]] = [[0, 1, 2]]) -> (loss: Float, gradients: [Float]) {
        model.store.clearGradients()
        var sum: Float = 0
        for lanes in split {
            let first = CarriedMemory([:])
            _ = model.loss(batch(0..<7, lanes: lanes), ForwardPass(memory: first, isTraining: true))
            let (tape, second) = (Tape(), CarriedMemory(first.after))
            let context = dropout ? DropoutContext(seed: 1, step: 3, lanes: lanes) : nil
            let loss = model.loss(batch(7..<12, lanes: lanes), ForwardPass(tape: tape, dropout: context, memory: second)).loss
            tape.backward(from: loss)
            sum += loss.scalar
            #expect(second.gradientSquares == nil, "no gradient flows into what is remembered")
            #expect(second.after.values.allSatisfy { !$0.requiresGradient })
        }
        model.store.zeroMissingGradients()
        return (sum, Array(model.store.gradients))
    }

    @Test("with dropout, loss and gradients do not depend on how lanes are split, nor on layers being computed again")
    func lanesAndRecomputation() {
        func dropping(_ recompute: Bool) -> TransformerXL {
            model { ($0.dropout, $0.attentionDropout, $0.memory, $0.recompute) = (0.2, 0.1, 6, recompute) }
        }
        let whole = gradients(dropping(false), dropout: true)
        let parts = gradients(dropping(false), dropout: true, lanes: [[2, 0], [1]])
        #expect(abs(parts.loss - whole.loss) < 1e-4 && relativeError(parts.gradients, whole.gradients) < 1e-5)
        let again = gradients(dropping(true), dropout: true)
        #expect(again.loss == whole.loss && again.gradients == whole.gradients)
        #expect(abs(gradients(dropping(false)).loss - whole.loss) > 1e-2, "dropout does something")
    }

    @Test("gradients of all parameters are those of central differences", arguments: [false, true])
    func centralDifferences(preNorm: Bool) {
        let model = model { ($0.preNorm, $0.memory) = (preNorm, 6) }
        let state = model.hidden(batch(0..<4).inputs, ForwardPass(isTraining: true)).state.stopGradient()
        // In a layer with a rectifier the differences go across its kink: its inner width is left out.
        let names = model.store.parameters.map(\.name).filter { !$0.contains("feedForward.input") }
        let report = checkGradients(store: model.store, names: names, step: 0.002, elementLimit: 12) { tape, _ in
            model.hidden(batch(4..<7).inputs, from: state, ForwardPass(tape: tape)).hidden
        }
        for deviation in report.deviations { #expect(deviation.ofNorm < 2e-2, "\(deviation)") }
    }

    @Test("bfloat16 is close to float32")
    func lowPrecision() {
        // As parameters start: sharper attention would take its scores' rounding further.
        func started(_ activations: DataType) -> TransformerXL {
            let model = TransformerXL(Self.small, vocabularySize: 13)
            model.store.allocate(seed: 4, activations: activations)
            return model
        }
        let (exact, low) = (gradients(started(.float32)), gradients(started(.bfloat16)))
        #expect(abs(exact.loss - low.loss) < 0.02 * exact.loss, "\(exact.loss), \(low.loss)")
        #expect(relativeError(low.gradients, exact.gradients) < 0.05, "\(relativeError(low.gradients, exact.gradients))")
    }

    @Test("distances above the clamp are told apart no more")
    func clamp() {
        let table = RelativeSelfAttention.encodedDistances(9, width: 6, clamp: 4).array
        for distance in 5..<9 { #expect(table[distance * 6..<distance * 6 + 6] == table[24..<30]) }
        #expect(table[18..<24] != table[24..<30])
        // Sines, then cosines.
        #expect(table[0..<6] == [0, 0, 0, 1, 1, 1])
        #expect(RelativeSelfAttention.encodedDistances(4, width: 6).array == Array(table[..<24]))
    }

    @Test("pictures say how far back layers look, and how much of it is remembered")
    func pictures() throws {
        let (model, trace) = (model(), MemoryTrace())
        let first = CarriedMemory([:])
        _ = model.logits(batch(0..<9).inputs, ForwardPass(memory: first))
        _ = model.logits(batch(9..<14).inputs, ForwardPass(memory: CarriedMemory(first.after), trace: trace))
        #expect(trace.pictures.count == 2)
        let (distances, before) = (trace.pictures[0], trace.pictures[1])
        #expect(distances.columnLabels == ["0", "1", "2-3", "4-7", "8-15", "16-31", "32-36"] && distances.rows == 2)
        for layer in 0..<2 {
            let row = distances.values[layer * 7..<(layer + 1) * 7]
            #expect(abs(row.reduce(0, +) - 1) < 1e-5 && row.suffix(2).allSatisfy { $0 == 0 } && row[layer * 7 + 3] > 0)
        }
        #expect(before.columns == 5 && before.values.allSatisfy { 0 < $0 && $0 < 1 })
    }

    @Test("names and shapes of parameters and of memory are what checkpoints hold")
    func names() {
        let model = TransformerXL(TransformerXLConfiguration(layers: 1, width: 8, heads: 2, feedForward: 12, memory: 5), vocabularySize: 11)
        func norm(_ name: String) -> [String] { ["layers.0.\(name).weight [8]", "layers.0.\(name).bias [8]"] }
        let attention = [("query", 8), ("keyValue", 16), ("distance", 8), ("output", 8)].map { "layers.0.attention.\($0.0).weight [\($0.1), 8]" }
        let feedForward = [("input", 12, 8), ("output", 8, 12)].flatMap {
            ["layers.0.feedForward.\($0.0).weight [\($0.1), \($0.2)]", "layers.0.feedForward.\($0.0).bias [\($0.1)]"]
        }
        #expect(
            model.store.parameters.map { "\($0.name) \($0.shape)" } == ["embedding.weight [11, 8]", "contentBias [8]", "positionBias [8]"] + attention
                + norm("attentionNorm") + feedForward + norm("feedForwardNorm"))
        #expect(
            model.memory == [
                MemoryDeclaration("layers.0.memory", [5, 8], axes: ["position", "unit"], lifetime: .lane),
                MemoryDeclaration("remembered", [], axes: [], lifetime: .lane),
            ])
    }

    @Test("the section model is read, and its mistakes are named")
    func configuration() throws {
        func read(_ yaml: String) throws -> TransformerXLConfiguration {
            let tree = try ConfigurationTree(yaml: "model: {layers: 2, width: 8, \(yaml)}", file: "run.yaml")
            return try TransformerXLConfiguration(.transformerXL, tree.root.section("model"))
        }
        #expect(try read("heads: 2") == TransformerXLConfiguration(layers: 2, width: 8, heads: 2))
        let other = try read("heads: 4, memory: 7, clamp: 20, resetAtDocuments: true, sameLength: true, preNorm: true, attentionDropout: 0.1")
        #expect(other.memory == 7 && other.evaluationMemory == 7 && other.clamp == 20 && other.resets && other.sameLength && other.preNorm)
        #expect(try !read("heads: 2, memory: 0").carriesMemory)
        let tiers = try read("heads: 2, memory: 0, window: 3, memorizing: {nearest: 4}")
        #expect(tiers.carriesMemory && tiers.window == 3 && tiers.memorizing == MemorizingConfiguration(layer: 0, nearest: 4))
        for (yaml, part) in [
            ("heads: 3", "model.heads"), ("heads: 2, memory: -1", "model.memory"),
            ("heads: 2, memory: 0, evaluationMemory: 4", "model.evaluationMemory"),
            ("heads: 2, clamp: 0", "model.clamp"), ("heads: 2, memory: 0, sameLength: true", "model.sameLength"),
            ("heads: 2, window: 1", "model.window"), ("heads: 2, memorizing: {layer: 2}", "model.memorizing.layer"),
        ] {
            #expect("\(yaml) names \(part)") { try read(yaml) } throws: { error in
                (error as? UserError)?.exitCode == .configuration && "\(error)".contains(part)
            }
        }
    }
}
