// Gradients that are rows: every rule, and the norm, give what the dense gradients with zeros give, bit for bit.

import Foundation
import Kernels
import Optimizers
import Testing

@Suite("Gradients of rows")
struct GradientRowsTests {
    /// A dense range, a table with rows, and a dense range, with gradients in both forms.
    private struct Case {
        var dense: [Float]
        /// As `dense`, NaN where the gradients are rows.
        var hidden: [Float]
        var numbers: [Int32]
        var values: [Float]
        let width: Int
        let ranges: [ParameterRange]

        init(size: Int, width: Int, touched: [Int], before: Int = 48, behind: Int = 100) {
            self.width = width
            let padded = (size * width + 15) / 16 * 16
            ranges = [
                ParameterRange(offset: 0, count: before, decays: false), ParameterRange(offset: before, count: size * width, decays: true),
                ParameterRange(offset: before + padded, count: behind, decays: true),
            ]
            var random = SeededNumbers(state: UInt64(size * 1000 + width + touched.count))
            dense = (0..<before).map { _ in random.next() } + [Float](repeating: 0, count: padded) + (0..<behind).map { _ in random.next() }
            hidden = dense
            numbers = touched.map { Int32($0) }
            values = (0..<touched.count * width).map { _ in random.next() }
            for index in 0..<size * width { hidden[before + index] = .nan }
            for (place, row) in touched.enumerated() {
                for column in 0..<width { dense[before + row * width + column] = values[place * width + column] }
            }
        }

        func withRanges<Result>(_ body: ([ParameterRange]) throws -> Result) rethrows -> Result {
            try numbers.withUnsafeBufferPointer { numbers in
                try values.withUnsafeBufferPointer { values in
                    var ranges = ranges
                    ranges[1].rows = GradientRows(numbers: numbers, values: values, width: width)
                    return try body(ranges)
                }
            }
        }

        static let all = [
            Case(size: 50, width: 7, touched: []), Case(size: 50, width: 7, touched: [0, 3, 4, 5, 49]), Case(size: 50, width: 7, touched: Array(0..<50)),
            Case(size: 3, width: 3000, touched: [1]), Case(size: 3, width: 3000, touched: [0, 2], before: 0, behind: 0),
            Case(size: 20_000, width: 8, touched: [17, 511, 512, 513, 8191, 8192, 12_000, 19_999]),
            Case(size: 4096, width: 64, touched: Array(stride(from: 5, to: 4096, by: 61)), before: 1000, behind: 5001),
            Case(size: 1, width: 1, touched: [0], before: 5, behind: 3),
        ]
    }

    private struct SeededNumbers {
        var state: UInt64
        mutating func next() -> Float {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Float(Int32(truncatingIfNeeded: state >> 32)) * 0x1p-31
        }
    }

    @Test("the norm is that of the dense gradients, of all and of one range", arguments: Case.all.indices)
    func norm(_ index: Int) {
        let one = Case.all[index]
        one.withRanges { ranges in
            one.dense.withUnsafeBufferPointer { dense in
                one.hidden.withUnsafeBufferPointer { hidden in
                    #expect(gradientNorm(of: hidden, ranges: ranges, scale: 0.3) == gradientNorm(of: dense, scale: 0.3))
                    let parts = one.ranges.map { $0.offset..<$0.offset + $0.count }
                    #expect(gradientSquares(of: hidden, ranges: ranges, parts: parts) == gradientSquares(of: dense, parts: parts))
                }
            }
        }
    }

    @Test("a row that is not finite shows in the norm")
    func notFinite() {
        var one = Case.all[1]
        one.values[9] = .infinity
        one.withRanges { ranges in one.hidden.withUnsafeBufferPointer { #expect(gradientNorm(of: $0, ranges: ranges) == .infinity) } }
    }

    @Test("every rule updates as with the dense gradients", arguments: Case.all.indices)
    func updates(_ index: Int) throws {
        let one = Case.all[index]
        for kind in OptimizerKind.allCases {
            for (momentum, decay) in [(0.0, 0.0), (0.9, 0.0), (0.0, 0.01), (0.9, 0.01)] {
                if momentum > 0, kind == .adamw || kind == .adagrad { continue }
                let configuration = OptimizerConfiguration(
                    kind: kind, learningRate: 0.1, weightDecay: decay, momentum: momentum, initialAccumulator: kind == .adagrad ? 0.1 : 0)
                let dense = try run(configuration, one.dense, one.ranges)
                let rows = try one.withRanges { try run(configuration, one.hidden, $0) }
                #expect(rows == dense, "\(kind), momentum \(momentum), weight decay \(decay)")
            }
        }
    }

    /// Bits of values, their copy and all state after three steps.
    private func run(_ configuration: OptimizerConfiguration, _ gradients: [Float], _ ranges: [ParameterRange]) throws -> [[UInt32]] {
        let count = gradients.count
        let optimizer = try makeOptimizer(configuration, parameterCount: count)
        var values = (0..<count).map { Float($0 % 101) * 0.02 - 1 }
        // Rounded to the nearest, halves to even.
        var copy = values.map { UInt16(truncatingIfNeeded: ($0.bitPattern + 0x7FFF + $0.bitPattern >> 16 & 1) >> 16) }
        copy.withUnsafeMutableBufferPointer { copy in
            values.withUnsafeMutableBufferPointer { values in
                gradients.withUnsafeBufferPointer { gradients in
                    guard let to = copy.baseAddress, let values = values.baseAddress, let from = gradients.baseAddress else { return }
                    for step in 1...3 {
                        optimizer.step(
                            values: values, gradients: from, ranges: ranges, learningRate: 0.1, gradientScale: 0.7, step: step, lowPrecision: to)
                    }
                }
            }
        }
        return [values.map(\.bitPattern), copy.map { UInt32($0) }] + optimizer.slots.map { $0.buffer.map(\.bitPattern) }
    }
}
