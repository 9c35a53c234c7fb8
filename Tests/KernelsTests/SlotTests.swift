// Slots of memory that are bags of table rows, and attention of one query, against float64 on every instruction set.

import Foundation
import Kernels
import TestSupport
import Testing

/// softmax(scores) with `empty` more scores of 0 in the sum.
private func softmax(_ scores: [Double], empty: Int = 0) -> [Double] {
    let largest = max(scores.max() ?? 0, empty > 0 ? 0 : -.infinity)
    let e = scores.map { exp($0 - largest) }
    let total = e.reduce(0, +) + Double(empty) * exp(-largest)
    return e.map { $0 / total }
}

@Suite("Slots and single queries")
struct SlotTests {
    @Test("attention of one query", arguments: instructionSets)
    func attendRow(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 51)
        for (n, size) in [(0, 16), (1, 1), (3, 7), (17, 64), (40, 100), (200, 33)] {
            let (keyStride, valueStride) = (size + 3, size + 5)
            let (query, keys, values) = (generator.floats(size), generator.floats(n * keyStride), generator.floats(n * valueStride))
            let (hq, hk, hv) = (bfloat16(query), bfloat16(keys), bfloat16(values))
            func expected(_ q: [Float], _ keys: [Float], _ values: [Float]) -> [Double] {
                let scores = (0..<n).map { j in (0..<size).reduce(0) { $0 + 0.3 * Double(q[$1]) * Double(keys[j * keyStride + $1]) } }
                let p = softmax(scores)
                return (0..<size).map { c in (0..<n).reduce(0) { $0 + p[$1] * Double(values[$1 * valueStride + c]) } }
            }
            let scratch = GuardedMemory(n + size)
            var (out, half) = ([Float](repeating: 7, count: size), [UInt16](repeating: 7, count: size))
            k.attendRow(
                &out, query: query, keys: keys, keyStride: keyStride, values: values, valueStride: valueStride, scale: 0.3, scratch: scratch.pointer,
                keyCount: n, headSize: size)
            expectClose(out, expected(query, keys, values), .relative(1e-5, floor: 1), "\(n) keys of \(size)")
            k.attendRow(
                &half, query: hq, keys: hk, keyStride: keyStride, values: hv, valueStride: valueStride, scale: 0.3, scratch: scratch.pointer,
                keyCount: n, headSize: size)
            expectBFloat16(half, expected(widened(hq), widened(hk), widened(hv)), floor: 1e-5, "\(n) keys of \(size)")
            scratch.expectIntact("attendRow")
        }
    }

    @Test("sums over bags of rows and their gradient", arguments: instructionSets, [16, 32, 48])
    func bags(name: String, width: Int) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: UInt64(52 + width))
        for tables in [1, 2, 3] {
            let (size, bags, weightCount, span) = (9, 6, 4, tables * width)
            let (tableStride, outStride) = (span + 16, span + 32)
            let counts = [0, 1, 2, 3, 7, 5]
            let offsets = counts.reduce(into: [Int32(0)]) { $0.append($0[$0.count - 1] + Int32($1)) }
            let entries = counts.reduce(0, +)
            let rows = (0..<entries).map { _ in Int32.random(in: 0..<Int32(size), using: &generator) }
            let weightRows = (0..<entries).map { _ in Int32.random(in: 0..<Int32(weightCount), using: &generator) }
            let (weights, table) = (generator.floats(weightCount * width), generator.floats(size * tableStride))
            var out = [Float](repeating: 7, count: bags * outStride)
            k.bagSums(
                &out, outStride: outStride, table: table, tableStride: tableStride, rows: rows, weightRows: weightRows, offsets: offsets,
                weights: weights, bags: bags, tables: tables, width: width)
            let slope = generator.floats(bags * outStride)
            var gradient = table
            k.bagSumsGradient(
                &gradient, tableStride: tableStride, outGradient: slope, outStride: outStride, rows: rows, weightRows: weightRows, offsets: offsets,
                weights: weights, bags: bags, tables: tables, width: width)
            var (sums, slopes) = ([Double](repeating: 7, count: bags * outStride), table.map(Double.init))
            for b in 0..<bags {
                for place in 0..<span {
                    let c = place % width
                    sums[b * outStride + place] = 0
                    for i in Int(offsets[b])..<Int(offsets[b + 1]) {
                        let weight = Double(weights[Int(weightRows[i]) * width + c])
                        sums[b * outStride + place] += weight * Double(table[Int(rows[i]) * tableStride + place])
                        slopes[Int(rows[i]) * tableStride + place] += weight * Double(slope[b * outStride + place])
                    }
                }
            }
            expectClose(out, sums, .relative(2e-6, floor: 1), "\(tables) tables of \(width)")
            expectClose(gradient, slopes, .relative(2e-6, floor: 1), "gradient, \(tables) tables of \(width)")
        }
    }

    @Test("reading slots and its gradient", arguments: instructionSets, [false, true])
    func slots(name: String, isLinear: Bool) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 53)
        for (n, width, empty) in [(1, 16, 0), (5, 32, 0), (5, 32, 3), (50, 48, 10), (17, 112, 0)] {
            let stride = width + 16
            let (query, keys, values) = (generator.floats(width, -1...1), generator.floats(n * stride), generator.floats(n * stride))
            let (start, slope) = (generator.floats(width), generator.floats(width))
            let scores = (0..<n).map { j in (0..<width).reduce(0) { $0 + Double(query[$1]) * Double(keys[j * stride + $1]) } }
            let p = isLinear ? scores : softmax(scores, empty: empty)
            var (out, probability) = (start, [Float](repeating: 7, count: n))
            k.readSlots(
                &out, probability: &probability, query: query, keys: keys, values: values, stride: stride, isLinear: isLinear, slots: n,
                emptySlots: empty, width: width)
            let what = "\(n) slots of \(width), \(empty) empty, linear \(isLinear)"
            expectClose(probability, p, .relative(1e-5, floor: isLinear ? 1 : 1e-3), "probability, \(what)")
            let read = (0..<width).map { c in Double(start[c]) + (0..<n).reduce(0) { $0 + p[$1] * Double(values[$1 * stride + c]) } }
            expectClose(out, read, .relative(1e-5, floor: isLinear ? 10 : 1), what)

            let q = probability.map(Double.init)
            let dp = (0..<n).map { j in (0..<width).reduce(0) { $0 + Double(slope[$1]) * Double(values[j * stride + $1]) } }
            let inner = zip(q, dp).reduce(0) { $0 + $1.0 * $1.1 }
            let ds = isLinear ? dp : (0..<n).map { q[$0] * (dp[$0] - inner) }
            for accumulates in [false, true] {
                let scratch = GuardedMemory(n)
                let (givenKeys, givenValues) = (generator.floats(n * stride), generator.floats(n * stride))
                var (dQuery, dKeys, dValues) = (start, givenKeys, givenValues)
                k.readSlotsGradient(
                    &dQuery, keyGradient: &dKeys, accumulateKeys: accumulates, valueGradient: &dValues, accumulateValues: !accumulates,
                    outGradient: slope, probability: probability, scratch: scratch.pointer, query: query, keys: keys, values: values, stride: stride,
                    isLinear: isLinear, slots: n, width: width)
                scratch.expectIntact("readSlotsGradient")
                func spread(_ given: [Float], _ weights: [Double], _ row: [Float], _ accumulates: Bool) -> [Double] {
                    given.indices.map { place in
                        let (j, c) = (place / stride, place % stride)
                        return c < width ? weights[j] * Double(row[c]) + (accumulates ? Double(given[place]) : 0) : Double(given[place])
                    }
                }
                expectClose(dKeys, spread(givenKeys, ds, query, accumulates), .relative(2e-5, floor: 1), "keys, \(what)")
                expectClose(dValues, spread(givenValues, q, slope, !accumulates), .relative(2e-5, floor: 1), "values, \(what)")
                let expected = (0..<width).map { c in Double(start[c]) + (0..<n).reduce(0) { $0 + ds[$1] * Double(keys[$1 * stride + c]) } }
                expectClose(dQuery, expected, .relative(2e-5, floor: isLinear ? 10 : 1), "query, \(what)")
            }
        }
    }

    @Test("inverse roots", arguments: instructionSets)
    func inverseRoots(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 54)
        for n in sizes {
            let a = generator.floats(n, 0...9)
            var out = [Float](repeating: 7, count: n)
            k.inverseRoots(&out, a, epsilon: 1e-6, n)
            expectClose(out, a.map { 1 / (Double($0) + 1e-6).squareRoot() }, .ulps(3), "n = \(n)")
        }
    }

    @Test("what a head erases and adds", arguments: instructionSets, [false, true])
    func writeVectors(name: String, squashes: Bool) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 55)
        let addressing = HeadAddressing(lowestShift: 0, shifts: 1, epsilon: 0, limit: 2, squashesKeys: false, squashesAdditions: squashes)
        for n in sizes {
            let (numbers, additions) = (generator.floats(n), generator.floats(n))
            var (erase, add) = ([Float](repeating: 7, count: n), [Float](repeating: 7, count: n))
            k.writeVectors(erase: &erase, add: &add, numbers: numbers, additions: additions, addressing, width: n)
            func cut(_ x: Float) -> Double { Double(min(max(x, -2), 2)) }
            expectClose(erase, numbers.map { 1 / (1 + exp(-cut($0))) }, .relative(1e-6, floor: 0.1), "erase, n = \(n)")
            expectClose(add, additions.map { squashes ? tanh(cut($0)) : cut($0) }, .relative(1e-6, floor: 0.1), "add, n = \(n)")
            let (ge, ga) = (generator.floats(n), generator.floats(n))
            var (de, da) = (ge, ga)
            k.writeVectorsGradient(
                eraseGradient: &de, addGradient: &da, numbers: numbers, additions: additions, erase: erase, add: add, addressing, width: n)
            expectClose(
                de, (0..<n).map { abs(numbers[$0]) > 2 ? 0 : Double(ge[$0]) * Double(erase[$0]) * (1 - Double(erase[$0])) },
                .relative(2e-6, floor: 0.1), "gradient of erase, n = \(n)")
            expectClose(
                da, (0..<n).map { abs(additions[$0]) > 2 ? 0 : Double(ga[$0]) * (squashes ? 1 - Double(add[$0]) * Double(add[$0]) : 1) },
                .relative(2e-6, floor: 0.1), "gradient of add, n = \(n)")
        }
    }
}
