// Dropout: masks are a function of seed, step, lane and site alone, and keep the right share.

import Tensors
import TestSupport
import Testing

@Suite("Dropout")
struct DropoutTests {
    /// The lanes of a batch that was cut in two must see the same masks as in one piece.
    @Test("masks do not depend on how lanes are split into batches")
    func lanes() {
        let x = Tensor(repeating: 1, [4, 3, 8])
        func forward(_ x: Tensor, _ lanes: [Int]) -> [Float] {
            let context = DropoutContext(seed: 11, step: 3, lanes: lanes)
            let first = dropout(x, rate: 0.5, context)
            return addDropout(first, x, rate: 0.2, context).array
        }
        let whole = forward(x, [0, 1, 2, 3])
        let half = Tensor(repeating: 1, [2, 3, 8])
        #expect(forward(half, [0, 1]) + forward(half, [2, 3]) == whole)
        #expect(forward(half, [2, 1]) == Array(whole[48..<72] + whole[24..<48]))
        #expect(Array(whole[0..<24]) != Array(whole[24..<48]))
        #expect(DropoutContext(seed: 11, step: 4, lanes: [0]).lanes == [0])
        let other = DropoutContext(seed: 11, step: 4, lanes: [0, 1, 2, 3])
        #expect(dropout(x, rate: 0.5, other).array != dropout(x, rate: 0.5, DropoutContext(seed: 11, step: 3, lanes: [0, 1, 2, 3])).array)
    }

    @Test("the keep rate and the mean are right", arguments: [0.1, 0.5, 0.9] as [Float])
    func rate(_ rate: Float) {
        let count = 1 << 16
        let y = dropout(Tensor(repeating: 1, [4, count / 4]), rate: rate, DropoutContext(seed: 2, step: 1, lanes: [0, 1, 2, 3])).array
        let kept = Double(y.count { $0 != 0 }) / Double(count)
        let deviation = (Double(rate) * Double(1 - rate) / Double(count)).squareRoot()
        #expect(abs(kept - Double(1 - rate)) < 5 * deviation, "kept \(kept)")
        #expect(y.allSatisfy { $0 == 0 || abs($0 * (1 - rate) - 1) < 1e-6 })
    }

    @Test("attention drops per lane, and keeps the right share")
    func attentionDropout() {
        // Keys of zero weigh all values equally: with values of 1 an output is the share that was kept, divided by the keep rate.
        let (queries, keys) = (64, 128)
        func forward(_ lanes: [Int]) -> [Float] {
            let (b, context) = (lanes.count, DropoutContext(seed: 5, step: 9, lanes: lanes))
            return attention(
                query: AttentionOperand(Tensor(zeros: [b, queries, 4])), key: AttentionOperand(Tensor(zeros: [b, keys, 4])),
                value: AttentionOperand(Tensor(repeating: 1, [b, keys, 4])), width: 4, heads: 2, dropoutRate: 0.25, dropout: context
            ).array
        }
        let whole = forward([0, 1, 2, 3])
        #expect(forward([0, 1]) + forward([2, 3]) == whole)
        #expect(forward([3]) == Array(whole.suffix(queries * 4)))
        let mean = whole.reduce(0) { $0 + Double($1) } / Double(whole.count)
        // 4 lanes x 2 heads x 64 queries x 128 keys of deviation sqrt(1/3)
        let deviation = (1.0 / 3).squareRoot() / Double(4 * 2 * queries * keys).squareRoot()
        #expect(abs(mean - 1) < 5 * deviation, "mean \(mean)")
        let heads = stride(from: 0, to: whole.count, by: 4).count { whole[$0] != whole[$0 + 2] }
        #expect(heads > whole.count / 8)
    }

    @Test("evaluation and a rate of zero change nothing")
    func inactive() {
        let x = randomTensor("x", [2, 3])
        #expect(dropout(x, rate: 0.5, nil).array == x.array)
        #expect(dropout(x, rate: 0, DropoutContext(seed: 1, step: 1, lanes: [0, 1])).array == x.array)
        #expect(addDropout(x, x, rate: 0.5, nil).array == x.array.map { $0 + $0 })
    }
}
