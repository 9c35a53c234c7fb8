// The kernels of a search among vectors: against plain loops in float64, and the same bits on every instruction set.

import Foundation
import Kernels
import Testing

@Suite struct SearchKernelTests {
    /// The documented order: element i goes to sum i mod 16.
    private func ordered(_ n: Int, _ term: (Int) -> Double) -> Double {
        var sums = [Double](repeating: 0, count: 16)
        for i in 0..<n { sums[i % 16] += term(i) }
        let s = (0..<8).map { sums[$0] + sums[$0 + 8] }
        return ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]))
    }

    private func elements(_ p: UnsafePointer<Float>) -> Elements { Elements(p) }
    private func elements(_ p: UnsafePointer<UInt16>) -> Elements { Elements(UnsafeMutableRawPointer(mutating: p), .bfloat16) }

    @Test("dot products and squared distances have the bits of their documented order", arguments: instructionSets)
    func exact(name: String) throws {
        let kernels = try kernelSet(name)
        var generator = SeededGenerator(seed: 1)
        for n in sizes + [24, 128, 129, 136, 300] {
            let (a, b) = (generator.floats(n), generator.floats(n))
            let rough = bfloat16(b)
            let coarse = widened(rough)
            #expect(kernels.exactDot(a, elements(b), n) == ordered(n) { Double(a[$0]) * Double(b[$0]) })
            #expect(kernels.exactDot(a, elements(rough), n) == ordered(n) { Double(a[$0]) * Double(coarse[$0]) })
            func square(_ b: [Float], _ i: Int) -> Double { (Double(a[i]) - Double(b[i])) * (Double(a[i]) - Double(b[i])) }
            #expect(kernels.exactSquaredDistance(a, elements(b), n) == ordered(n) { square(b, $0) })
            #expect(kernels.exactSquaredDistance(a, elements(rough), n) == ordered(n) { square(coarse, $0) })
        }
    }

    @Test("places and values of what reaches the threshold, in parts where there is no room", arguments: instructionSets)
    func select(name: String) throws {
        let kernels = try kernelSet(name)
        var generator = SeededGenerator(seed: 2)
        for n in sizes {
            var scores = generator.floats(n)
            for i in scores.indices where i % 11 == 4 { scores[i] = .nan }
            for i in scores.indices where i % 13 == 5 { scores[i] = 1.5 }
            let (scale, offset) = (generator.floats(n, 0.5...2), generator.floats(n).map { $0 > 2 ? -Float.infinity : $0 })
            for threshold: Float in [-.infinity, -1, 1.5, 2.9, .infinity] {
                for limit in [1, 5, 64, 2000] {
                    for isAdjusted in [false, true] {
                        let values: [Float] = (0..<n).map { isAdjusted ? scores[$0] * scale[$0] + offset[$0] : scores[$0] }
                        let wanted = (0..<n).filter { values[$0] >= threshold }
                        var found: [Int] = []
                        var first = 0
                        while true {
                            var places = [Int32](repeating: -7, count: limit + 1)
                            var kept = [Float](repeating: 0, count: limit + 1)
                            let (count, next) = scale.withUnsafeBufferPointer { scale in
                                offset.withUnsafeBufferPointer { offset in
                                    kernels.selectScores(
                                        &places, &kept, scores, scale: isAdjusted ? scale.baseAddress : nil, offset: isAdjusted ? offset.baseAddress : nil,
                                        threshold: threshold, first: first, limit: limit, n)
                                }
                            }
                            try #require(count <= limit && places[count...].allSatisfy { $0 == -7 })
                            for (place, value) in zip(places, kept).prefix(count) {
                                #expect(value == values[Int(place)])
                                found.append(Int(place))
                            }
                            if next == n { break }
                            try #require(count == limit && next > first - 1 && next < n)
                            first = next
                        }
                        #expect(found == wanted, "n \(n), threshold \(threshold), limit \(limit)")
                    }
                }
            }
        }
    }

    @Test("8 bits: the nearest step, and back without loss", arguments: instructionSets)
    func bytes(name: String) throws {
        let kernels = try kernelSet(name)
        var generator = SeededGenerator(seed: 3)
        for n in sizes {
            for factor: Float in [1, 1e-30, 1e-37, 1e30] {
                let values = generator.floats(n).map { $0 * factor }
                var bytes = [Int8](repeating: 99, count: n + 1)
                let scale = kernels.quantizeRow(&bytes, values, n)
                let largest = values.map { abs($0) }.max() ?? 0
                #expect(scale == (largest / 127 > 0x1p-120 ? largest / 127 : 0) && bytes[n] == 99)
                for i in 0..<n {
                    #expect(bytes[i] != -128)
                    if scale > 0 { #expect(abs(Double(bytes[i]) * Double(scale) - Double(values[i])) <= Double(scale) * 0.50001) } else { #expect(bytes[i] == 0) }
                }
                var (wide, half) = ([Float](repeating: 7, count: n + 1), [UInt16](repeating: 7, count: n + 1))
                wide.withUnsafeMutableBufferPointer { wide in
                    if let base = wide.baseAddress { kernels.widenBytes(Elements(UnsafePointer(base)), bytes, n) }
                }
                half.withUnsafeMutableBufferPointer { half in
                    if let base = half.baseAddress { kernels.widenBytes(Elements(UnsafeMutableRawPointer(base), .bfloat16), bytes, n) }
                }
                #expect(Array(wide[..<n]) == bytes[..<n].map { Float($0) } && wide[n] == 7)
                #expect(widened(Array(half[..<n])) == bytes[..<n].map { Float($0) } && half[n] == 7)
            }
        }
    }

    @Test("sums in fixed point do not depend on the order of rows", arguments: instructionSets)
    func fixedPoint(name: String) throws {
        let kernels = try kernelSet(name)
        var generator = SeededGenerator(seed: 4)
        for n in sizes {
            let rows = (0..<9).map { _ in generator.floats(n) }
            var (sums, backwards) = ([Int64](repeating: 0, count: n), [Int64](repeating: 0, count: n))
            for row in rows { kernels.addFixedPoint(&sums, row, scale: 0x1p48, n) }
            for row in rows.reversed() { kernels.addFixedPoint(&backwards, row, scale: 0x1p48, n) }
            #expect(sums == backwards)
            for i in 0..<n {
                #expect(sums[i] == rows.reduce(0) { $0 + Int64((Double($1[i]) * 0x1p48).rounded(.toNearestOrEven)) })
            }
        }
    }
}
