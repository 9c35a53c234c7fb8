// A decoder whose layers read what n-grams own: its configuration, decoding with a cache, activations computed again, documents.

import Configuration
import Diagnostics
import Memory
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("A Transformer that reads what n-grams own")
struct EngramModelTests {
    private func model(_ keys: String = "{rows: 50}", recompute: Bool = false, activations: DataType = .float32) throws -> DecoderOnlyTransformer {
        let configuration = try modelConfiguration(
            .decoderOnly, "layers: 3, width: 24, heads: 3, feedForward: 40, context: 20, dropout: 0.2, recompute: \(recompute), engram: \(keys)")
        let model = try #require(configuration.makeModel(vocabularySize: 31) as? DecoderOnlyTransformer)
        model.store.allocate(seed: 7, activations: activations)
        // Rows as large as hidden states make a difference that can be seen.
        for parameter in model.store.parameters where parameter.name.hasSuffix("engram.table") {
            for i in 0..<parameter.shape.count { parameter.value.floats[i] *= 50 }
        }
        return model
    }

    private func tokens(_ count: Int, _ name: String = "tokens") -> [Int32] {
        var random = RandomStream(seed: 5, name: name)
        return randomTokens(count, &random)
    }

    @Test("the section's defaults, and what it refuses by name")
    func configuration() throws {
        #expect(try model("{}").configuration.engram == EngramConfiguration(layers: [1], rowWidth: 3))
        let all = try model("{layers: [0, 2], order: 2, heads: 5, rows: 70, rowWidth: 6, gate: plain, seed: 9}").configuration.engram
        #expect(all == EngramConfiguration(layers: [0, 2], order: 2, heads: 5, rows: 70, rowWidth: 6, gate: .plain, seed: 9))
        let refused = [
            ("{layers: [3]}", "model.engram.layers"), ("{layers: [1, 1]}", "model.engram.layers"), ("{layers: []}", "model.engram.layers"),
            ("{order: 1}", "model.engram.order"), ("{heads: 0}", "model.engram.heads"), ("{rows: 1}", "model.engram.rows"),
            ("{rows: 1000000000}", "model.engram.rows"), ("{gate: soft}", "model.engram.gate"),
        ]
        for (keys, name) in refused {
            let error = #expect(throws: UserError.self) { try self.model(keys) }
            #expect("\(String(describing: error))".contains(name), "\(String(describing: error))")
        }
    }

    @Test("the parameters are those of a plain model, and a table with its gate for each layer that reads one")
    func parameters() throws {
        let plain = try modelConfiguration(.decoderOnly, "layers: 3, width: 24, heads: 3").makeModel(vocabularySize: 31).store.parameters.map(\.name)
        let store = try model("{layers: [0, 1], rows: 50}").store
        let parts = ["table", "hiddenNorm.weight", "keyNorm.weight", "key.weight", "value.weight"]
        #expect(store.parameters.map(\.name).filter { !plain.contains($0) } == ["blocks.0.engram", "blocks.1.engram"].flatMap { path in parts.map { "\(path).\($0)" } })
        let table = try #require(store["blocks.1.engram.table"])
        #expect(table.shape[1] == 3 && table.shape[0] > 8 * 50 && !table.decays)
        #expect(table.shape != store["blocks.0.engram.table"]?.shape, "primes of their own")
    }

    @Test("decoding with a cache reads the same rows as the full pass", arguments: [DataType.float32, .bfloat16])
    func decoding(activations: DataType) throws {
        let model = try model("{layers: [0, 2], order: 4, heads: 2, rows: 50}", activations: activations)
        let tokens = tokens(9)
        // The shorter prompt is read to its end, and the sequences change places on the way.
        let decoder = model.startDecoding([Array(tokens.prefix(4)), Array(tokens.prefix(2))], maximumNewTokens: 7)
        var steps = [Array(try #require(decoder.firstLogits).array.prefix(31))]
        for (index, token) in tokens.dropFirst(4).enumerated() {
            if index == 2 { decoder.reorder([1, 0]) }
            let logits = decoder.advance(index < 2 ? [token, tokens[2 + index]] : [tokens[2 + index], token]).array
            steps.append(Array(index < 2 ? logits.prefix(31) : logits.suffix(31)))
        }
        let full = model.logits(padded([tokens]), ForwardPass()).array
        let tolerance: Float = activations == .float32 ? 1e-4 : 0.1
        for (index, step) in steps.enumerated() {
            for (one, other) in zip(step, full[(index + 3) * 31..<(index + 4) * 31]) { #expect(abs(one - other) < tolerance) }
        }
        for parameter in model.store.parameters where parameter.name.hasSuffix("engram.table") { parameter.value.floats.update(repeating: 0, count: parameter.shape.count) }
        let without = model.logits(padded([tokens]), ForwardPass()).array
        #expect(zip(without, full).contains { abs($0 - $1) > 2 * tolerance }, "rows make a difference")
    }

    @Test("activations computed again give the same gradient", arguments: [DataType.float32, .bfloat16])
    func recomputation(activations: DataType) throws {
        func run(recompute: Bool) throws -> (Float, [Float]) {
            let model = try model("{layers: [1, 2], rows: 50000}", recompute: recompute, activations: activations)
            let inputs = padded((0..<4).map { tokens(11, "\($0)") })
            let batch = TokenBatch(lanes: [0, 1, 2, 3], inputs: inputs, targets: inputs)
            model.store.clearGradients()
            let tape = Tape()
            let loss = model.loss(batch, ForwardPass(tape: tape, dropout: DropoutContext(seed: 1, step: 3, lanes: [0, 1, 2, 3]))).loss
            tape.backward(from: loss)
            model.store.zeroMissingGradients()
            let table = try #require(model.store["blocks.1.engram.table"]?.rowGradient)
            #expect(table.rows.count > 100 && table.rows.count <= 4 * 11 * 8)
            return (loss.scalar, Array(model.store.gradients))
        }
        let (kept, again) = (try run(recompute: false), try run(recompute: true))
        #expect(kept.0 == again.0 && kept.1 == again.1)
    }

    @Test("where a document begins, no n-gram reaches back into the one before")
    func documents() throws {
        let model = try model("{rows: 5000}")
        let table = try #require(model.store["blocks.1.engram.table"])
        let inputs = padded([[Int32](repeating: 3, count: 9)])
        func rowsRead(_ resets: [Bool]) -> Int {
            let tape = Tape()
            model.store.clearGradients()
            tape.backward(from: model.loss(TokenBatch(lanes: [0], inputs: inputs, targets: inputs, resets: resets), ForwardPass(tape: tape)).loss)
            let gradient = table.gradient.array
            return (0..<table.shape[0]).count { row in gradient[row * 3..<row * 3 + 3].contains { $0 != 0 } }
        }
        // Four heads of (-, 3) and (3, 3), and of (-, -, 3), (-, 3, 3) and (3, 3, 3).
        #expect(rowsRead([]) == 20)
        #expect(rowsRead([Bool](repeating: true, count: 9)) == 8)
        #expect(rowsRead([false, false, true, false, true, false, false, false, false]) == 20)
        #expect(rowsRead([false, true, false, true, false, true, false, true, false]) == 16)
    }
}
