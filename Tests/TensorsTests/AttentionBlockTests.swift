// Attention in blocks against attention spelled out with matrices, at sizes beyond one block of queries and of keys.

import Tensors
import TestSupport
import Testing

@Suite("Attention in blocks")
struct AttentionBlockTests {
    struct Case: CustomStringConvertible, Sendable {
        var (queries, keys, heads, headSize): (Int, Int, Int, Int)
        var causal: Bool
        var lengths: [Int]?

        var description: String {
            "\(queries) x \(keys), \(heads) heads of \(headSize)\(causal ? ", causal" : "")\(lengths.map { ", lengths \($0)" } ?? "")"
        }
        var width: Int { heads * headSize }
    }

    static let cases = [
        Case(queries: 1, keys: 1, heads: 1, headSize: 1, causal: true),
        Case(queries: 65, keys: 65, heads: 2, headSize: 8, causal: true),
        Case(queries: 130, keys: 200, heads: 1, headSize: 20, causal: true),
        Case(queries: 70, keys: 1100, heads: 1, headSize: 16, causal: false),
        Case(queries: 70, keys: 1100, heads: 1, headSize: 16, causal: true, lengths: [1030, 37]),
        Case(queries: 67, keys: 67, heads: 3, headSize: 5, causal: false, lengths: [0, 61]),
    ]

    /// Softmax of all scores at once, head by head, with operations of the tape; rows that see nothing are left out by the caller.
    private func spelledOut(_ c: Case, _ q: Tensor, _ k: Tensor, _ v: Tensor, batch: Int) -> Tensor {
        var heads: [Tensor] = []
        for h in 0..<c.heads {
            let columns = h * c.headSize..<(h + 1) * c.headSize
            let scores = matmul(q.slice(columns, axis: 2), k.slice(columns, axis: 2), transposeB: true) * (1 / Float(c.headSize).squareRoot())
            var mask = [Float](repeating: 0, count: batch * c.queries * c.keys)
            for b in 0..<batch {
                let real = c.lengths?[b] ?? c.keys
                for t in 0..<c.queries {
                    for s in 0..<c.keys where s >= real || (c.causal && s > t + c.keys - c.queries) { mask[(b * c.queries + t) * c.keys + s] = -1e30 }
                }
            }
            let weights = softmax(scores + Tensor(mask, [batch, c.queries, c.keys]))
            heads.append(matmul(weights, v.slice(columns, axis: 2)))
        }
        return concatenate(heads, axis: 2)
    }

    /// The output and the gradients of sum(output * r).
    private func run(_ c: Case, _ type: DataType, isFused: Bool) -> [[Float]] {
        let batch = 2
        let tape = Tape()
        func input(_ name: String, _ length: Int) -> Tensor {
            let values = randomTensor(name, [batch, length, c.width]).converted(to: .bfloat16).converted(to: isFused ? type : .float32)
            return tape.variable(values)
        }
        let (q, k, v) = (input("q", c.queries), input("k", c.keys), input("v", c.keys))
        let output =
            isFused
            ? attention(
                query: AttentionOperand(q), key: AttentionOperand(k), value: AttentionOperand(v), width: c.width, heads: c.heads,
                mask: AttentionMask(causal: c.causal, keyLengths: c.lengths)) : spelledOut(c, q, k, v, batch: batch)
        let weights = randomTensor("r", output.shape)
        // A sequence without keys gives zeros; spelled out it would give averages.
        if let lengths = c.lengths {
            for b in 0..<batch where lengths[b] == 0 {
                for i in 0..<output.count / batch { weights.floats[b * output.count / batch + i] = 0 }
            }
        }
        tape.backward(from: output, gradient: weights.converted(to: output.dataType))
        var results = [zip(output.converted(to: .float32).array, weights.array).map { $1 == 0 ? 0 : $0 }]
        for input in [q, k, v] { results.append(input.node?.gradient?.converted(to: .float32).array ?? []) }
        return results
    }

    @Test("outputs and gradients", arguments: cases, [DataType.float32, .bfloat16])
    func equalsMatrices(_ c: Case, _ type: DataType) {
        let (blocks, matrices) = (run(c, type, isFused: true), run(c, .float32, isFused: false))
        let tolerance: Float = type == .float32 ? 2e-5 : 2e-2
        for (index, (actual, expected)) in zip(blocks, matrices).enumerated() {
            #expect(actual.count == expected.count && !expected.isEmpty)
            let largest = max(expected.map(abs).max() ?? 0, 1e-2)
            let worst = zip(actual, expected).map { abs($0 - $1) }.max() ?? 0
            #expect(worst <= tolerance * largest, "\(c), \(["output", "query", "key", "value"][index]): off by \(worst) of \(largest)")
        }
    }

    @Test("gradients of parts of one packed tensor equal those of separate ones", arguments: [DataType.float32, .bfloat16])
    func packed(_ type: DataType) {
        let (length, width) = (70, 16)
        let values = randomTensor("packed", [2, length, 3 * width]).converted(to: type)
        let tape = Tape()
        let packed = tape.variable(values)
        let parts = (0..<3).map { index in
            tape.variable(values.converted(to: .float32).slice(index * width..<(index + 1) * width, axis: 2).converted(to: type))
        }
        func forward(_ q: AttentionOperand, _ k: AttentionOperand, _ v: AttentionOperand) -> Tensor {
            attention(query: q, key: k, value: v, width: width, heads: 2, mask: AttentionMask(causal: true))
        }
        let whole = forward(AttentionOperand(packed), AttentionOperand(packed, column: width), AttentionOperand(packed, column: 2 * width))
        let separate = forward(AttentionOperand(parts[0]), AttentionOperand(parts[1]), AttentionOperand(parts[2]))
        #expect(whole.converted(to: .float32).array == separate.converted(to: .float32).array)
        let gradient = randomTensor("g", whole.shape).converted(to: type)
        tape.backward(from: convert(whole, to: .float32) + convert(separate, to: .float32), gradient: gradient.converted(to: .float32))
        let together = packed.node?.gradient?.converted(to: .float32)
        for (index, part) in parts.enumerated() {
            let slice = together?.slice(index * width..<(index + 1) * width, axis: 2).array
            #expect(slice == part.node?.gradient?.converted(to: .float32).array)
        }
    }

    @Test("a step of decoding, laid out by heads, equals the whole sequence", arguments: [DataType.float32, .bfloat16])
    func step(_ type: DataType) {
        let (length, heads, headSize, batch) = (21, 3, 20, 2)
        let width = heads * headSize
        let q = randomTensor("q", [batch, 1, width]).converted(to: type)
        let (k, v) = (randomTensor("k", [batch, length, width]).converted(to: type), randomTensor("v", [batch, length, width]).converted(to: type))
        var byHeads = [Float](repeating: 0, count: batch * heads * length * 2 * headSize)
        let (keys, values) = (k.converted(to: .float32).array, v.converted(to: .float32).array)
        for b in 0..<batch {
            for h in 0..<heads {
                for t in 0..<length {
                    for c in 0..<headSize {
                        let place = ((b * heads + h) * length + t) * 2 * headSize + c
                        byHeads[place] = keys[(b * length + t) * width + h * headSize + c]
                        byHeads[place + headSize] = values[(b * length + t) * width + h * headSize + c]
                    }
                }
            }
        }
        let memory = Tensor(byHeads, [batch, heads, length, 2 * headSize]).converted(to: type)
        let mask = AttentionMask(keyLengths: [21, 6])
        let step = attention(
            query: AttentionOperand(q), key: AttentionOperand(headMajor: memory), value: AttentionOperand(headMajor: memory, column: headSize),
            width: width, heads: heads, mask: mask)
        let tape = Tape()
        let whole = attention(
            query: AttentionOperand(tape.variable(q)), key: AttentionOperand(k), value: AttentionOperand(v), width: width, heads: heads, mask: mask)
        for (a, b) in zip(step.converted(to: .float32).array, whole.converted(to: .float32).array) {
            #expect(abs(a - b) <= (type == .float32 ? 1e-5 : 2e-2))
        }
    }
}
