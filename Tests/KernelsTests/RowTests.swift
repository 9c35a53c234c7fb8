// Reductions, softmax, cross-entropy and normalisation against naive twins in float64, on every instruction set.

import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Reductions, softmax and normalisation")
struct RowTests {
    @Test("reductions equal the naive twin", arguments: instructionSets)
    func reductions(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 11)
        for n in sizes + [4095, 4096, 4097, 20_000] {
            let a = generator.floats(n)
            let b = generator.floats(n)
            let size = a.reduce(0.0) { $0 + abs(Double($1)) }
            expectClose([Float(k.sum(a, n))], [a.reduce(0.0) { $0 + Double($1) }], .relative(3e-7, floor: max(1, size)), "sum, n = \(n)")
            expectClose(
                [Float(k.sumOfSquares(a, n))], [a.reduce(0.0) { $0 + Double($1) * Double($1) }], .relative(3e-7, floor: 1e-3),
                "sumOfSquares, n = \(n)")
            expectClose(
                [k.dot(a, b, n)], [zip(a, b).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }], .relative(3e-7, floor: max(1, size)), "dot, n = \(n)")
            #expect(k.maximum(a, n) == a.max() ?? -.infinity)
            #expect(k.isFinite(a, n))
        }
    }

    @Test("a group of 64 zeros within a span may be left out of a sum of squares", arguments: instructionSets)
    func leftOutGroups(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 12)
        for n in [4096, 1000, 130] {
            var (all, kept) = ([] as [Float], [] as [Float])
            for first in stride(from: 0, to: n, by: 64) {
                let count = min(64, n - first)
                let isKept = count < 64 || first / 64 % 3 == 1
                let group = isKept ? generator.floats(count) : [Float](repeating: 0, count: count)
                all += group
                if isKept { kept += group }
            }
            #expect(k.sumOfSquares(kept, kept.count).bitPattern == k.sumOfSquares(all, n).bitPattern, "n = \(n)")
        }
    }

    @Test("NaN and infinity are seen wherever they stand", arguments: instructionSets)
    func notFinite(name: String) throws {
        let k = try kernelSet(name)
        for n in [1, 3, 16, 17, 33, 100, 5000] {
            for position in Set([0, n / 2, n - 1]) {
                for bad in [Float.nan, .infinity, -.infinity] {
                    var a = [Float](repeating: 0.5, count: n)
                    a[position] = bad
                    #expect(!k.isFinite(a, n), "\(bad) at \(position) of \(n)")
                    #expect(!k.sumOfSquares(a, n).isFinite)
                    if bad.isNaN { #expect(k.maximum(a, n).isNaN, "at \(position) of \(n)") }
                    if bad == .infinity { #expect(k.maximum(a, n) == .infinity) }
                }
            }
        }
        let allLow = [Float](repeating: -.infinity, count: 19)
        #expect(k.maximum(allLow, 19) == -.infinity)
    }

    @Test("softmax equals the naive twin, and its gradient central differences", arguments: instructionSets)
    func softmax(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 12)
        func reference(_ a: [Double], _ scale: Double) -> [Double] {
            let m = a.map { $0 * scale }.max() ?? 0
            let e = a.map { exp($0 * scale - m) }
            let total = e.reduce(0, +)
            return e.map { $0 / total }
        }
        for n in sizes + [5000] {
            for scale: Float in [1, 0.125, -2] {
                let a = generator.floats(n, -10...10)
                let dy = generator.floats(n)
                var out = [Float](repeating: 0, count: n)
                var gradient = out
                k.softmax(&out, a, scale: scale, n)
                let expected = reference(a.map(Double.init), Double(scale))
                expectClose(out, expected, .relative(4e-6, floor: 1e-30), "softmax, n = \(n), scale \(scale)")
                k.softmaxGradient(&gradient, outputGradient: dy, probability: out, scale: scale, n)
                if n <= 100 {
                    let slopes = (0..<n).map { c in
                        slope(at: Double(a[c])) { x in
                            var moved = a.map(Double.init)
                            moved[c] = x
                            return zip(reference(moved, Double(scale)), dy).reduce(0.0) { $0 + $1.0 * Double($1.1) }
                        }
                    }
                    expectClose(gradient, slopes, .relative(1e-5, floor: 0.1), "softmaxGradient, n = \(n)")
                }
            }
        }
    }

    @Test("softmax of masked rows", arguments: instructionSets)
    func maskedSoftmax(name: String) throws {
        let k = try kernelSet(name)
        for n in sizes where n > 0 {
            var out = [Float](repeating: 7, count: n)
            let masked = [Float](repeating: -.infinity, count: n)
            k.softmax(&out, masked, scale: 0.5, n)
            #expect(out == [Float](repeating: 0, count: n))
            var one = masked
            one[n - 1] = -3
            k.softmax(&out, one, scale: 0.5, n)
            #expect(out == [Float](repeating: 0, count: n - 1) + [1])
            var broken = masked
            broken[n / 2] = .nan
            k.softmax(&out, broken, scale: 0.5, n)
            #expect(out.allSatisfy { $0.isNaN })
            #expect(k.logSumExponential(masked, n) == -.infinity)
        }
    }

    @Test("log-sum-exp and cross-entropy equal the naive twin", arguments: instructionSets)
    func crossEntropy(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 13)
        for n in sizes + [8000] where n > 0 {
            for smoothing: Float in [0, 0.1] {
                let a = generator.floats(n, -20...20)
                let target = Int.random(in: 0..<n, using: &generator)
                let m = Double(a.max() ?? 0)
                let total = a.reduce(0.0) { $0 + exp(Double($1) - m) }
                let logTotal = log(total) + m
                expectClose([k.logSumExponential(a, n)], [logTotal], .relative(3e-7, floor: 1), "logSumExponential, n = \(n)")
                var gradient = a
                let (loss, likelihood) = gradient.withUnsafeMutableBufferPointer { p in
                    let values = p.baseAddress.unsafelyUnwrapped
                    return k.crossEntropy(values, logits: values, target: target, labelSmoothing: smoothing, n)
                }
                let e = Double(smoothing)
                let mean = a.reduce(0.0) { $0 + Double($1) } / Double(n)
                expectClose([likelihood], [logTotal - Double(a[target])], .relative(5e-7, floor: 1), "likelihood, n = \(n)")
                expectClose([loss], [logTotal - (1 - e) * Double(a[target]) - e * mean], .relative(1e-6, floor: 1), "loss, n = \(n)")
                let expected = (0..<n).map { exp(Double(a[$0]) - logTotal) - e / Double(n) - ($0 == target ? 1 - e : 0) }
                expectClose(gradient, expected, .relative(3e-6, floor: 1e-2), "gradient, n = \(n)")
            }
        }
    }

    /// The output of layer normalisation in float64 for one row.
    private func layerNormReference(_ x: [Double], _ gain: [Float], _ bias: [Float]?, _ epsilon: Double, centred: Bool = true) -> [Double] {
        let mean = centred ? x.reduce(0, +) / Double(x.count) : 0
        let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(x.count)
        return x.indices.map { (x[$0] - mean) / (variance + epsilon).squareRoot() * Double(gain[$0]) + Double(bias?[$0] ?? 0) }
    }

    @Test("normalisation equals the naive twin, and its gradients central differences", arguments: instructionSets, [true, false])
    func normalisation(name: String, centred: Bool) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 14)
        for (rows, columns) in [(1, 2), (2, 3), (3, 16), (2, 17), (4, 33), (3, 64), (2, 100)] {
            let n = rows * columns
            let a = generator.floats(n).map { $0 + 2 }
            let gain = generator.floats(columns)
            let bias = generator.floats(columns)
            let dy = generator.floats(n)
            let epsilon: Float = 1e-5
            var out = [Float](repeating: 0, count: n)
            var mean = [Float](repeating: 0, count: rows)
            var reciprocal = mean
            if centred {
                k.layerNorm(
                    &out, mean: &mean, reciprocalDeviation: &reciprocal, a, gain: gain, bias: bias, epsilon: epsilon, rows: rows, columns: columns)
            } else {
                k.rmsNorm(&out, reciprocalRoot: &reciprocal, a, gain: gain, epsilon: epsilon, rows: rows, columns: columns)
            }
            func reference(_ a: [Double], _ gain: [Float], _ bias: [Float]) -> [Double] {
                (0..<rows).flatMap {
                    layerNormReference(Array(a[$0 * columns..<($0 + 1) * columns]), gain, centred ? bias : nil, Double(epsilon), centred: centred)
                }
            }
            let wide = a.map(Double.init)
            expectClose(out, reference(wide, gain, bias), .relative(3e-6, floor: 1), "output \(rows) x \(columns)")

            let start = generator.floats(n)
            var stored = start
            var added = start
            var gainGradient = gain
            var biasGradient = bias
            var gainAgain = gain
            if centred {
                k.layerNormGradient(
                    &stored, accumulate: false, gainGradient: &gainGradient, biasGradient: &biasGradient, outputGradient: dy, a, gain: gain,
                    mean: mean,
                    reciprocalDeviation: reciprocal, rows: rows, columns: columns)
                k.layerNormGradient(
                    &added, accumulate: true, gainGradient: nil, biasGradient: nil, outputGradient: dy, a, gain: gain, mean: mean,
                    reciprocalDeviation: reciprocal, rows: rows, columns: columns)
            } else {
                k.rmsNormGradient(
                    &stored, accumulate: false, gainGradient: &gainGradient, outputGradient: dy, a, gain: gain, reciprocalRoot: reciprocal,
                    rows: rows,
                    columns: columns)
                k.rmsNormGradient(
                    &added, accumulate: true, gainGradient: &gainAgain, outputGradient: dy, a, gain: gain, reciprocalRoot: reciprocal, rows: rows,
                    columns: columns)
            }
            func objective(_ output: [Double]) -> Double { zip(output, dy).reduce(0) { $0 + $1.0 * Double($1.1) } }
            let slopes = (0..<n).map { index in
                slope(at: wide[index]) { x in
                    var moved = wide
                    moved[index] = x
                    return objective(reference(moved, gain, bias))
                }
            }
            // Two columns normalise to -1 and 1 whatever the input, so that nearly everything in the gradient cancels.
            let bound = Tolerance.relative(columns == 2 ? 2e-4 : 2e-5, floor: 1)
            expectClose(stored, slopes, bound, "input gradient \(rows) x \(columns)")
            expectClose(added, zip(slopes, start).map { $0 + Double($1) }, bound, "added input gradient \(rows) x \(columns)")
            let unit = reference(wide, [Float](repeating: 1, count: columns), [Float](repeating: 0, count: columns))
            let gainSlopes = (0..<columns).map { c in
                (0..<rows).reduce(Double(gain[c])) { $0 + Double(dy[$1 * columns + c]) * unit[$1 * columns + c] }
            }
            expectClose(gainGradient, gainSlopes, .relative(5e-6, floor: 1), "gain gradient \(rows) x \(columns)")
            if centred {
                let biasSlopes = (0..<columns).map { c in (0..<rows).reduce(Double(bias[c])) { $0 + Double(dy[$1 * columns + c]) } }
                expectClose(biasGradient, biasSlopes, .relative(2e-6, floor: 1), "bias gradient \(rows) x \(columns)")
            }
        }
    }

    @Test("layer normalisation without bias, and of a constant row", arguments: instructionSets)
    func constantRow(name: String) throws {
        let k = try kernelSet(name)
        let a = [Float](repeating: 3.25, count: 37)
        let gain = [Float](repeating: 2, count: 37)
        var out = a
        var mean: [Float] = [0]
        var reciprocal: [Float] = [0]
        k.layerNorm(&out, mean: &mean, reciprocalDeviation: &reciprocal, a, gain: gain, bias: nil, epsilon: 1e-5, rows: 1, columns: 37)
        #expect(out == [Float](repeating: 0, count: 37))
        #expect(mean == [3.25])
    }
}
