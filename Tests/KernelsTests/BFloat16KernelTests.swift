// Kernels on bfloat16 against naive twins in float64, on every instruction set. Where a kernel has a float32 form, which has its own twin, the
// bfloat16 form must also give that form's result on the widened numbers, rounded once, bit for bit.

import Foundation
import Kernels
import Testing

/// Shapes around the vector widths and blocks of rows.
private let shapes = [(1, 1), (3, 7), (5, 16), (65, 33), (33, 100), (2, 255), (200, 64), (0, 4), (17, 768)]

@Suite("Kernels on bfloat16")
struct BFloat16KernelTests {
    @Test("conversion rounds any pattern correctly, at any size and alignment", arguments: instructionSets)
    func conversion(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 31)
        let special: [UInt32] = [
            0x7F80_0000, 0xFF80_0000, 0x7FFF_FFFF, 0xFFFF_FFFF, 0x7F80_0001, 0x7F7F_8000, 0x0000_8000, 0x8000_0001, 0x3F80_8000, 0x3F81_8000,
        ]
        let random = (0..<4000).map { _ in UInt32.random(in: 0...UInt32.max, using: &generator) }
        let a = (special + random).map { Float(bitPattern: $0) }
        for n in sizes {
            for shift in [0, 1, 3, 8, 13] {
                let part = Array(a[shift..<shift + n])
                var out = [UInt16](repeating: 7, count: n + shift)
                var back = [Float](repeating: 7, count: n + shift)
                a.withUnsafeBufferPointer { a in
                    out.withUnsafeMutableBufferPointer { out in
                        k.convert(out.baseAddress.unsafelyUnwrapped + shift, a.baseAddress.unsafelyUnwrapped + shift, n)
                    }
                }
                out.withUnsafeBufferPointer { out in
                    back.withUnsafeMutableBufferPointer { back in
                        k.convert(back.baseAddress.unsafelyUnwrapped + shift, out.baseAddress.unsafelyUnwrapped + shift, n)
                    }
                }
                #expect(out == [UInt16](repeating: 7, count: shift) + bfloat16(part), "n = \(n), shift \(shift)")
                #expect(patterns(Array(back[shift...])) == bfloat16(part).map { UInt32($0) << 16 }, "n = \(n), shift \(shift)")
            }
        }
        var all = [UInt16](repeating: 0, count: a.count)
        k.convert(&all, a, a.count)
        #expect(all == bfloat16(a))
    }

    @Test("sums of two arrays", arguments: instructionSets)
    func add(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 32)
        for n in sizes {
            let (a, b) = (generator.floats(n), generator.floats(n))
            let (ha, hb) = (bfloat16(a), bfloat16(b))
            let (wa, wb) = (widened(ha), widened(hb))
            var out = [Float](repeating: 0, count: n)
            var half = [UInt16](repeating: 0, count: n)
            k.add(&out, a, hb, n)
            #expect(out == zip(a, wb).map { $0 + $1 })
            k.add(&out, ha, hb, n)
            #expect(out == zip(wa, wb).map { $0 + $1 })
            k.add(&half, ha, hb, n)
            #expect(half == zip(wa, wb).map { bfloat16($0 + $1) })
            k.add(&half, ha, b, n)
            #expect(half == zip(wa, b).map { bfloat16($0 + $1) })
            k.add(&half, b, ha, n)
            #expect(half == zip(wa, b).map { bfloat16($0 + $1) })
            k.add(&out, ha, b, n)
            #expect(out == zip(wa, b).map { $0 + $1 })
            var place = ha
            place.withUnsafeMutableBufferPointer { p in
                guard let base = p.baseAddress else { return }
                k.add(base, UnsafePointer(base), hb, n)
            }
            #expect(place == zip(wa, wb).map { bfloat16($0 + $1) })
        }
    }

    @Test("row kernels equal their naive twins", arguments: instructionSets)
    func rows(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 33)
        let gelu = UnaryFunction.geluTanh.reference
        for (rows, columns) in shapes {
            let n = rows * columns
            let what = "\(rows) x \(columns)"
            let (ha, hd) = (bfloat16(generator.floats(n)), bfloat16(generator.floats(n)))
            let (a, d) = (widened(ha), widened(hd))
            let row = generator.floats(columns)
            var half = [UInt16](repeating: 0, count: n)
            var whole = [Float](repeating: 0, count: n)
            let sums = (0..<n).map { a[$0] + row[$0 % columns] }

            k.addRowRectifier(&half, ha, row: row, rows: rows, columns: columns)
            #expect(half == sums.map { bfloat16(max(0, $0)) }, "addRowRectifier \(what)")
            k.addRowRectifier(&whole, a, row: row, rows: rows, columns: columns)
            #expect(whole == sums.map { max(0, $0) }, "addRowRectifier \(what)")
            let output = whole
            k.rectifierGradient(&whole, outputGradient: d, output: output, n)
            #expect(whole == zip(d, output).map { $1 > 0 ? $0 : 0 }, "rectifierGradient \(what)")
            k.rectifierGradient(&half, outputGradient: hd, output: bfloat16(output), n)
            #expect(half == zip(hd, bfloat16(output)).map { $1 > 0 && $1 < 0x8000 ? $0 : 0 }, "rectifierGradient \(what)")

            k.addRowGELU(&half, ha, row: row, rows: rows, columns: columns)
            expectBFloat16(half, sums.map { gelu(Double($0)) }, floor: 1e-6, "addRowGELU \(what)")
            k.addRowGELU(&whole, a, row: row, rows: rows, columns: columns)
            #expect(half == bfloat16(whole))
            k.addRowGELUGradient(&half, outputGradient: hd, ha, row: row, rows: rows, columns: columns)
            expectBFloat16(half, (0..<n).map { Double(d[$0]) * slope(at: Double(sums[$0]), gelu) }, floor: 1e-5, "addRowGELUGradient \(what)")
            k.addRowGELUGradient(&whole, outputGradient: d, a, row: row, rows: rows, columns: columns)
            #expect(half == bfloat16(whole))

            var columnSums = row
            k.accumulateColumnSums(&columnSums, ha, rows: rows, columns: columns)
            let expected = (0..<columns).map { c in (0..<rows).reduce(Double(row[c])) { $0 + Double(a[$1 * columns + c]) } }
            expectClose(columnSums, expected, .relative(2e-6, floor: 4), "accumulateColumnSums \(what)")
            var same = row
            k.accumulateColumnSums(&same, a, rows: rows, columns: columns)
            #expect(patterns(same) == patterns(columnSums))
        }
    }

    @Test("rectifier and GELU keep NaN", arguments: instructionSets)
    func notANumber(name: String) throws {
        let k = try kernelSet(name)
        let a = [UInt16](repeating: 0x7FC0, count: 19)
        let row = [Float](repeating: 0, count: 19)
        var out = [UInt16](repeating: 0, count: 19)
        k.addRowRectifier(&out, a, row: row, rows: 1, columns: 19)
        #expect(widened(out).allSatisfy { $0.isNaN })
        k.addRowGELU(&out, a, row: row, rows: 1, columns: 19)
        #expect(widened(out).allSatisfy { $0.isNaN })
        k.addRowGELUGradient(&out, outputGradient: a, a, row: row, rows: 1, columns: 19)
        #expect(widened(out).allSatisfy { $0.isNaN })
    }

    @Test("dropout is float32's, rounded, with the same masks", arguments: instructionSets)
    func dropout(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 35)
        let keep = UInt32(0.7 * 4_294_967_296)
        for n in sizes {
            for first: UInt64 in [0, 1, 999] {
                let (ha, hr) = (bfloat16(generator.floats(n)), bfloat16(generator.floats(n)))
                let (a, r) = (widened(ha), widened(hr))
                var dropped = [Float](repeating: 0, count: n)
                k.dropout(&dropped, a, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                var half = [UInt16](repeating: 0, count: n)
                k.dropout(&half, a, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(half == bfloat16(dropped))
                k.dropout(&half, ha, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(half == bfloat16(dropped))
                var whole = [Float](repeating: 0, count: n)
                k.dropout(&whole, ha, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(whole == dropped)
                let sums = zip(r, dropped).map { $0 + $1 }
                var out = [Float](repeating: 0, count: n)
                k.addDropout(&out, r, a, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(out == sums)
                k.addDropout(&out, r, ha, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(out == sums)
                k.addDropout(&out, hr, a, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(out == sums)
                k.addDropout(&out, hr, ha, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(out == sums)
                k.addDropout(&half, hr, ha, key: 5, first: first, keepThreshold: keep, scale: 1.25, n)
                #expect(half == bfloat16(sums))
            }
        }
    }

    @Test("normalisation equals the naive twin", arguments: instructionSets)
    func normalization(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 36)
        for (rows, columns) in shapes {
            let n = rows * columns
            let what = "\(rows) x \(columns)"
            let a = generator.floats(n)
            let (gain, bias) = (generator.floats(columns), generator.floats(columns))
            var half = [UInt16](repeating: 0, count: n)
            var (whole, mean, scale) = ([Float](repeating: 0, count: n), [Float](repeating: 0, count: rows), [Float](repeating: 0, count: rows))
            for useBias in [true, false] {
                var expected: [Double] = []
                for r in 0..<rows {
                    let x = (0..<columns).map { Double(a[r * columns + $0]) }
                    let m = x.reduce(0, +) / Double(columns)
                    let variance = x.reduce(0) { $0 + ($1 - m) * ($1 - m) } / Double(columns)
                    for c in 0..<columns {
                        expected.append((x[c] - m) / (variance + 1e-5).squareRoot() * Double(gain[c]) + (useBias ? Double(bias[c]) : 0))
                    }
                }
                gain.withUnsafeBufferPointer { g in
                    bias.withUnsafeBufferPointer { b in
                        let bias = useBias ? b.baseAddress : nil
                        guard let gain = g.baseAddress else { return }
                        k.layerNorm(
                            &half, mean: &mean, reciprocalDeviation: &scale, a, gain: gain, bias: bias, epsilon: 1e-5, rows: rows, columns: columns)
                        k.layerNorm(
                            &whole, mean: &mean, reciprocalDeviation: &scale, a, gain: gain, bias: bias, epsilon: 1e-5, rows: rows, columns: columns)
                    }
                }
                expectBFloat16(half, expected, floor: 4e-6, "layerNorm \(what)")
                #expect(half == bfloat16(whole), "layerNorm \(what)")
            }
            k.rmsNorm(&half, reciprocalRoot: &scale, a, gain: gain, epsilon: 1e-5, rows: rows, columns: columns)
            k.rmsNorm(&whole, reciprocalRoot: &scale, a, gain: gain, epsilon: 1e-5, rows: rows, columns: columns)
            #expect(half == bfloat16(whole), "rmsNorm \(what)")
        }
    }

    @Test("gradients of normalisation are float32's on the widened numbers", arguments: instructionSets, [true, false])
    func normalizationGradients(name: String, accumulate: Bool) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 37)
        for (rows, columns) in shapes where rows > 0 {
            let n = rows * columns
            let (hd, a) = (bfloat16(generator.floats(n)), generator.floats(n))
            let d = widened(hd)
            let (gain, mean, scale) = (generator.floats(columns), generator.floats(rows), generator.floats(rows, 0.5...2))
            let start = generator.floats(n)
            var results: [[UInt32]] = []
            for isRounded in [false, true] {
                var (dx, dGain, dBias) = (start, gain, gain)
                if isRounded {
                    k.layerNormGradient(
                        &dx, accumulate: accumulate, gainGradient: &dGain, biasGradient: &dBias, outputGradient: hd, a, gain: gain, mean: mean,
                        reciprocalDeviation: scale, rows: rows, columns: columns)
                } else {
                    k.layerNormGradient(
                        &dx, accumulate: accumulate, gainGradient: &dGain, biasGradient: &dBias, outputGradient: d, a, gain: gain, mean: mean,
                        reciprocalDeviation: scale, rows: rows, columns: columns)
                }
                results.append(patterns(dx + dGain + dBias))
            }
            #expect(results[1] == results[0], "layerNormGradient \(rows) x \(columns)")
            results = []
            for isRounded in [false, true] {
                var (dx, dGain) = (start, gain)
                if isRounded {
                    k.rmsNormGradient(
                        &dx, accumulate: accumulate, gainGradient: &dGain, outputGradient: hd, a, gain: gain, reciprocalRoot: scale, rows: rows,
                        columns: columns)
                } else {
                    k.rmsNormGradient(
                        &dx, accumulate: accumulate, gainGradient: &dGain, outputGradient: d, a, gain: gain, reciprocalRoot: scale, rows: rows,
                        columns: columns)
                }
                results.append(patterns(dx + dGain))
            }
            #expect(results[1] == results[0], "rmsNormGradient \(rows) x \(columns)")
        }
    }

    @Test("layer normalisation of rows far from zero, and of rows that begin far from the others", arguments: instructionSets)
    func offsets(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 38)
        for columns in [2, 16, 100, 768, 5000] {
            for (offset, head) in [(Float(0), Float(1000)), (1000, 0), (-300, 1e5), (0, 3)] {
                var a = generator.floats(columns).map { $0 + offset }
                a[0] += head
                let m = a.reduce(0.0) { $0 + Double($1) } / Double(columns)
                let variance = a.reduce(0.0) { $0 + (Double($1) - m) * (Double($1) - m) } / Double(columns)
                let gain = [Float](repeating: 1, count: columns)
                var (out, mean, scale) = ([Float](repeating: 0, count: columns), [Float(0)], [Float(0)])
                k.layerNorm(&out, mean: &mean, reciprocalDeviation: &scale, a, gain: gain, bias: nil, epsilon: 1e-5, rows: 1, columns: columns)
                let size = a.reduce(0.0) { $0 + abs(Double($1)) } / Double(columns)
                expectClose(mean, [m], .relative(3e-7, floor: max(1, size)), "mean, \(columns) columns, offset \(offset), head \(head)")
                let deviation = (variance + 1e-5).squareRoot()
                expectClose(scale, [1 / deviation], .relative(5e-6, floor: 1e-30), "deviation, \(columns) columns, \(offset), \(head)")
            }
        }
    }
}
