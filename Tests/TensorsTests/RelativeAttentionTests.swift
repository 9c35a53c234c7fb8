// Relative attention: against the scores term by term, against an independent program, over blocks of keys, and what its masks promise.

import Foundation
import Reference
import TestSupport
import Tensors
import Testing

@Suite("Relative attention")
struct RelativeAttentionTests {
    /// Inputs of one attention, float32 and small.
    private struct Inputs {
        let (batch, queries, keys, heads, size): (Int, Int, Int, Int, Int)
        var firstKeys: [Int]?
        var width: Int { heads * size }
        var past: Int { keys - queries }

        func tensors(_ type: DataType = .float32) -> [Tensor] {
            let shapes: [(String, Shape)] = [
                ("q", [batch, queries, width]), ("k", [batch, keys, width]), ("v", [batch, keys, width]), ("r", [keys, width]),
            ]
            return shapes.map { randomTensor($0.0, $0.1).converted(to: type) } + ["u", "w"].map { randomTensor($0, [width]) }
        }

        func attend(_ x: [Tensor], dropout: DropoutContext? = nil, rate: Float = 0) -> Tensor {
            relativeAttention(
                query: AttentionOperand(x[0]), key: AttentionOperand(x[1]), value: AttentionOperand(x[2]), distances: x[3], contentBias: x[4],
                positionBias: x[5], heads: heads, firstKeys: firstKeys, dropoutRate: rate, dropout: dropout)
        }
    }

    @Test("the reference's shifted products are the four terms of each query and key, within 1e-10", arguments: [(1, 1), (2, 3), (5, 5), (4, 11)])
    func fourTerms(queries: Int, keys: Int) {
        let inputs = Inputs(batch: 1, queries: queries, keys: keys, heads: 2, size: 3)
        let arrays = inputs.tensors().map { ReferenceArray($0) }
        let (q, k, v, r) = (arrays[0][0], arrays[1][0], arrays[2][0], arrays[3])
        let result = Reference.relativeAttention(
            query: q, key: k, value: v, distances: r, contentBias: arrays[4], positionBias: arrays[5], heads: 2)
        for t in 0..<queries {
            for head in 0..<2 {
                let columns = head * 3..<(head + 1) * 3
                func dot(_ a: ReferenceArray, _ b: ReferenceArray) -> Double {
                    columns.reduce(0) { $0 + a.values[$1] * b.values[$1] }
                }
                let scores = (0...t + inputs.past).map { s -> Double in
                    let distance = r[keys - 1 - (t + inputs.past - s)]
                    let terms = [dot(q[t], k[s]), dot(q[t], distance), dot(arrays[4], k[s]), dot(arrays[5], distance)]
                    return terms.reduce(0, +) / 3.0.squareRoot()
                }
                let total = scores.reduce(0) { $0 + exp($1) }
                for column in columns {
                    let expected = scores.indices.reduce(0) { $0 + exp(scores[$1]) / total * v[$1].values[column] }
                    #expect(abs(result[t].values[column] - expected) < 1e-10)
                }
            }
        }
    }

    @Test("outputs and gradients are those of an independent program")
    func golden() throws {
        let file = try GoldenFile.read("relative_attention")
        #expect(file.cases.count == 3)
        for one in file.cases {
            let tape = Tape()
            let inputs = one.inputs.mapValues { tape.variable($0.tensor) }
            let output = relativeAttention(
                query: AttentionOperand(inputs["query"]!), key: AttentionOperand(inputs["key"]!), value: AttentionOperand(inputs["value"]!),
                distances: inputs["distances"]!, contentBias: inputs["contentBias"]!, positionBias: inputs["positionBias"]!,
                heads: one.integers("heads")![0], firstKeys: one.integers("firstKeys"))
            GoldenOperationTests().compare(output, one.output, "\(one.name): output")
            tape.backward(from: output, gradient: Tensor(one.outputGradient.values.map { Float($0) }, output.shape))
            for (key, expected) in one.gradients {
                let gradient = inputs[key]?.node?.gradient ?? Tensor(zeros: Shape(expected.shape))
                GoldenOperationTests().compare(gradient, expected, "\(one.name): gradient of \(key)")
            }
        }
    }

    @Test("over the edge of a block of keys, in both types", arguments: [DataType.float32, .bfloat16])
    func blocksOfKeys(_ type: DataType) {
        var inputs = Inputs(batch: 2, queries: 70, keys: 1100, heads: 1, size: 8)
        inputs.firstKeys = (0..<140).map { $0 < 70 ? 0 : 1027 + $0 - 70 }
        let tape = Tape()
        let x = inputs.tensors(type).map { tape.variable($0) }
        let output = inputs.attend(x)
        let seed = randomTensor("seed", output.shape)
        tape.backward(from: output, gradient: seed.converted(to: type))
        let arrays = x.map { ReferenceArray($0) }
        func expected(_ arrays: [ReferenceArray]) -> [Double] {
            (0..<2).flatMap { b in
                Reference.relativeAttention(
                    query: arrays[0][b], key: arrays[1][b], value: arrays[2][b], distances: arrays[3], contentBias: arrays[4],
                    positionBias: arrays[5], heads: 1, firstKeys: Array(inputs.firstKeys![b * 70..<(b + 1) * 70])
                ).values
            }
        }
        let tolerance = type == .float32 ? 2e-5 : 3e-2
        let error = deviation(output.doubles, from: expected(arrays)).worst
        #expect(error < tolerance, "output \(error)")
        // Along one direction of all inputs together.
        let directions = x.indices.map { randomTensor("direction \($0)", x[$0].shape).doubles }
        let ends = [1e-6, -1e-6].map { step -> Double in
            let moved = x.indices.map { i in
                ReferenceArray(zip(arrays[i].values, directions[i]).map { $0 + step * $1 }, arrays[i].shape)
            }
            return zip(expected(moved), seed.doubles).reduce(0) { $0 + $1.0 * $1.1 }
        }
        let parts = x.indices.map { i in zip(x[i].node?.gradient?.doubles ?? [], directions[i]).map { $0 * $1 } }
        let (along, size) = parts.joined().reduce((0.0, 0.0)) { ($0.0 + $1, $0.1 + $1 * $1) }
        #expect(abs(along - (ends[0] - ends[1]) / 2e-6) < tolerance * 5 * size.squareRoot(), "\(along), \((ends[0] - ends[1]) / 2e-6)")
    }

    @Test("the attention that keys receive is the sum of the reference's weights", arguments: [DataType.float32, .bfloat16])
    func received(_ type: DataType) {
        // Values that are unit vectors bring the weights out: key s of a head in column s of it.
        func unitValues(_ x: Inputs) -> Tensor {
            let values = Tensor(zeros: [x.batch, x.keys, x.width])
            for row in 0..<x.batch * x.keys { for head in 0..<x.heads { values.floats[row * x.width + head * x.size + row % x.keys] = 1 } }
            return values.converted(to: type)
        }
        for (queries, keys, size) in [(3, 7, 7), (5, 5, 6), (70, 75, 80)] {
            var inputs = Inputs(batch: 2, queries: queries, keys: keys, heads: 2, size: size)
            // The second sequence sees nothing before a place, and its first query nothing at all.
            let past = keys - queries
            inputs.firstKeys = (0..<2 * queries).map { $0 < queries ? 0 : min(past + 2, past + 1 + $0 - queries) }
            var x = inputs.tensors(type)
            x[2] = unitValues(inputs)
            var received: [Tensor] = []
            _ = relativeAttention(
                query: AttentionOperand(x[0]), key: AttentionOperand(x[1]), value: AttentionOperand(x[2]), distances: x[3], contentBias: x[4],
                positionBias: x[5], heads: 2, firstKeys: inputs.firstKeys, dropoutRate: 0.5,
                dropout: DropoutContext(seed: 1, step: 1, lanes: [0, 1]), onReceived: { received.append($0) })
            #expect(received.count == 1 && received[0].shape == [2, keys])
            let arrays = x.map { ReferenceArray($0) }
            for b in 0..<2 {
                let weights = Reference.relativeAttention(
                    query: arrays[0][b], key: arrays[1][b], value: arrays[2][b], distances: arrays[3], contentBias: arrays[4],
                    positionBias: arrays[5], heads: 2, firstKeys: Array(inputs.firstKeys![b * queries..<(b + 1) * queries])
                ).values
                for key in 0..<keys {
                    let expected = (0..<2 * queries).reduce(0) { $0 + weights[$1 * size + key] } / 2
                    let error = abs(Double(received[0].floats[b * keys + key]) - expected)
                    #expect(error < (type == .float32 ? 1e-5 : 2e-2) * max(1, expected), "key \(key) of \(keys): \(error)")
                }
            }
        }
    }

    @Test("what a query does not see changes no bit of it, forwards and backwards")
    func unseen() {
        var inputs = Inputs(batch: 2, queries: 5, keys: 12, heads: 2, size: 3)
        inputs.firstKeys = [3, 3, 3, 10, 10, 7, 7, 7, 7, 7]
        let x = inputs.tensors()
        let y = inputs.attend(x).array
        let changed = x.map { $0.copied() }
        for b in 0..<2 {
            for s in 0..<[3, 7][b] {
                for i in 0..<6 { for part in [1, 2] { changed[part].floats[(b * 12 + s) * 6 + i] = 300 } }
            }
        }
        #expect(inputs.attend(changed).array == y)
        let tape = Tape()
        let variables = changed.map { tape.variable($0) }
        tape.backward(from: inputs.attend(variables).sum())
        for part in [1, 2] {
            let gradient = variables[part].node!.gradient!.array
            for b in 0..<2 { #expect(gradient[b * 72..<b * 72 + 6 * [3, 7][b]].allSatisfy { $0 == 0 }) }
            #expect(gradient.allSatisfy { $0.isFinite } && gradient.contains { $0 != 0 })
        }
    }

    @Test("dropout on the weights: the gradient is that of the masked result, and other lanes have other masks")
    func dropout() {
        let inputs = Inputs(batch: 2, queries: 4, keys: 6, heads: 2, size: 3)
        func context(_ lanes: [Int]) -> DropoutContext { DropoutContext(seed: 3, step: 1, lanes: lanes) }
        let report = checkGradients(inputs: inputs.tensors()) { _, x in inputs.attend(x, dropout: context([0, 1]), rate: 0.3) }
        #expect(report.passes(), "\(report)")
        let x = inputs.tensors()
        let masked = inputs.attend(x, dropout: context([0, 1]), rate: 0.3).array
        #expect(masked == inputs.attend(x, dropout: context([0, 1]), rate: 0.3).array)
        #expect(masked != inputs.attend(x, dropout: context([2, 1]), rate: 0.3).array && masked != inputs.attend(x).array)
    }
}
