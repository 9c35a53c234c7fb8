// The memory of a Differentiable Neural Computer on each instruction set: links and allocation against float64, the rest against the smallest set.

import Foundation
import Kernels
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

    @Test(
        "usage, weights and the matrix agree on all instruction sets", arguments: instructionSets.dropFirst(),
        [(1, 1, 1), (5, 3, 2), (18, 5, 5), (40, 17, 4)])
    func agreement(_ set: String, _ sizes: (rows: Int, width: Int, heads: Int)) throws {
        let expected = everything(try kernelSet(instructionSets[0]), sizes.rows, sizes.width, sizes.heads)
        let actual = everything(try kernelSet(set), sizes.rows, sizes.width, sizes.heads)
        #expect(actual.count == expected.count)
        for (a, e) in zip(actual, expected) { expectClose(a.values, e.values.map { Double($0) }, .relative(5e-5, floor: 0.05), e.name) }
    }

    /// The results of every kernel but those above, on numbers that depend on the sizes alone. Right they are if the module Memory agrees with
    /// PyTorch.
    private func everything(_ kernels: any KernelSet, _ rows: Int, _ width: Int, _ heads: Int) -> [(name: String, values: [Float])] {
        var generator = SeededGenerator(seed: UInt64(rows * 100 + width))
        let stride = padded(rows, 16)
        func fresh(_ count: Int) -> [Float] { [Float](repeating: 0, count: count) }
        var results: [(name: String, values: [Float])] = []
        func vector(_ range: ClosedRange<Float> = 0...0.2) -> [Float] { vectors(&generator, 1, rows: rows, stride: stride, range) }
        func perHead(_ range: ClosedRange<Float> = 0...0.2) -> [Float] { vectors(&generator, heads, rows: rows, stride: stride, range) }
        let (usage, w, r, gates) = (vector(0...0.9), vector(), perHead(), generator.floats(heads, 0...1))

        var (newUsage, retention) = (fresh(stride), fresh(stride))
        kernels.memoryUsage(
            &newUsage, retention: &retention, previousUsage: usage, writeWeights: w, readWeights: r, freeGates: gates, heads: heads, stride: stride)
        results += [("usage", newUsage), ("retention", retention)]
        var (du, dpsi, dw, dr, df) = (vector(-1...1), vector(-1...1), vector(), perHead(), fresh(heads))
        kernels.memoryUsageGradient(
            &du, retentionGradient: &dpsi, writeWeightGradient: &dw, readWeightGradient: &dr, freeGateGradient: &df, previousUsage: usage,
            writeWeights: w,
            retention: retention, readWeights: r, freeGates: gates, heads: heads, stride: stride)
        results += [("du", du), ("dpsi", dpsi), ("dw", dw), ("dr", dr), ("df", df)]

        let (a, c, p) = (vector(), vector(), vector())
        var (weights, precedence, da, dc) = (fresh(stride), fresh(stride), fresh(stride), fresh(stride))
        kernels.memoryWriteWeights(
            &weights, precedence: &precedence, previousPrecedence: p, allocation: a, content: c, allocationGate: 0.3, writeGate: 0.7, stride: stride)
        let gateGradients = kernels.memoryWriteWeightsGradient(
            allocationGradient: &da, contentGradient: &dc, weightGradient: du, allocation: a, content: c, allocationGate: 0.3, writeGate: 0.7,
            stride: stride)
        var (dp, dw2) = (vector(-1...1), vector())
        kernels.memoryPrecedenceGradient(&dp, writeWeightGradient: &dw2, previousPrecedence: p, writeWeights: weights, stride: stride)
        results += [("write weights", weights), ("precedence", precedence), ("da", da), ("dc", dc), ("dp", dp), ("dw through precedence", dw2)]
        results.append(("gates", [gateGradients.allocationGate, gateGradients.writeGate]))

        var (modes, dm) = (generator.floats(3 * heads), fresh(3 * heads))
        kernels.readModes(&modes, heads: heads)
        let (b, f, content) = (perHead(), perHead(), perHead())
        var (read, dback, dcont, dforw) = (fresh(heads * stride), fresh(heads * stride), fresh(heads * stride), fresh(heads * stride))
        kernels.memoryReadWeights(&read, backward: b, content: content, forward: f, modes: modes, heads: heads, stride: stride)
        kernels.memoryReadWeightsGradient(
            backwardGradient: &dback, contentGradient: &dcont, forwardGradient: &dforw, modeGradient: &dm, weightGradient: dr, backward: b,
            content: content,
            forward: f, modes: modes, heads: heads, stride: stride)
        results += [("modes", modes), ("read weights", read), ("dbackward", dback), ("dcontent", dcont), ("dforward", dforw), ("dmodes", dm)]

        for _ in 0..<2 {
            let products = perHead()
            var (cosines, out, dproducts, scale) = (Array(products[0..<stride]), fresh(stride), fresh(stride), vector())
            kernels.contentWeights(&out, cosines: &cosines, inverseNorms: retention, inverseKeyNorm: 0.7, strength: 2, rows: rows, stride: stride)
            let both = kernels.contentWeightsGradient(
                &dproducts, normScale: &scale, weightGradient: du, weights: out, cosines: cosines, inverseNorms: retention, inverseKeyNorm: 0.7,
                strength: 2,
                stride: stride)
            results += [
                ("content", out), ("cosines", cosines), ("dproducts", dproducts), ("scales", scale), ("key", [both.strength, both.keyScale]),
            ]
        }

        var (sharp, dsharp) = (fresh(stride), vector(-1...1))
        kernels.sharpen(&sharp, usage, power: 2.5, epsilon: 1e-6, rows: rows, stride: stride)
        let power = kernels.sharpenGradient(&dsharp, usage, output: sharp, power: 2.5, epsilon: 1e-3, stride: stride)
        results += [("sharpened", sharp), ("dsharpened", dsharp), ("power", [power])]

        return results
    }
}
