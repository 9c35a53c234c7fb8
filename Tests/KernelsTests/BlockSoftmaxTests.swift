// Softmax in blocks of columns, long rows of softmax, and cross-entropy into bfloat16, against naive twins in float64.

import Foundation
import Kernels
import Testing

/// softmax(scale * a), and log-sum-exp.
private func reference(_ a: ArraySlice<Float>, _ scale: Double = 1) -> (probability: [Double], logSum: Double) {
    let x = a.map { Double($0) * scale }
    guard let m = x.max(), m > -.infinity else { return (x.map { _ in 0 }, -.infinity) }
    let e = x.map { exp($0 - m) }
    let total = e.reduce(0, +)
    return (e.map { $0 / total }, log(total) + m)
}

@Suite("Softmax in blocks")
struct BlockSoftmaxTests {
    @Test("exponentials of masked and broken rows", arguments: instructionSets)
    func limits(name: String) throws {
        let k = try kernelSet(name)
        let n = 21
        /// Softmax of one row in one block, from the maximum so far; all columns are seen.
        func run(_ scores: [Float], from start: Float) -> (out: [Float], maximum: Float, sum: Float) {
            var (out, maximum, sum, correction) = ([Float](repeating: 7, count: n), [start], [Float(0)], [Float(7)])
            k.softmaxBlock(
                &out, outStride: n, scores: scores, stride: n, scale: 1, maximum: &maximum, sum: &sum, correction: &correction, firstVisible: n,
                rows: 1, columns: n)
            return (out, maximum[0], sum[0])
        }
        let masked = [Float](repeating: -.infinity, count: n)
        for start in [-Float.infinity, 3] {
            let result = run(masked, from: start)
            #expect(result.out == [Float](repeating: 0, count: n) && result.maximum == start && result.sum == 0)
        }
        var broken = masked
        broken[20] = .nan
        let result = run(broken, from: -.infinity)
        #expect(result.sum.isNaN && result.out[20].isNaN && result.out[19] == 0 && result.maximum == -.infinity)
        var low = masked
        low.replaceSubrange(0..<5, with: [-87.3, -87.8, -88.5, -1000, 0])
        let out = run(low, from: -.infinity).out
        #expect(out[0] > 0 && out[1] == 0 && out[2] == 0 && out[3] == 0 && out[4] == 1)
    }

    @Test("blocks of a causal row of attention give softmax", arguments: instructionSets, [true, false])
    func blocks(name: String, causal: Bool) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 42)
        for (rows, total, block) in [(1, 5, 16), (7, 40, 16), (20, 100, 33), (5, 300, 128)] {
            let scores = generator.floats(rows * total, -30...30)
            let first = causal ? total - rows + 1 : total
            var (maximum, sum) = ([Float](repeating: -.infinity, count: rows), [Float](repeating: 0, count: rows))
            var (halfMaximum, halfSum) = (maximum, sum)
            var collected = [Double](repeating: 0, count: rows * total)
            for start in stride(from: 0, to: total, by: block) {
                let columns = min(block, total - start)
                var correction = [Float](repeating: -1, count: rows)
                var out = [Float](repeating: 7, count: rows * (columns + 3))
                var half = [UInt16](repeating: 7, count: rows * (columns + 3))
                scores.withUnsafeBufferPointer { p in
                    let base = p.baseAddress.unsafelyUnwrapped + start
                    k.softmaxBlock(
                        &out, outStride: columns + 3, scores: base, stride: total, scale: 0.5, maximum: &maximum, sum: &sum, correction: &correction,
                        firstVisible: first - start, rows: rows, columns: columns)
                    k.softmaxBlock(
                        &half, outStride: columns + 3, scores: base, stride: total, scale: 0.5, maximum: &halfMaximum, sum: &halfSum,
                        correction: &correction, firstVisible: first - start, rows: rows, columns: columns)
                }
                for r in 0..<rows {
                    for c in 0..<start { collected[r * total + c] *= Double(correction[r]) }
                    for c in 0..<columns { collected[r * total + start + c] = Double(out[r * (columns + 3) + c]) }
                    // What lies between the rows stays as it was.
                    let place = r * (columns + 3)
                    #expect(out[place + columns] == 7)
                    #expect(Array(half[place..<place + columns]) == bfloat16(Array(out[place..<place + columns])))
                }
            }
            #expect(halfMaximum == maximum && halfSum == sum)
            for r in 0..<rows {
                let seen = min(total, first + r)
                let expected = reference(scores[r * total..<r * total + seen], 0.5)
                let actual = (0..<total).map { Float(collected[r * total + $0] / Double(sum[r])) }
                expectClose(actual, expected.probability + [Double](repeating: 0, count: total - seen), .relative(4e-6, floor: 1e-20), "row \(r)")
                expectClose([maximum[r] + log(sum[r])], [expected.logSum], .relative(1e-6, floor: 1), "log-sum-exp of row \(r)")
            }
        }
    }

    @Test("a block that shows nothing leaves zeros and changes nothing", arguments: instructionSets)
    func unseen(name: String) throws {
        let k = try kernelSet(name)
        let scores = [Float](repeating: 1, count: 3 * 20)
        for firstVisible in [0, -5] {
            var (maximum, sum, correction): ([Float], [Float], [Float]) = ([-.infinity, 2, 3], [0, 1, 1], [7, 7, 7])
            var out = [UInt16](repeating: 9, count: 60)
            k.softmaxBlock(
                &out, outStride: 20, scores: scores, stride: 20, scale: 1, maximum: &maximum, sum: &sum, correction: &correction,
                firstVisible: firstVisible, rows: 1, columns: 20)
            #expect(out == [UInt16](repeating: 0, count: 20) + [UInt16](repeating: 9, count: 40))
            #expect(maximum == [-.infinity, 2, 3] && sum == [0, 1, 1] && correction == [1, 7, 7])
        }
    }

    @Test("the gradient of a block equals the rows'", arguments: instructionSets)
    func blockGradient(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 43)
        let (rows, columns, stride) = (9, 37, 40)
        let (scores, d) = (generator.floats(rows * stride), generator.floats(rows * stride))
        let (minus, inner) = (generator.floats(rows, 3...5), generator.floats(rows))
        for firstVisible in [-3, 0, 30, 37] {
            var (g, p) = ([Float](repeating: 7, count: rows * stride), [Float](repeating: 7, count: rows * stride))
            var (hg, hp) = ([UInt16](repeating: 7, count: rows * stride), [UInt16](repeating: 7, count: rows * stride))
            k.softmaxBlockGradient(
                &g, probability: &p, outStride: stride, outputGradient: d, scores: scores, stride: stride, minus: minus, inner: inner, scale: 0.5,
                firstVisible: firstVisible, rows: rows, columns: columns)
            k.softmaxBlockGradient(
                &hg, probability: &hp, outStride: stride, outputGradient: d, scores: scores, stride: stride, minus: minus, inner: inner, scale: 0.5,
                firstVisible: firstVisible, rows: rows, columns: columns)
            for r in 0..<rows {
                let seen = min(columns, max(0, firstVisible + r))
                let at = { (c: Int) in r * stride + c }
                let expected = (0..<columns).map { $0 < seen ? exp(0.5 * Double(scores[at($0)]) - Double(minus[r])) : 0 }
                let gradients = (0..<columns).map { 0.5 * expected[$0] * (Double(d[at($0)]) - Double(inner[r])) }
                expectClose(Array(p[at(0)..<at(columns)]), expected, .relative(2e-6, floor: 1e-9), "probability, row \(r)")
                expectClose(Array(g[at(0)..<at(columns)]), gradients, .relative(2e-6, floor: 1e-2), "gradient, row \(r)")
                #expect(Array(p[at(columns)..<at(stride)]) == [7, 7, 7] && Array(hg[at(columns)..<at(stride)]) == [7, 7, 7])
                #expect(Array(hp[at(0)..<at(columns)]) == bfloat16(Array(p[at(0)..<at(columns)])))
                #expect(Array(hg[at(0)..<at(columns)]) == bfloat16(Array(g[at(0)..<at(columns)])))
            }
        }
    }

    @Test("long rows whose maximum keeps rising", arguments: instructionSets)
    func rising(name: String) throws {
        let k = try kernelSet(name)
        for n in [4096, 4097, 8192, 20_000, 50_257] {
            for (low, high) in [(Float(-150), Float(150)), (150, -150), (-1, 1), (0, 45)] {
                let a = (0..<n).map { low + (high - low) * Float($0) / Float(n) }
                let expected = reference(a[...])
                var out = a
                k.softmax(&out, a, scale: 1, n)
                expectClose(out, expected.probability, .relative(6e-6, floor: 1e-22), "softmax, n = \(n), \(low) to \(high)")
                out = a
                out.withUnsafeMutableBufferPointer { p in
                    let base = p.baseAddress.unsafelyUnwrapped
                    k.softmax(base, UnsafePointer(base), scale: 1, n)
                }
                expectClose(out, expected.probability, .relative(6e-6, floor: 1e-22), "softmax in place, n = \(n), \(low) to \(high)")
                expectClose([k.logSumExponential(a, n)], [expected.logSum], .relative(3e-7, floor: 1), "logSumExponential, n = \(n)")
            }
        }
    }

    @Test("long rows with infinities and NaN", arguments: instructionSets)
    func broken(name: String) throws {
        let k = try kernelSet(name)
        let n = 9000
        var out = [Float](repeating: 7, count: n)
        var a = [Float](repeating: -.infinity, count: n)
        k.softmax(&out, a, scale: 1, n)
        #expect(out.allSatisfy { $0 == 0 })
        a[8500] = -700
        a[8999] = -700
        k.softmax(&out, a, scale: 1, n)
        #expect(out[8500] == 0.5 && out[8999] == 0.5 && out.reduce(0, +) == 1)
        for position in [0, 4095, 4096, 8998, 8999] {
            for bad in [Float.nan, .infinity] {
                var b = [Float](repeating: 1, count: n)
                b[position] = bad
                k.softmax(&out, b, scale: 1, n)
                #expect(out[position].isNaN, "\(bad) at \(position)")
                var half = [UInt16](repeating: 0, count: n)
                #expect(k.crossEntropy(&half, logits: b, target: 3, labelSmoothing: 0, n).loss.isNaN, "\(bad) at \(position)")
            }
        }
    }

    @Test("cross-entropy into bfloat16", arguments: instructionSets)
    func crossEntropy(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 44)
        for n in sizes + [8000, 50_257] where n > 0 {
            for smoothing: Float in [0, 0.1] {
                let a = generator.floats(n, -20...20)
                let target = Int.random(in: 0..<n, using: &generator)
                var (half, whole) = ([UInt16](repeating: 0, count: n), a)
                let result = k.crossEntropy(&half, logits: a, target: target, labelSmoothing: smoothing, n)
                let other = k.crossEntropy(&whole, logits: a, target: target, labelSmoothing: smoothing, n)
                expectClose(
                    [result.loss, result.negativeLogLikelihood], [Double(other.loss), Double(other.negativeLogLikelihood)], .relative(1e-6, floor: 1),
                    "loss, n = \(n)")
                let (e, logSum) = (Double(smoothing), reference(a[...]).logSum)
                let expected = (0..<n).map { exp(Double(a[$0]) - logSum) - e / Double(n) - ($0 == target ? 1 - e : 0) }
                // Probabilities are rounded twice; where the smoothed target is taken from one of its own size only the absolute error counts.
                expectBFloat16(half, expected, steps: 2, floor: e / Double(n) * 0.008 + 1e-30, "gradient, n = \(n), smoothing \(smoothing)")
            }
        }
    }
}
