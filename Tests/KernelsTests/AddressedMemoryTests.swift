// The kernels of addressed memories on every instruction set, against float64 and one another.

import Foundation
import Kernels
import TestSupport
import Testing

/// An addressed memory in float64, and what the kernels get.
private struct Case {
    let shape: AddressedMemoryShape
    var memory: [Float]
    var generator: SeededGenerator

    init(rows: Int, width: Int) {
        shape = AddressedMemoryShape(rows: rows, width: width)
        generator = SeededGenerator(seed: UInt64(rows * 100 + width))
        memory = []
        for _ in 0..<width { memory += padded(generator.floats(rows, -2...2)) }
    }

    /// With zeros behind the rows.
    func padded(_ values: [Float]) -> [Float] { values + [Float](repeating: 0, count: shape.stride - shape.rows) }

    /// Positive, for `count` heads.
    mutating func weights(_ count: Int) -> [Float] { (0..<count).flatMap { _ in padded(generator.floats(shape.rows, 0.01...1)) } }

    func element(_ row: Int, _ column: Int) -> Double { Double(memory[column * shape.stride + row]) }

    /// The sum of squares of a row.
    func squares(_ row: Int) -> Double { (0..<shape.width).reduce(0) { $0 + element(row, $1) * element(row, $1) } }
}

private let extents = [(1, 1), (5, 3), (16, 16), (17, 20), (64, 7), (128, 20), (200, 33)]

@Suite("Kernels of addressed memories")
struct AddressedMemoryTests {
    @Test("scores and norms", arguments: instructionSets)
    func scores(name: String) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            for keys in 1...6 {
                var one = Case(rows: rows, width: width)
                let values = one.generator.floats(keys * (width + 2), -2...2)
                let before = one.weights(keys)
                for accumulate in [false, true] {
                    var out = before
                    var norms = [Float](repeating: 7, count: one.shape.stride)
                    k.rowProducts(
                        &out, norms: &norms, memory: one.memory, vectors: values, vectorStride: width + 2, count: keys, isSquared: false,
                        accumulate: accumulate, one.shape)
                    var (expected, lengths) = ([Double](), [Double]())
                    for a in 0..<keys {
                        for i in 0..<one.shape.stride {
                            let sum = i < rows ? (0..<width).reduce(0) { $0 + Double(values[a * (width + 2) + $1]) * one.element(i, $1) } : 0
                            expected.append(sum + (accumulate ? Double(before[a * one.shape.stride + i]) : 0))
                        }
                    }
                    for i in 0..<one.shape.stride { lengths.append(i < rows ? one.squares(i).squareRoot() : 0) }
                    expectClose(out, expected, .relative(1e-5, floor: 1), "\(rows) x \(width), \(keys) keys")
                    expectClose(norms, lengths, .relative(1e-6, floor: 1), "norms")
                    var alone = before
                    k.rowProducts(
                        &alone, norms: nil, memory: one.memory, vectors: values, vectorStride: width + 2, count: keys, isSquared: false,
                        accumulate: accumulate, one.shape)
                    expectClose(alone, expected, .relative(1e-5, floor: 1), "without norms")
                    k.rowProducts(
                        &alone, norms: nil, memory: one.memory, vectors: values, vectorStride: width + 2, count: keys, isSquared: true,
                        accumulate: false, one.shape)
                    let squared = (0..<keys * one.shape.stride).map { place in
                        let (a, i) = (place / one.shape.stride, place % one.shape.stride)
                        return i < rows
                            ? (0..<width).reduce(0) { $0 + Double(values[a * (width + 2) + $1]) * one.element(i, $1) * one.element(i, $1) } : 0
                    }
                    expectClose(alone, squared, .relative(1e-5, floor: 1), "of squares")
                }
            }
        }
    }

    @Test("reads and writes", arguments: instructionSets)
    func readsAndWrites(name: String) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            for heads in 1...5 {
                var one = Case(rows: rows, width: width)
                let weights = one.weights(heads)
                let (erase, add) = (one.generator.floats(heads * width, 0...1), one.generator.floats(heads * width))
                var reads = [Float](repeating: 7, count: heads * (width + 1))
                k.rowSums(
                    &reads, outStride: width + 1, memory: one.memory, weights: weights, count: heads, isSquared: false, one.shape)
                var squares = [Float](repeating: 7, count: heads * width)
                k.rowSums(&squares, outStride: width, memory: one.memory, weights: weights, count: heads, isSquared: true, one.shape)
                for r in 0..<heads {
                    let expected = (0..<width).map { w in
                        (0..<rows).reduce(0) { $0 + Double(weights[r * one.shape.stride + $1]) * one.element($1, w) }
                    }
                    expectClose(Array(reads[r * (width + 1)..<r * (width + 1) + width]), expected, .relative(1e-5, floor: 1), "reads")
                    let squared = (0..<width).map { w in
                        (0..<rows).reduce(0) { $0 + Double(weights[r * one.shape.stride + $1]) * one.element($1, w) * one.element($1, w) }
                    }
                    expectClose(Array(squares[r * width..<(r + 1) * width]), squared, .relative(1e-5, floor: 1), "reads of squares")
                }
                var next = [Float](repeating: 7, count: one.shape.count)
                k.writeRows(
                    &next, inverseNorms: nil, epsilon: 0, memory: one.memory, weights: weights, erase: erase, add: add, count: heads, retention: nil,
                    one.shape)
                var expected: [Double] = []
                for w in 0..<width {
                    for i in 0..<one.shape.stride {
                        var m = i < rows ? one.element(i, w) : 0
                        for h in 0..<heads { m *= 1 - Double(weights[h * one.shape.stride + i]) * Double(erase[h * width + w]) }
                        for h in 0..<heads { m += Double(weights[h * one.shape.stride + i]) * Double(add[h * width + w]) }
                        expected.append(m)
                    }
                }
                expectClose(next, expected, .relative(1e-6, floor: 1), "\(rows) x \(width), \(heads) heads")
                var inPlace = one.memory
                inPlace.withUnsafeMutableBufferPointer {
                    let memory = $0.baseAddress!
                    k.writeRows(
                        memory, inverseNorms: nil, epsilon: 0, memory: memory, weights: weights, erase: erase, add: add, count: heads, retention: nil,
                        one.shape)
                }
                #expect(inPlace == next)
            }
        }
    }

    @Test("writes with retention and norms, and their gradient", arguments: instructionSets, [1, 2, 3])
    func writes(name: String, count: Int) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            for isRetained in [false, true] {
                var one = Case(rows: rows, width: width)
                let stride = one.shape.stride
                let (weights, retention) = (one.weights(count), one.padded(one.generator.floats(rows, 0...1)))
                let (erase, add) = (one.generator.floats(count * width, 0...1), one.generator.floats(count * width))
                let slope = (0..<width).flatMap { _ in one.padded(one.generator.floats(rows)) }
                let (givenWeights, givenRetention) = (one.weights(count), one.weights(1))
                let what = "\(rows) x \(width), \(count) writes, retained \(isRetained)"
                func factor(_ h: Int, _ i: Int, _ w: Int) -> Double { 1 - Double(weights[h * stride + i]) * Double(erase[h * width + w]) }
                func factors(_ i: Int, _ w: Int, without: Int = -1) -> Double {
                    (0..<count).reduce(1) { $1 == without ? $0 : $0 * factor($1, i, w) }
                }
                func kept(_ i: Int) -> Double { isRetained ? Double(retention[i]) : 1 }
                var (next, squares) = ([Double](), [Double](repeating: 1e-6, count: rows))
                var (dM, dr) = ([Double](), givenRetention.map(Double.init))
                var (dw, de) = (givenWeights.map(Double.init), [Double](repeating: 0, count: count * width))
                var da = de
                for w in 0..<width {
                    for i in 0..<stride {
                        let (m, d) = (Double(one.memory[w * stride + i]), Double(slope[w * stride + i]))
                        var value = m * kept(i) * factors(i, w)
                        for h in 0..<count {
                            let v = Double(weights[h * stride + i])
                            value += v * Double(add[h * width + w])
                            let others = d * m * kept(i) * factors(i, w, without: h)
                            dw[h * stride + i] += d * Double(add[h * width + w]) - others * Double(erase[h * width + w])
                            de[h * width + w] -= others * v
                            da[h * width + w] += d * v
                        }
                        next.append(value)
                        if i < rows { squares[i] += value * value }
                        dM.append(d * kept(i) * factors(i, w))
                        if isRetained { dr[i] += d * m * factors(i, w) }
                    }
                }
                var (out, norms) = ([Float](repeating: 7, count: one.shape.count), [Float](repeating: 7, count: stride))
                var (gradient, weightGradient, retentionGradient) = (slope, givenWeights, givenRetention)
                var (eraseGradient, addGradient) = ([Float](repeating: 7, count: count * width), [Float](repeating: 7, count: count * width))
                retention.withUnsafeBufferPointer { retention in
                    retentionGradient.withUnsafeMutableBufferPointer { retentionGradient in
                        k.writeRows(
                            &out, inverseNorms: &norms, epsilon: 1e-6, memory: one.memory, weights: weights, erase: erase, add: add, count: count,
                            retention: isRetained ? retention.baseAddress : nil, one.shape)
                        k.writeRowsGradient(
                            &gradient, weightGradient: &weightGradient, eraseGradient: &eraseGradient, addGradient: &addGradient,
                            retentionGradient: isRetained ? retentionGradient.baseAddress : nil, memory: one.memory, weights: weights, erase: erase,
                            add: add, count: count, retention: isRetained ? retention.baseAddress : nil, one.shape)
                    }
                }
                expectClose(out, next, .relative(1e-6, floor: 1), what)
                expectClose(Array(norms[0..<rows]), squares.map { 1 / $0.squareRoot() }, .relative(1e-5, floor: 1e-3), "norms, \(what)")
                expectClose(gradient, dM, .relative(1e-6, floor: 1), "gradient of the memory, \(what)")
                expectClose(weightGradient, dw, .relative(1e-5, floor: 1), "of the weights, \(what)")
                expectClose(eraseGradient, de, .relative(1e-5, floor: 1), "of erase, \(what)")
                expectClose(addGradient, da, .relative(1e-5, floor: 1), "of add, \(what)")
                expectClose(retentionGradient, dr, .relative(1e-5, floor: 1), "of retention, \(what)")
            }
        }
    }

    @Test("outer products", arguments: instructionSets)
    func outerProducts(name: String) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            var one = Case(rows: rows, width: width)
            let stride = one.shape.stride
            let (first, second, scale) = (one.weights(3), one.weights(2), one.weights(1))
            let (left, other) = (one.generator.floats(3 * (width + 1)), one.generator.floats(2 * width))
            let start = one.memory.map { $0 * 0.5 + 0.25 }
            var (sum, scaled, plain) = (start, start, start)
            left.withUnsafeBufferPointer { l in
                first.withUnsafeBufferPointer { r in
                    other.withUnsafeBufferPointer { l2 in
                        second.withUnsafeBufferPointer { r2 in
                            let a = OuterProducts(l.baseAddress!, leftStride: width + 1, r.baseAddress!, count: 3)
                            let b = OuterProducts(l2.baseAddress!, leftStride: width, r2.baseAddress!, count: 2)
                            k.addOuterProducts(&sum, memory: one.memory, rowScale: scale, a, b, one.shape)
                            k.addOuterProducts(&plain, memory: one.memory, rowScale: nil, b, nil, one.shape)
                            k.addScaledOuterProducts(&scaled, memory: one.memory, a, one.shape)
                        }
                    }
                }
            }
            func products(_ l: [Float], _ leftStride: Int, _ r: [Float], _ count: Int, _ w: Int, _ i: Int) -> Double {
                (0..<count).reduce(0) { $0 + Double(l[$1 * leftStride + w]) * Double(r[$1 * stride + i]) }
            }
            func all(_ body: (_ w: Int, _ i: Int, _ memory: Double) -> Double) -> [Double] {
                (0..<one.shape.count).map { Double(start[$0]) + body($0 / stride, $0 % stride, Double(one.memory[$0])) }
            }
            let what = "\(rows) x \(width)"
            expectClose(
                sum, all { w, i, m in m * Double(scale[i]) + products(left, width + 1, first, 3, w, i) + products(other, width, second, 2, w, i) },
                .relative(2e-6, floor: 1), what)
            expectClose(plain, all { w, i, _ in products(other, width, second, 2, w, i) }, .relative(2e-6, floor: 1), what)
            expectClose(scaled, all { w, i, m in m * products(left, width + 1, first, 3, w, i) }, .relative(2e-6, floor: 1), what)
        }
    }

    @Test("a weight of one that erases all stores the value itself", arguments: instructionSets)
    func replaces(name: String) throws {
        let k = try kernelSet(name)
        let one = Case(rows: 9, width: 4)
        var weights = [Float](repeating: 0, count: one.shape.stride)
        weights[6] = 1
        let add: [Float] = [0.1, -1e-7, 12345.678, 3]
        var next = one.memory
        k.writeRows(
            &next, inverseNorms: nil, epsilon: 0, memory: one.memory, weights: weights, erase: [1, 1, 1, 1], add: add, count: 1, retention: nil,
            one.shape)
        for w in 0..<4 { for i in 0..<9 { #expect(next[w * one.shape.stride + i] == (i == 6 ? add[w] : one.memory[w * one.shape.stride + i])) } }
        k.writeRows(
            &next, inverseNorms: nil, epsilon: 0, memory: one.memory, weights: weights, erase: [0, 0, 0, 0], add: add, count: 1, retention: nil,
            one.shape)
        for w in 0..<4 { #expect(next[w * one.shape.stride + 6] == one.memory[w * one.shape.stride + 6] + add[w]) }
    }

    /// The weights of a head from given numbers, with everything on the way.
    private func address(
        _ k: any KernelSet, _ one: Case, _ addressing: HeadAddressing, numbers: [Float], previous: [Float]
    ) -> (results: [Float], steps: [[Float]], norms: [Float], keyNorm: Float) {
        var results = [Float](repeating: 0, count: numbers.count)
        let keyNorm = k.headNumbers(&results, numbers, addressing, width: one.shape.width)
        var norms = [Float](repeating: 0, count: one.shape.stride)
        var steps = [[Float]](repeating: [Float](repeating: 0, count: one.shape.stride), count: 4)
        k.rowProducts(
            &steps[0], norms: &norms, memory: one.memory, vectors: results, vectorStride: 0, count: 1, isSquared: false, accumulate: false, one.shape)
        let scratch = GuardedMemory(addressing.scratchCount(one.shape))
        withSteps(&steps) {
            k.headWeights($0, previous: previous, norms: norms, keyNorm: keyNorm, numbers: results, addressing, scratch: scratch.pointer, one.shape)
        }
        scratch.expectIntact("headWeights")
        return (results, steps, norms, keyNorm)
    }

    private func withSteps(_ steps: inout [[Float]], _ body: (AddressingSteps) -> Void) {
        var (cosine, content, shifted, weights) = (steps[0], steps[1], steps[2], steps[3])
        cosine.withUnsafeMutableBufferPointer { a in
            content.withUnsafeMutableBufferPointer { b in
                shifted.withUnsafeMutableBufferPointer { c in
                    weights.withUnsafeMutableBufferPointer { d in
                        body(AddressingSteps(cosine: a.baseAddress!, content: b.baseAddress!, shifted: c.baseAddress!, weights: d.baseAddress!))
                    }
                }
            }
        }
        steps = [cosine, content, shifted, weights]
    }

    @Test("shift and sharpening of the worked example", arguments: instructionSets)
    func workedExample(name: String) throws {
        let k = try kernelSet(name)
        let addressing = HeadAddressing(lowestShift: -1, shifts: 3, epsilon: 1e-6, limit: .infinity, squashesKeys: false, squashesAdditions: false)
        let one = Case(rows: 4, width: 2)
        let previous = one.padded([0.1, 0.7, 0.2, 0])
        // Key, strength, a closed gate, shifts of .1, .8 and .1 by their logarithms, sharpness 1 and 3.
        let logarithms: [Float] = [-2.302_585_1, -0.223_143_55, -2.302_585_1]
        for (sharpness, expected) in [(-200 as Float, [0.15, 0.59, 0.23, 0.03]), (1.854_586_6, [0.015_275, 0.929_535, 0.055_067, 0.000_122])] {
            let numbers: [Float] = [1, 0, 0, -200] + logarithms + [sharpness]
            let weights = address(k, one, addressing, numbers: numbers, previous: previous).steps[3]
            expectClose(weights, expected + [Double](repeating: 0, count: 12), .relative(2e-6, floor: 1), "sharpness \(sharpness)")
        }
    }

    @Test("weights of heads", arguments: instructionSets)
    func weights(name: String) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            for (lowest, shifts) in [(-1, 3), (0, 2), (-3, 5)] {
                var one = Case(rows: rows, width: width)
                let addressing = HeadAddressing(
                    lowestShift: lowest, shifts: shifts, epsilon: 1e-3, limit: 2.5, squashesKeys: shifts == 2, squashesAdditions: false)
                let numbers = one.generator.floats(addressing.numbers(width: width), -3...3)
                let previous = one.weights(1)
                let x = numbers.map { min(max(Double($0), -2.5), 2.5) }
                func softplus(_ x: Double) -> Double { log1p(exp(x)) }
                let key = x[0..<width].map { shifts == 2 ? tanh($0) : $0 }
                let (strength, gate, sharpness) = (softplus(x[width]), 1 / (1 + exp(-x[width + 1])), 1 + softplus(x[width + 2 + shifts]))
                let raised = x[width + 2..<width + 2 + shifts].map { exp($0) }
                let shift = raised.map { $0 / raised.reduce(0, +) }
                let keyNorm = key.reduce(0) { $0 + $1 * $1 }.squareRoot()
                let scores = (0..<rows).map { i in
                    let product = (0..<width).reduce(0) { $0 + key[$1] * one.element(i, $1) }
                    return exp(strength * product / (keyNorm * one.squares(i).squareRoot() + 1e-3))
                }
                let total = scores.reduce(0, +)
                let gated = (0..<rows).map { gate * scores[$0] / total + (1 - gate) * Double(previous[$0]) }
                let moved = (0..<rows).map { i in
                    (0..<shifts).reduce(0) { $0 + shift[$1] * gated[(((i - lowest - $1) % rows) + rows) % rows] }
                }
                let sharp = moved.map { pow(max($0, 1e-16), sharpness) }
                let sum = sharp.reduce(0, +)
                let expected = sharp.map { $0 / sum } + [Double](repeating: 0, count: one.shape.stride - rows)
                let result = address(k, one, addressing, numbers: numbers, previous: previous)
                expectClose(result.steps[3], expected, .relative(2e-5, floor: 1e-2), "\(rows) x \(width), shifts from \(lowest)")
            }
        }
    }

    /// That the gradients are right is tested on the tape; here that all instruction sets have the same ones.
    @Test("gradients are those of the smallest instruction set", arguments: instructionSets.dropFirst())
    func gradients(name: String) throws {
        let sets = [Kernels.available[0], try kernelSet(name)]
        for (rows, width) in extents {
            for heads in 1...3 {
                var one = Case(rows: rows, width: width)
                let addressing = HeadAddressing(
                    lowestShift: -1, shifts: 3, epsilon: 1e-3, limit: 2.5, squashesKeys: heads == 2, squashesAdditions: heads == 1)
                let numbers = one.generator.floats(addressing.numbers(width: width), -3...3)
                let (weights, factors, scales) = (one.weights(heads), one.weights(heads), one.weights(1))
                let (erase, add) = (one.generator.floats(heads * width, 0.1...0.9), one.generator.floats(heads * width, -0.9...0.9))
                let left = one.generator.floats(heads * width)
                let results = sets.map { k -> [Float] in
                    var all: [Float] = []
                    var (eraseGradient, addGradient) = (left, left)
                    k.writeVectorsGradient(
                        eraseGradient: &eraseGradient, addGradient: &addGradient, numbers: left, additions: left, erase: erase, add: add, addressing,
                        width: heads * width)
                    all += eraseGradient + addGradient
                    var forward = address(k, one, addressing, numbers: numbers, previous: Array(weights[0..<one.shape.stride]))
                    var (headGradient, keyFactors) = (Array(factors[0..<one.shape.stride]), [Float](repeating: 0, count: one.shape.stride))
                    var (rowScale, numberGradient) = (scales, [Float](repeating: 0.5, count: numbers.count))
                    let scratch = GuardedMemory(addressing.scratchCount(one.shape))
                    withSteps(&forward.steps) {
                        let keyDecay = k.headWeightsGradient(
                            weightGradient: &headGradient, keyFactors: &keyFactors, rowScale: &rowScale, numberGradient: &numberGradient, $0,
                            previous: weights, norms: forward.norms, keyNorm: forward.keyNorm, numbers: forward.results, addressing,
                            scratch: scratch.pointer, one.shape)
                        all.append(keyDecay)
                    }
                    scratch.expectIntact("headWeightsGradient")
                    k.headNumbersGradient(&numberGradient, numbers: numbers, results: forward.results, addressing, width: width)
                    return all + headGradient[0..<rows] + keyFactors[0..<rows] + rowScale[0..<rows] + numberGradient
                }
                expectClose(results[1], results[0].map { Double($0) }, .relative(1e-4, floor: 1), "\(rows) x \(width), \(heads) heads")
            }
        }
    }
}
