// The kernels of addressed memories on every instruction set, against float64 and one another.

import Foundation
import Kernels
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
            for keys in 1...4 {
                var one = Case(rows: rows, width: width)
                let values = one.generator.floats(keys * (width + 2), -2...2)
                let before = one.weights(keys)
                for accumulate in [false, true] {
                    var out = before
                    var norms = [Float](repeating: 7, count: one.shape.stride)
                    k.memoryScores(
                        &out, norms: &norms, memory: one.memory, keys: values, keyStride: width + 2, keyCount: keys, accumulate: accumulate,
                        one.shape)
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
                    k.memoryScores(
                        &alone, norms: nil, memory: one.memory, keys: values, keyStride: width + 2, keyCount: keys, accumulate: accumulate, one.shape)
                    expectClose(alone, expected, .relative(1e-5, floor: 1), "without norms")
                }
            }
        }
    }

    @Test("reads and writes", arguments: instructionSets)
    func readsAndWrites(name: String) throws {
        let k = try kernelSet(name)
        for (rows, width) in extents {
            for heads in 1...3 {
                var one = Case(rows: rows, width: width)
                let weights = one.weights(heads)
                let (erase, add) = (one.generator.floats(heads * width, 0...1), one.generator.floats(heads * width))
                var reads = [Float](repeating: 7, count: heads * (width + 1))
                k.memoryReads(&reads, outStride: width + 1, memory: one.memory, weights: weights, count: heads, one.shape)
                for r in 0..<heads {
                    let expected = (0..<width).map { w in
                        (0..<rows).reduce(0) { $0 + Double(weights[r * one.shape.stride + $1]) * one.element($1, w) }
                    }
                    expectClose(Array(reads[r * (width + 1)..<r * (width + 1) + width]), expected, .relative(1e-5, floor: 1), "reads")
                }
                var next = [Float](repeating: 7, count: one.shape.count)
                k.memoryWrite(&next, memory: one.memory, weights: weights, erase: erase, add: add, count: heads, one.shape)
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
                    k.memoryWrite(memory, memory: memory, weights: weights, erase: erase, add: add, count: heads, one.shape)
                }
                #expect(inPlace == next)
            }
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
        k.memoryWrite(&next, memory: one.memory, weights: weights, erase: [1, 1, 1, 1], add: add, count: 1, one.shape)
        for w in 0..<4 { for i in 0..<9 { #expect(next[w * one.shape.stride + i] == (i == 6 ? add[w] : one.memory[w * one.shape.stride + i])) } }
        k.memoryWrite(&next, memory: one.memory, weights: weights, erase: [0, 0, 0, 0], add: add, count: 1, one.shape)
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
        k.memoryScores(&steps[0], norms: &norms, memory: one.memory, keys: results, keyStride: 0, keyCount: 1, accumulate: false, one.shape)
        var scratch = [Float](repeating: .nan, count: 3 * (one.shape.stride + 96))
        withSteps(&steps) {
            k.headWeights($0, previous: previous, norms: norms, keyNorm: keyNorm, numbers: results, addressing, scratch: &scratch, one.shape)
        }
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
                let (weights, factors, decay) = (one.weights(heads), one.weights(heads), one.weights(1))
                let (erase, add) = (one.generator.floats(heads * width, 0.1...0.9), one.generator.floats(heads * width, -0.9...0.9))
                let (slopes, left) = (one.generator.floats(one.shape.count), one.generator.floats(heads * width))
                let results = sets.map { k -> [Float] in
                    var all: [Float] = []
                    var weightGradient = factors
                    var (eraseGradient, addGradient) = ([Float](repeating: 0, count: heads * width), [Float](repeating: 0, count: heads * width))
                    k.memoryWriteGradient(
                        weightGradient: &weightGradient, eraseGradient: &eraseGradient, addGradient: &addGradient, gradient: slopes,
                        memory: one.memory, weights: weights, erase: erase, add: add, count: heads, one.shape)
                    all += weightGradient + eraseGradient + addGradient
                    k.writeVectorsGradient(
                        eraseGradient: &eraseGradient, addGradient: &addGradient, numbers: left, additions: left, erase: erase, add: add, addressing,
                        width: heads * width)
                    all += eraseGradient + addGradient
                    var memoryGradient = slopes
                    left.withUnsafeBufferPointer { l in
                        factors.withUnsafeBufferPointer { r in
                            let products = OuterProducts(l.baseAddress!, leftStride: width, r.baseAddress!, count: heads)
                            k.memoryGradient(
                                &memoryGradient, memory: one.memory, weights: weights, erase: erase, count: heads, decay: decay, products,
                                OuterProducts(l.baseAddress!, leftStride: width, r.baseAddress!, count: 1), one.shape)
                        }
                    }
                    all += memoryGradient
                    var forward = address(k, one, addressing, numbers: numbers, previous: Array(weights[0..<one.shape.stride]))
                    var (headGradient, keyFactors) = (Array(factors[0..<one.shape.stride]), [Float](repeating: 0, count: one.shape.stride))
                    var (rowDecay, numberGradient) = (decay, [Float](repeating: 0.5, count: numbers.count))
                    var scratch = [Float](repeating: .nan, count: 3 * (one.shape.stride + 96))
                    withSteps(&forward.steps) {
                        let keyDecay = k.headWeightsGradient(
                            weightGradient: &headGradient, keyFactors: &keyFactors, decay: &rowDecay, numberGradient: &numberGradient, $0,
                            previous: weights, norms: forward.norms, keyNorm: forward.keyNorm, numbers: forward.results, addressing,
                            scratch: &scratch, one.shape)
                        all.append(keyDecay)
                    }
                    k.headNumbersGradient(&numberGradient, numbers: numbers, results: forward.results, addressing, width: width)
                    return all + headGradient[0..<rows] + keyFactors[0..<rows] + rowDecay[0..<rows] + numberGradient
                }
                expectClose(results[1], results[0].map { Double($0) }, .relative(1e-4, floor: 1), "\(rows) x \(width), \(heads) heads")
            }
        }
    }
}
