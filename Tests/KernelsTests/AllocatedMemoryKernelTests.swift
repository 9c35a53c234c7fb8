// The memory of a Differentiable Neural Computer on each instruction set, against float64.

import Foundation
import Kernels
import TestSupport
import Testing

@Suite("A memory with usage and links") struct AllocatedMemoryKernelTests {
    private func padded(_ n: Int, _ unit: Int) -> Int { (n + unit - 1) / unit * unit }

    /// Vectors of S elements over N rows for each head; the rest zeros.
    private func vectors(
        _ generator: inout SeededGenerator, _ count: Int, rows: Int, stride: Int, total: Int? = nil, _ range: ClosedRange<Float> = 0...0.2
    ) -> [Float] {
        (0..<(total ?? count)).flatMap { h in
            (0..<stride).map { n in n < rows && h < count ? Float.random(in: range, using: &generator) : 0 }
        }
    }

    // MARK: links

    @Test("links, what follows and what precedes", arguments: instructionSets, [(1, 1), (4, 3), (5, 4), (16, 5), (19, 8), (33, 1)])
    func links(_ set: String, _ sizes: (rows: Int, heads: Int)) throws {
        let kernels = try kernelSet(set)
        let (rows, heads) = sizes
        let (stride, linkRows, paddedHeads) = (padded(rows, 16), padded(rows, 4), padded(heads, 4))
        var generator = SeededGenerator(seed: UInt64(rows * 10 + heads))
        var previous = [Float](repeating: 0, count: linkRows * stride)
        for i in 0..<rows { for j in 0..<rows where i != j { previous[i * stride + j] = Float.random(in: 0...0.3, using: &generator) } }
        let w = vectors(&generator, 1, rows: rows, stride: stride)
        let p = vectors(&generator, 1, rows: rows, stride: stride)
        let r = vectors(&generator, heads, rows: rows, stride: stride, total: paddedHeads)
        var links = [Float](repeating: .nan, count: linkRows * stride)
        var (forward, backward) = ([Float](repeating: .nan, count: paddedHeads * stride), [Float](repeating: .nan, count: paddedHeads * stride))
        kernels.linkMemory(
            &links, forward: &forward, backward: &backward, previous: previous, writeWeights: w, precedence: p, readWeights: r, heads: paddedHeads,
            rows: linkRows, stride: stride)

        var expected = [Double](repeating: 0, count: linkRows * stride)
        var (f, b) = ([Double](repeating: 0, count: paddedHeads * stride), [Double](repeating: 0, count: paddedHeads * stride))
        for i in 0..<rows {
            for j in 0..<rows where i != j {
                expected[i * stride + j] = (1 - Double(w[i]) - Double(w[j])) * Double(previous[i * stride + j]) + Double(w[i]) * Double(p[j])
                for h in 0..<heads {
                    f[h * stride + i] += expected[i * stride + j] * Double(r[h * stride + j])
                    b[h * stride + j] += expected[i * stride + j] * Double(r[h * stride + i])
                }
            }
        }
        expectClose(links, expected, .relative(1e-5, floor: 1e-2), "links")
        expectClose(forward, f, .relative(1e-5, floor: 1e-2), "forward")
        expectClose(backward, b, .relative(1e-5, floor: 1e-2), "backward")

        // And back.
        let df = vectors(&generator, heads, rows: rows, stride: stride, total: paddedHeads, -1...1)
        let db = vectors(&generator, heads, rows: rows, stride: stride, total: paddedHeads, -1...1)
        var given = [Float](repeating: 0, count: linkRows * stride)
        for i in 0..<rows { for j in 0..<rows { given[i * stride + j] = Float.random(in: -1...1, using: &generator) } }
        var (dL, dr) = (given, [Float](repeating: 0.5, count: paddedHeads * stride))
        var (dw, dp) = ([Float](repeating: 0.25, count: stride), [Float](repeating: 0.125, count: stride))
        kernels.linkMemoryGradient(
            &dL, readWeightGradient: &dr, writeWeightGradient: &dw, precedenceGradient: &dp, forwardGradient: df, backwardGradient: db,
            previous: previous,
            writeWeights: w, precedence: p, readWeights: r, heads: paddedHeads, rows: linkRows, stride: stride)
        var (expectedL, expectedR) = ([Double](repeating: 0, count: linkRows * stride), [Double](repeating: 0.5, count: paddedHeads * stride))
        var (expectedW, expectedP) = ([Double](repeating: 0.25, count: stride), [Double](repeating: 0.125, count: stride))
        for i in 0..<rows {
            for j in 0..<rows where i != j {
                let (place, old) = (i * stride + j, Double(previous[i * stride + j]))
                var g = Double(given[place])
                for h in 0..<heads {
                    g += Double(df[h * stride + i]) * Double(r[h * stride + j]) + Double(r[h * stride + i]) * Double(db[h * stride + j])
                    expectedR[h * stride + j] += Double(df[h * stride + i]) * expected[place]
                    expectedR[h * stride + i] += Double(db[h * stride + j]) * expected[place]
                }
                expectedW[i] += g * (Double(p[j]) - old)
                expectedW[j] -= g * old
                expectedP[j] += g * Double(w[i])
                expectedL[place] = g * (1 - Double(w[i]) - Double(w[j]))
            }
        }
        expectClose(dL, expectedL, .relative(2e-5, floor: 0.1), "gradient of links")
        expectClose(dr, expectedR, .relative(2e-5, floor: 0.1), "gradient of read weights")
        expectClose(dw, expectedW, .relative(2e-5, floor: 0.1), "gradient of write weights")
        expectClose(dp, expectedP, .relative(2e-5, floor: 0.1), "gradient of precedence")
    }

    @Test("one-hot writes to rows 2, 0, 1 are linked in that order", arguments: instructionSets)
    func order(_ set: String) throws {
        let kernels = try kernelSet(set)
        let (rows, stride) = (4, 16)
        var links = [Float](repeating: 0, count: rows * stride)
        var precedence = [Float](repeating: 0, count: stride)
        var (forward, backward) = ([Float](repeating: 0, count: 4 * stride), [Float](repeating: 0, count: 4 * stride))
        var read = [Float](repeating: 0, count: 4 * stride)
        (read[2], read[stride + 1]) = (1, 1)
        for row in [2, 0, 1] {
            var allocation = [Float](repeating: 0, count: stride)
            allocation[row] = 1
            let (previous, before) = (links, precedence)
            var w = allocation
            kernels.memoryWriteWeights(
                &w, precedence: &precedence, previousPrecedence: before, allocation: allocation, content: allocation, allocationGate: 1, writeGate: 1,
                stride: stride)
            kernels.linkMemory(
                &links, forward: &forward, backward: &backward, previous: previous, writeWeights: w, precedence: before, readWeights: read, heads: 4,
                rows: rows, stride: stride)
        }
        var expected = [Float](repeating: 0, count: rows * stride)
        (expected[2], expected[stride]) = (1, 1)
        #expect(links == expected)
        // After row 2 comes row 0; before row 1 came row 0.
        #expect(Array(forward[0..<4]) == [1, 0, 0, 0] && Array(backward[stride..<stride + 4]) == [1, 0, 0, 0])
        #expect(Array(precedence[0..<4]) == [0, 1, 0, 0])
    }

    // MARK: allocation

    @Test("allocation goes to the least used rows", arguments: instructionSets)
    func allocation(_ set: String) throws {
        let kernels = try kernelSet(set)
        var (allocation, order) = ([Float](repeating: .nan, count: 16), [Int32](repeating: -1, count: 16))
        var usage: [Float] = [0.2, 0.9, 0.5] + [Float](repeating: 0, count: 13)
        kernels.memoryAllocation(&allocation, order: &order, usage: usage, epsilon: 0, rows: 3, stride: 16)
        expectClose(Array(allocation[0..<3]), [0.8, 0.01, 0.1], .relative(1e-5, floor: 0.1))
        #expect(Array(order[0..<3]) == [0, 2, 1] && allocation[3...].allSatisfy { $0 == 0 })
        // Rows that are used alike are taken in their order.
        usage = [0.5, 0, 0.5, 0, 0.5] + [Float](repeating: 0, count: 11)
        kernels.memoryAllocation(&allocation, order: &order, usage: usage, epsilon: 0, rows: 5, stride: 16)
        #expect(Array(order[0..<5]) == [1, 3, 0, 2, 4] && Array(allocation[0..<5]) == [0, 1, 0, 0, 0])
        // Not a number gives a permutation or repeated rows, never a row that does not exist.
        usage[2] = .nan
        kernels.memoryAllocation(&allocation, order: &order, usage: usage, epsilon: 0, rows: 5, stride: 16)
        #expect(order[0..<5].allSatisfy { (0..<5).contains($0) })
    }

    @Test("allocation and its gradient, zeros among the usages", arguments: instructionSets, [1, 3, 16, 37, 64])
    func allocationGradient(_ set: String, _ rows: Int) throws {
        let kernels = try kernelSet(set)
        var generator = SeededGenerator(seed: UInt64(rows))
        let stride = padded(rows, 16)
        var usage = generator.floats(rows, 0.05...1).enumerated().map { $0.offset % 7 == 3 ? 0 : $0.element }
        usage += [Float](repeating: 0, count: stride - rows)
        let given = generator.floats(stride, -1...1)
        var (allocation, order, products) = (
            [Float](repeating: 0, count: stride), [Int32](repeating: 0, count: stride), [Float](repeating: 0, count: stride)
        )
        kernels.memoryAllocation(&allocation, order: &order, usage: usage, epsilon: 0, rows: rows, stride: stride)
        let sorted = (0..<rows).sorted { (usage[$0], $0) < (usage[$1], $1) }
        #expect(order[0..<rows].map { Int($0) } == sorted)
        var gradient = [Float](repeating: 0.5, count: stride)
        kernels.memoryAllocationGradient(
            &gradient, allocationGradient: given, order: order, usage: usage, products: &products, epsilon: 0, rows: rows)
        var (expected, expectedGradient) = ([Double](repeating: 0, count: stride), [Double](repeating: 0.5, count: stride))
        for (place, row) in sorted.enumerated() {
            let before = sorted[..<place].map { Double(usage[$0]) }
            expected[row] = (1 - Double(usage[row])) * before.reduce(1, *)
            expectedGradient[row] -= Double(given[row]) * before.reduce(1, *)
            for k in 0..<place {
                let others = before.enumerated().filter { $0.offset != k }.map(\.element).reduce(1, *)
                expectedGradient[sorted[k]] += Double(given[row]) * (1 - Double(usage[row])) * others
            }
        }
        expectClose(allocation, expected, .relative(1e-5, floor: 1e-3), "allocation")
        expectClose(gradient, expectedGradient, .relative(2e-5, floor: 0.1), "gradient")
    }

    // MARK: the rest

    /// The numbers as float64.
    private func wide(_ values: [Float]) -> [Double] { values.map(Double.init) }

    private func softmax(_ scores: [Double]) -> [Double] {
        let largest = scores.max() ?? 0
        let e = scores.map { exp($0 - largest) }
        return e.map { $0 / e.reduce(0, +) }
    }

    @Test("usage and its gradient", arguments: instructionSets, [(1, 1), (5, 2), (18, 5), (40, 4)])
    func usage(_ set: String, _ sizes: (rows: Int, heads: Int)) throws {
        let kernels = try kernelSet(set)
        let (rows, heads, stride) = (sizes.rows, sizes.heads, padded(sizes.rows, 16))
        var generator = SeededGenerator(seed: UInt64(rows * 100 + heads))
        func vector(_ range: ClosedRange<Float> = 0...0.2) -> [Float] { vectors(&generator, 1, rows: rows, stride: stride, range) }
        let (u, w, gates) = (vector(0...0.9), vector(), generator.floats(heads, 0...1))
        let r = vectors(&generator, heads, rows: rows, stride: stride, 0...1)
        func kept(_ n: Int, without: Int = -1) -> Double {
            (0..<heads).reduce(1) { $1 == without ? $0 : $0 * (1 - Double(gates[$1]) * Double(r[$1 * stride + n])) }
        }
        func filled(_ n: Int) -> Double { Double(u[n]) + Double(w[n]) - Double(u[n]) * Double(w[n]) }
        var (usage, retention) = ([Float](repeating: 7, count: stride), [Float](repeating: 7, count: stride))
        kernels.memoryUsage(
            &usage, retention: &retention, previousUsage: u, writeWeights: w, readWeights: r, freeGates: gates, heads: heads, stride: stride)
        expectClose(retention, (0..<stride).map { kept($0) }, .relative(1e-6, floor: 1e-2), "retention")
        expectClose(usage, (0..<stride).map { filled($0) * kept($0) }, .relative(1e-6, floor: 1e-2), "usage")

        let (given, givenRetention, givenWrite) = (vector(-1...1), vector(-1...1), vector())
        let givenRead = vectors(&generator, heads, rows: rows, stride: stride, -1...1)
        var (du, dRetention, dWrite, dRead, dGates) = (given, givenRetention, givenWrite, givenRead, [Float](repeating: 7, count: heads))
        kernels.memoryUsageGradient(
            &du, retentionGradient: &dRetention, writeWeightGradient: &dWrite, readWeightGradient: &dRead, freeGateGradient: &dGates,
            previousUsage: u, writeWeights: w, retention: retention, readWeights: r, freeGates: gates, heads: heads, stride: stride)
        let d = wide(given)
        func total(_ n: Int) -> Double { Double(givenRetention[n]) + d[n] * filled(n) }
        expectClose(du, (0..<stride).map { d[$0] * kept($0) * (1 - Double(w[$0])) }, .relative(2e-6, floor: 0.1), "gradient of usage")
        expectClose(
            dWrite, (0..<stride).map { Double(givenWrite[$0]) + d[$0] * kept($0) * (1 - Double(u[$0])) }, .relative(2e-6, floor: 0.1),
            "of write weights")
        expectClose(
            dRead,
            (0..<heads * stride).map { place in
                let (h, n) = (place / stride, place % stride)
                return Double(givenRead[place]) - total(n) * kept(n, without: h) * Double(gates[h])
            },
            .relative(2e-6, floor: 0.1), "of read weights")
        expectClose(
            dGates, (0..<heads).map { h in -(0..<stride).reduce(0) { $0 + total($1) * kept($1, without: h) * Double(r[h * stride + $1]) } },
            .relative(5e-6, floor: 0.5), "of free gates")
    }

    @Test("write weights, precedence and their gradients", arguments: instructionSets, [1, 5, 18, 40])
    func writeWeights(_ set: String, _ rows: Int) throws {
        let kernels = try kernelSet(set)
        let stride = padded(rows, 16)
        var generator = SeededGenerator(seed: UInt64(rows))
        func vector(_ range: ClosedRange<Float> = 0...0.2) -> [Float] { vectors(&generator, 1, rows: rows, stride: stride, range) }
        let (a, c, p, slope) = (vector(), vector(), vector(), vector(-1...1))
        let (allocationGate, writeGate) = (Float(0.3), Float(0.7))
        let mixed = (0..<stride).map { Double(allocationGate) * Double(a[$0]) + (1 - Double(allocationGate)) * Double(c[$0]) }
        var (weights, precedence) = ([Float](repeating: 7, count: stride), [Float](repeating: 7, count: stride))
        kernels.memoryWriteWeights(
            &weights, precedence: &precedence, previousPrecedence: p, allocation: a, content: c, allocationGate: allocationGate,
            writeGate: writeGate, stride: stride)
        let w = mixed.map { $0 * Double(writeGate) }
        let sum = w.reduce(0, +)
        expectClose(weights, w, .relative(1e-6, floor: 1e-2), "write weights")
        expectClose(precedence, (0..<stride).map { (1 - sum) * Double(p[$0]) + w[$0] }, .relative(2e-6, floor: 0.1), "precedence")

        var (da, dc) = ([Float](repeating: 7, count: stride), [Float](repeating: 7, count: stride))
        let gates = kernels.memoryWriteWeightsGradient(
            allocationGradient: &da, contentGradient: &dc, weightGradient: slope, allocation: a, content: c, allocationGate: allocationGate,
            writeGate: writeGate, stride: stride)
        let d = wide(slope)
        expectClose(da, d.map { $0 * Double(writeGate) * Double(allocationGate) }, .relative(1e-6, floor: 0.01), "gradient of allocation")
        expectClose(dc, d.map { $0 * Double(writeGate) * (1 - Double(allocationGate)) }, .relative(1e-6, floor: 0.01), "of content")
        var ofGates = [0.0, 0.0]
        for row in 0..<stride {
            ofGates[0] += Double(writeGate) * d[row] * (Double(a[row]) - Double(c[row]))
            ofGates[1] += d[row] * mixed[row]
        }
        expectClose([gates.allocationGate, gates.writeGate], ofGates, .relative(5e-6, floor: 0.1), "of the gates")

        let (givenPrecedence, givenWeights) = (vector(-1...1), vector())
        var (dp, dw) = (givenPrecedence, givenWeights)
        kernels.memoryPrecedenceGradient(&dp, writeWeightGradient: &dw, previousPrecedence: p, writeWeights: weights, stride: stride)
        let inner = (0..<stride).reduce(0) { $0 + Double(givenPrecedence[$1]) * Double(p[$1]) }
        expectClose(dp, (0..<stride).map { (1 - sum) * Double(givenPrecedence[$0]) }, .relative(5e-6, floor: 0.1), "of the precedence")
        // Padding may hold anything here: it belongs to no row.
        expectClose(
            Array(dw[0..<rows]), (0..<rows).map { Double(givenWeights[$0]) + Double(givenPrecedence[$0]) - inner }, .relative(5e-6, floor: 0.1),
            "of write weights through the precedence")
    }

    @Test("read weights and their gradient", arguments: instructionSets, [(1, 1), (5, 2), (18, 5), (40, 4)])
    func readWeights(_ set: String, _ sizes: (rows: Int, heads: Int)) throws {
        let kernels = try kernelSet(set)
        let (rows, heads, stride) = (sizes.rows, sizes.heads, padded(sizes.rows, 16))
        var generator = SeededGenerator(seed: UInt64(rows * 10 + heads))
        func perHead(_ range: ClosedRange<Float> = 0...0.2) -> [Float] { vectors(&generator, heads, rows: rows, stride: stride, range) }
        let scores = generator.floats(3 * heads)
        var modes = scores
        kernels.readModes(&modes, heads: heads)
        let m = (0..<heads).map { h in softmax((0..<3).map { Double(scores[$0 * heads + h]) }) }
        expectClose(modes, (0..<3 * heads).map { m[$0 % heads][$0 / heads] }, .relative(2e-6, floor: 1e-2), "modes")
        let parts = [perHead(), perHead(), perHead()]
        let slope = perHead(-1...1)
        var out = [Float](repeating: 7, count: heads * stride)
        kernels.memoryReadWeights(&out, backward: parts[0], content: parts[1], forward: parts[2], modes: modes, heads: heads, stride: stride)
        let expected = (0..<heads * stride).map { place in (0..<3).reduce(0) { $0 + m[place / stride][$1] * Double(parts[$1][place]) } }
        expectClose(out, expected, .relative(2e-6, floor: 1e-2), "read weights")
        var gradients = [[Float]](repeating: [Float](repeating: 7, count: heads * stride), count: 3)
        var dModes = [Float](repeating: 7, count: 3 * heads)
        var (dBackward, dContent, dForward) = (gradients[0], gradients[1], gradients[2])
        kernels.memoryReadWeightsGradient(
            backwardGradient: &dBackward, contentGradient: &dContent, forwardGradient: &dForward, modeGradient: &dModes, weightGradient: slope,
            backward: parts[0], content: parts[1], forward: parts[2], modes: modes, heads: heads, stride: stride)
        gradients = [dBackward, dContent, dForward]
        for mode in 0..<3 {
            let expected = (0..<heads * stride).map { m[$0 / stride][mode] * Double(slope[$0]) }
            expectClose(gradients[mode], expected, .relative(2e-6, floor: 1e-2), "gradient of mode \(mode)")
            let sums = (0..<heads).map { h in
                (0..<stride).reduce(0) { $0 + Double(slope[h * stride + $1]) * Double(parts[mode][h * stride + $1]) }
            }
            expectClose(Array(dModes[mode * heads..<(mode + 1) * heads]), sums, .relative(5e-6, floor: 0.1), "of the weight of mode \(mode)")
        }
    }

    @Test("content weights, sharpening and their gradients", arguments: instructionSets, [1, 5, 18, 40])
    func content(_ set: String, _ rows: Int) throws {
        let kernels = try kernelSet(set)
        let stride = padded(rows, 16)
        var generator = SeededGenerator(seed: UInt64(rows + 7))
        func vector(_ range: ClosedRange<Float>) -> [Float] { vectors(&generator, 1, rows: rows, stride: stride, range) }
        let (products, inverseNorms, slope, scales) = (vector(-2...2), vector(0.3...2), vector(-1...1), vector(-1...1))
        let (inverseKeyNorm, strength) = (Float(0.7), Float(2))
        var (cosines, weights) = (products, [Float](repeating: 7, count: stride))
        kernels.contentWeights(
            &weights, cosines: &cosines, inverseNorms: inverseNorms, inverseKeyNorm: inverseKeyNorm, strength: strength, rows: rows, stride: stride)
        let cosine = (0..<rows).map { Double(products[$0]) * Double(inverseNorms[$0]) * Double(inverseKeyNorm) }
        let w = softmax(cosine.map { $0 * Double(strength) })
        let padding = [Double](repeating: 0, count: stride - rows)
        expectClose(Array(cosines[0..<rows]), cosine, .relative(1e-6, floor: 1e-2), "cosines")
        expectClose(weights, w + padding, .relative(5e-6, floor: 1e-3), "content weights")
        var (dProducts, normScale) = ([Float](repeating: 7, count: stride), scales)
        let both = kernels.contentWeightsGradient(
            &dProducts, normScale: &normScale, weightGradient: slope, weights: weights, cosines: cosines, inverseNorms: inverseNorms,
            inverseKeyNorm: inverseKeyNorm, strength: strength, stride: stride)
        let inner = (0..<rows).reduce(0) { $0 + w[$1] * Double(slope[$1]) }
        let ds = (0..<rows).map { w[$0] * (Double(slope[$0]) - inner) }
        let dCosine = ds.map { $0 * Double(strength) }
        expectClose(
            Array(dProducts[0..<rows]), (0..<rows).map { dCosine[$0] * Double(inverseNorms[$0]) * Double(inverseKeyNorm) },
            .relative(1e-5, floor: 0.05), "gradient of products")
        expectClose(
            Array(normScale[0..<rows]),
            (0..<rows).map { (row: Int) -> Double in
                let inverseNorm = Double(inverseNorms[row])
                return Double(scales[row]) - dCosine[row] * cosine[row] * inverseNorm * inverseNorm
            },
            .relative(1e-5, floor: 0.1), "scales of rows")
        expectClose(
            [both.strength, both.keyScale],
            [
                (0..<rows).reduce(0) { $0 + ds[$1] * cosine[$1] },
                -(0..<rows).reduce(0) { $0 + dCosine[$1] * cosine[$1] } * Double(inverseKeyNorm) * Double(inverseKeyNorm),
            ], .relative(1e-5, floor: 0.1), "of strength and key")

        let a = vector(0...0.9)
        let (power, epsilon) = (2.5, 1e-3)
        var (sharp, dSharp) = ([Float](repeating: 7, count: stride), slope)
        kernels.sharpen(&sharp, a, power: Float(power), epsilon: Float(epsilon), rows: rows, stride: stride)
        let raised = (0..<rows).map { pow(Double(a[$0]) + epsilon, power) }
        let y = raised.map { $0 / raised.reduce(0, +) }
        expectClose(sharp, y + padding, .relative(2e-5, floor: 1e-3), "sharpened")
        let powerGradient = kernels.sharpenGradient(
            &dSharp, a, output: sharp, power: Float(power), epsilon: Float(epsilon), stride: stride)
        let mean = (0..<rows).reduce(0) { $0 + y[$1] * Double(slope[$1]) }
        expectClose(
            Array(dSharp[0..<rows]), (0..<rows).map { power * y[$0] * (Double(slope[$0]) - mean) / (Double(a[$0]) + epsilon) },
            .relative(5e-5, floor: 0.5), "gradient of the sharpened")
        let ofPower = (0..<rows).reduce(0) { $0 + y[$1] * (Double(slope[$1]) - mean) * log(Double(a[$1]) + epsilon) }
        expectClose([powerGradient], [ofPower], .relative(2e-5, floor: 0.5), "of the power")
    }
}
