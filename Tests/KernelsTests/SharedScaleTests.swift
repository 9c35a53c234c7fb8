// Numbers of 8 bits that share a scale: their definition, the same bits on every instruction set, and the way into bytes and back.

import Foundation
import Kernels
import Testing

@Suite struct SharedScaleTests {
    /// Values of very different sizes from block to block, and some zeros.
    private func values(_ n: Int, seed: UInt64) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return generator.floats(n).enumerated().map { index, value in
            index % 7 == 3 ? 0 : value * Float(sign: .plus, exponent: (index / 32 * 37) % 200 - 100, significand: 1)
        }
    }

    /// The smallest power of two, at least 2^-126, of which no element is more than 127 times as large; 0 for zeros.
    private func scale(_ block: ArraySlice<Float>) -> Double {
        let largest = block.map { abs(Double($0)) }.max() ?? 0
        if largest == 0 { return 0 }
        var scale = 0x1p-126
        while largest / scale > 127 { scale *= 2 }
        return scale
    }

    private func forEachBlock(_ n: Int, _ body: (Range<Int>) -> Void) {
        for first in stride(from: 0, to: n, by: 32) { body(first..<min(n, first + 32)) }
    }

    @Test("nearest multiples, and what is lost", arguments: instructionSets)
    func nearest(name: String) throws {
        let kernels = try kernelSet(name)
        for n in sizes {
            let (given, before) = (values(n, seed: 1), values(n, seed: 2).map { $0 * 0.001 })
            var (rounded, residual, alone) = (given, before, given)
            kernels.roundBlocks(&rounded, residual: &residual, n)
            kernels.roundBlocks(&alone, residual: nil, n)
            forEachBlock(n) { block in
                let wanted = block.map { given[$0] + before[$0] }
                for (values, inputs) in [(rounded, wanted), (alone, Array(given[block]))] {
                    let scale = scale(inputs[...])
                    for (index, input) in zip(block, inputs) {
                        let expected = scale == 0 ? 0 : (Double(input) / scale).rounded(.toNearestOrEven) * scale
                        #expect(Double(values[index]) == expected, "element \(index) of \(n)")
                    }
                }
                for (index, input) in zip(block, wanted) { #expect(residual[index] == input - rounded[index]) }
            }
        }
    }

    @Test("sums at random: one of the two neighbouring multiples, with the right mean, and the same bits for a part of the elements", arguments: instructionSets)
    func sums(name: String) throws {
        let kernels = try kernelSet(name)
        for n in sizes {
            let (first, second) = (values(n, seed: 3), values(n, seed: 4))
            var sum = first
            kernels.addBlocks(&sum, second, key: 12345, first: 1000, n)
            forEachBlock(n) { block in
                let exact = block.map { first[$0] + second[$0] }
                let scale = scale(exact[...])
                for (index, value) in zip(block, exact) {
                    let (got, quotient) = (Double(sum[index]), scale == 0 ? 0 : Double(value) / scale)
                    #expect(got == quotient.rounded(.down) * scale || got == quotient.rounded(.up) * scale, "element \(index) of \(n)")
                }
            }
            guard n > 32 else { continue }
            var rest = Array(first[32...])
            kernels.addBlocks(&rest, Array(second[32...]), key: 12345, first: 1032, n - 32)
            #expect(rest.map(\.bitPattern) == sum[32...].map(\.bitPattern))
        }
        // 0.3 of a scale of 1 becomes 1 in three of ten cases; four standard deviations are allowed.
        let count = 31 * 1000
        var total: Float = 0
        for key in 0..<1000 {
            var sum = [Float](repeating: 0.3, count: 32)
            sum[0] = 100
            kernels.addBlocks(&sum, [Float](repeating: 0, count: 32), key: UInt32(key), first: 0, 32)
            total += sum[1...].reduce(0, +)
        }
        #expect(abs(Double(total) / Double(count) - 0.3) < 4 * (0.21 / Double(count)).squareRoot())
    }

    @Test("bytes and back, and every instruction set the same", arguments: instructionSets)
    func bytes(name: String) throws {
        let (kernels, baseline) = (try kernelSet(name), Kernels.available[0])
        for n in sizes {
            var (sum, expected) = (values(n, seed: 5), values(n, seed: 5))
            let other = values(n, seed: 6)
            kernels.addBlocks(&sum, other, key: 9, first: 3, n)
            baseline.addBlocks(&expected, other, key: 9, first: 3, n)
            #expect(sum.map(\.bitPattern) == expected.map(\.bitPattern))
            let size = n + (n + 31) / 32
            var packed = [UInt8](repeating: 0xAA, count: size + 8)
            kernels.packBlocks(&packed, sum, n)
            #expect(packed[size...].allSatisfy { $0 == 0xAA })
            var back = [Float](repeating: 7, count: n + 4)
            kernels.unpackBlocks(&back, packed, n)
            #expect(back[..<n].map { $0 == 0 ? 0 : $0.bitPattern } == sum.map { $0 == 0 ? 0 : $0.bitPattern } && back[n...].allSatisfy { $0 == 7 })
        }
    }

    @Test("a block with a number that is not finite is NaN, also from bytes, and leaves its residual", arguments: instructionSets)
    func notFinite(name: String) throws {
        let kernels = try kernelSet(name)
        for wrong in [Float.nan, .infinity, -.infinity] {
            var (values, residual) = (values(70, seed: 7), [Float](repeating: 0.25, count: 70))
            values[40] = wrong
            let given = values
            kernels.roundBlocks(&values, residual: &residual, 70)
            #expect(values.indices.allSatisfy { values[$0].isNaN == (32..<64).contains($0) })
            #expect(residual[32..<64].allSatisfy { $0 == 0.25 } && residual[..<32].contains { $0 != 0.25 })
            var sum = given
            kernels.addBlocks(&sum, [Float](repeating: 0, count: 70), key: 1, first: 0, 70)
            #expect(sum.indices.allSatisfy { sum[$0].isNaN == (32..<64).contains($0) })
            var packed = [UInt8](repeating: 0, count: 73)
            kernels.packBlocks(&packed, sum, 70)
            var back = [Float](repeating: 0, count: 70)
            kernels.unpackBlocks(&back, packed, 70)
            #expect(back.indices.allSatisfy { back[$0].isNaN == (32..<64).contains($0) })
        }
    }
}
