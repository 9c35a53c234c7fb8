// Attention: the reference vector, and what its masks promise.

import Tensors
import TestSupport
import Testing

@Suite("Attention")
struct AttentionTests {
    @Test("the reference vector")
    func reference() {
        let q = Tensor([1, 2, 3] as [Float], [1, 1, 3])
        let kv = Tensor((1...9).map { Float($0) }, [1, 3, 3])
        let y = attention(query: AttentionOperand(q), key: AttentionOperand(kv), value: AttentionOperand(kv), width: 3, heads: 1)
        for (actual, expected) in zip(y.array, [6.999908, 7.999908, 8.999908] as [Float]) { #expect(abs(actual - expected) < 2e-6) }
    }

    @Test("a sequence without keys gives zeros and no gradient")
    func fullyMasked() {
        let tape = Tape()
        let (q, k, v) = (
            tape.variable(randomTensor("q", [2, 3, 4])), tape.variable(randomTensor("k", [2, 5, 4])), tape.variable(randomTensor("v", [2, 5, 4]))
        )
        let y = attention(
            query: AttentionOperand(q), key: AttentionOperand(k), value: AttentionOperand(v), width: 4, heads: 2,
            mask: AttentionMask(keyLengths: [0, 5]))
        #expect(y.array.prefix(12).allSatisfy { $0 == 0 } && y.array.suffix(12).allSatisfy { $0 != 0 })
        tape.backward(from: y.sum())
        #expect(q.node!.gradient!.array.prefix(12).allSatisfy { $0 == 0 })
        #expect(k.node!.gradient!.array.prefix(20).allSatisfy { $0 == 0 })
        #expect(v.node!.gradient!.array.prefix(20).allSatisfy { $0 == 0 } && v.node!.gradient!.array.suffix(20).contains { $0 != 0 })
    }

    @Test("a causal mask leaks nothing, neither forwards nor backwards", arguments: [0, 3])
    func causal(_ cached: Int) {
        let (queries, width) = (70, 8)
        let keys = queries + cached
        let q = randomTensor("q", [1, queries, width])
        let kv = randomTensor("kv", [1, keys, 2 * width])
        func forward(_ q: Tensor, _ kv: Tensor) -> Tensor {
            attention(
                query: AttentionOperand(q), key: AttentionOperand(kv), value: AttentionOperand(kv, column: width), width: width, heads: 2,
                mask: AttentionMask(causal: true))
        }
        let y = forward(q, kv).array
        for seen in [cached + 1, cached + 40, keys - 1] {
            let changed = kv.copied()
            for i in (seen * 2 * width)..<changed.count { changed.floats[i] = 300 }
            let other = forward(q, changed).array
            let visible = (seen - cached) * width
            let isSame = zip(other, y).prefix(visible).allSatisfy { $0 == $1 }
            #expect(isSame, "keys from \(seen) on changed an earlier query")
            #expect(other[visible] != y[visible])
        }
        let tape = Tape()
        let (vq, vkv) = (tape.variable(q), tape.variable(kv))
        let early = forward(vq, vkv).slice(0..<5, axis: 1)
        tape.backward(from: early.sum())
        #expect(vkv.node!.gradient!.array.suffix((queries - 5) * 2 * width).allSatisfy { $0 == 0 })
        #expect(vq.node!.gradient!.array.suffix((queries - 5) * width).allSatisfy { $0 == 0 })
        #expect(vkv.node!.gradient!.array.prefix((cached + 5) * 2 * width).allSatisfy { $0.isFinite })
    }

    @Test("one query at a time over a cache equals the whole sequence")
    func cache() {
        let (length, width) = (9, 8)
        let q = randomTensor("q", [2, length, width])
        let kv = randomTensor("kv", [2, length, 2 * width])
        func forward(_ q: Tensor, _ kv: Tensor) -> Tensor {
            attention(
                query: AttentionOperand(q), key: AttentionOperand(kv), value: AttentionOperand(kv, column: width), width: width, heads: 2,
                mask: AttentionMask(causal: true))
        }
        let whole = forward(q, kv)
        for t in 0..<length {
            let step = forward(q.slice(t..<t + 1, axis: 1), kv.slice(0..<t + 1, axis: 1))
            let expected = whole.slice(t..<t + 1, axis: 1).array
            for (a, b) in zip(step.array, expected) { #expect(abs(a - b) < 1e-5) }
        }
    }
}
