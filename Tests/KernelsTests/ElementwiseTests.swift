// Elementwise kernels against naive twins, on every instruction set.

import Foundation
import Kernels
import Testing

@Suite("Elementwise kernels")
struct ElementwiseTests {
    @Test("arithmetic equals the naive twin", arguments: instructionSets)
    func arithmetic(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 1)
        for n in sizes {
            let a = generator.floats(n)
            let b = generator.floats(n, 0.5...2)
            let start = generator.floats(n)
            var out = start
            func check(_ what: String, _ ulps: Double = 0.5, _ expected: (Int) -> Double) {
                expectClose(out, (0..<n).map(expected), .relative(ulps * 1.2e-7, floor: 1), "\(what), n = \(n)")
                out = start
            }
            k.fill(&out, 2.5, n)
            check("fill") { _ in 2.5 }
            k.add(&out, a, b, n)
            check("add") { Double(a[$0]) + Double(b[$0]) }
            k.subtract(&out, a, b, n)
            check("subtract") { Double(a[$0]) - Double(b[$0]) }
            k.multiply(&out, a, b, n)
            check("multiply") { Double(a[$0]) * Double(b[$0]) }
            k.divide(&out, a, b, n)
            check("divide") { Double(a[$0]) / Double(b[$0]) }
            k.addProduct(&out, a, b, n)
            check("addProduct", 8) { Double(start[$0]) + Double(a[$0]) * Double(b[$0]) }
            k.affine(&out, a, scale: 1.5, offset: -0.25, n)
            check("affine", 8) { 1.5 * Double(a[$0]) - 0.25 }
            k.addScaled(&out, a, scale: -0.75, n)
            check("addScaled", 8) { Double(start[$0]) - 0.75 * Double(a[$0]) }
            k.clamp(&out, a, lower: -1, upper: 0.5, n)
            check("clamp") { min(max(Double(a[$0]), -1), 0.5) }
        }
    }

    @Test("functions stay within their ulp bounds", arguments: instructionSets, UnaryFunction.allCases)
    func accuracy(name: String, function: UnaryFunction) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 2)
        let (range, ulps) = function.accuracy
        // Half of the arguments uniform, half uniform in the exponent, so that small and large ones have their share.
        var a = generator.floats(20_000, range)
        while a.count < 40_000 {
            let x = Float(bitPattern: UInt32.random(in: 0...UInt32.max, using: &generator))
            if range.contains(x) && abs(x) > 1e-30 { a.append(x) }
        }
        if function == .squareRoot { a = a.map(abs) }
        if function == .sine || function == .cosine { a = a.filter { abs(function.reference(Double($0))) > 0x1p-12 } }
        if function == .softplus || function == .sigmoid { a = a.filter { $0 > -86 } }
        var out = [Float](repeating: 0, count: a.count)
        k.unary(function, &out, a, a.count)
        expectClose(out, a.map { function.reference(Double($0)) }, .ulps(ulps), "\(function)", inputs: a)
    }

    @Test("functions keep their limits", arguments: instructionSets)
    func limits(name: String) throws {
        let k = try kernelSet(name)
        let a: [Float] = [.infinity, -.infinity, .nan, 0, -0.0, 1e30, -1e30, 1e-40, -1e-40]
        func values(_ function: UnaryFunction) -> [Float] {
            var out = [Float](repeating: 7, count: a.count)
            k.unary(function, &out, a, a.count)
            return out
        }
        func expectLimits(_ function: UnaryFunction, _ expected: [Double]) {
            expectClose(values(function), expected, .relative(2e-7, floor: 1e-30), "\(function)", inputs: a)
        }
        let inf = Double.infinity
        let tiny = Double(Float(1e-40))
        expectLimits(.exponential, [inf, 0, .nan, 1, 1, inf, 0, 1, 1])
        expectLimits(.logarithm, [inf, .nan, .nan, -inf, -inf, log(Double(Float(1e30))), .nan, log(tiny), .nan])
        expectLimits(.hyperbolicTangent, [1, -1, .nan, 0, 0, 1, -1, tiny, -tiny])
        expectLimits(.sigmoid, [1, 0, .nan, 0.5, 0.5, 1, 0, 0.5, 0.5])
        expectLimits(.softplus, [inf, 0, .nan, log(2), log(2), Double(Float(1e30)), 0, log(2), log(2)])
        expectLimits(.geluTanh, [inf, 0, .nan, 0, 0, Double(Float(1e30)), 0, tiny / 2, -tiny / 2])
        expectLimits(.gelu, [inf, 0, .nan, 0, 0, Double(Float(1e30)), 0, tiny / 2, -tiny / 2])
        expectLimits(.rectifier, [inf, 0, .nan, 0, 0, Double(Float(1e30)), 0, tiny, 0])
        expectLimits(.sine, [.nan, .nan, .nan, 0, 0, sin(Double(Float(1e30))), -sin(Double(Float(1e30))), tiny, -tiny])
        expectLimits(.cosine, [.nan, .nan, .nan, 1, 1, cos(Double(Float(1e30))), cos(Double(Float(1e30))), 1, 1])
        #expect(values(.hyperbolicTangent)[4].sign == .minus)
        #expect(values(.sine)[4].sign == .minus)
    }

    @Test("sine and cosine of large arguments", arguments: instructionSets)
    func largeAngles(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 3)
        let a = generator.floats(5000, -8192...8192) + generator.floats(5000, -1e6...1e6)
        for function in [UnaryFunction.sine, .cosine] {
            var out = [Float](repeating: 0, count: a.count)
            k.unary(function, &out, a, a.count)
            expectClose(out, a.map { function.reference(Double($0)) }, .relative(2.5e-7, floor: 1e-3), "\(function)", inputs: a)
        }
    }

    @Test(
        "an element's result depends neither on n, nor on alignment, nor on where the output is", arguments: instructionSets, UnaryFunction.allCases)
    func independence(name: String, function: UnaryFunction) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 4)
        let a = generator.floats(300, function.smoothRange) + [20_000, .nan, .infinity]
        var whole = [Float](repeating: 0, count: a.count)
        k.unary(function, &whole, a, a.count)
        for shift in 0..<17 {
            for n in [1, 5, 16, 37, a.count - shift] {
                var part = [Float](repeating: 0, count: n)
                a.withUnsafeBufferPointer { k.unary(function, &part, $0.baseAddress.unsafelyUnwrapped + shift, n) }
                #expect(patterns(part) == patterns(Array(whole[shift..<shift + n])), "shift \(shift), n = \(n)")
            }
        }
        var inPlace = a
        inPlace.withUnsafeMutableBufferPointer {
            k.unary(function, $0.baseAddress.unsafelyUnwrapped, UnsafePointer($0.baseAddress.unsafelyUnwrapped), a.count)
        }
        #expect(patterns(inPlace) == patterns(whole))
    }

    @Test("gradients equal central differences", arguments: instructionSets, UnaryFunction.allCases)
    func gradients(name: String, function: UnaryFunction) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 5)
        for n in sizes {
            let a = generator.floats(n, function.smoothRange)
            let outputGradient = generator.floats(n)
            let start = generator.floats(n)
            var output = [Float](repeating: 0, count: n)
            var gradient = start
            k.unary(function, &output, a, n)
            k.unaryGradient(function, &gradient, outputGradient: outputGradient, input: a, output: output, n)
            let expected = (0..<n).map { Double(start[$0]) + Double(outputGradient[$0]) * slope(at: Double(a[$0]), function.reference) }
            expectClose(gradient, expected, .relative(3e-6, floor: 1), "\(function), n = \(n)", inputs: a)
        }
    }

    @Test("gradients at the ends of the range are finite", arguments: instructionSets)
    func gradientLimits(name: String) throws {
        let k = try kernelSet(name)
        let a: [Float] = [1e30, -1e30, .infinity, -.infinity]
        let ones = [Float](repeating: 1, count: 4)
        for function in [UnaryFunction.geluTanh, .gelu, .softplus, .sigmoid, .hyperbolicTangent] {
            var output = ones
            var gradient = [Float](repeating: 0, count: 4)
            k.unary(function, &output, a, 4)
            k.unaryGradient(function, &gradient, outputGradient: ones, input: a, output: output, 4)
            let top: Double = function == .sigmoid || function == .hyperbolicTangent ? 0 : 1
            expectClose(gradient, [top, 0, top, 0], .relative(1e-7, floor: 1), "\(function)", inputs: a)
        }
    }

    @Test("row kernels equal the naive twin", arguments: instructionSets)
    func rows(name: String) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 6)
        let gelu = UnaryFunction.geluTanh.reference
        for (rows, columns) in [(1, 1), (3, 7), (5, 16), (65, 33), (130, 100), (2, 255), (200, 64), (0, 4)] {
            let n = rows * columns
            let a = generator.floats(n)
            let row = generator.floats(columns)
            let dy = generator.floats(n)
            var out = [Float](repeating: 0, count: n)
            var sums = row
            k.accumulateColumnSums(&sums, a, rows: rows, columns: columns)
            let expected = (0..<columns).map { c in (0..<rows).reduce(Double(row[c])) { $0 + Double(a[$1 * columns + c]) } }
            expectClose(sums, expected, .relative(2e-6, floor: 4), "accumulateColumnSums \(rows) x \(columns)")
            k.addRowGELU(&out, a, row: row, rows: rows, columns: columns)
            expectClose(out, (0..<n).map { gelu(Double(a[$0] + row[$0 % columns])) }, .relative(1e-6, floor: 0.1), "addRowGELU")
            k.addRowGELUGradient(&out, outputGradient: dy, a, row: row, rows: rows, columns: columns)
            let slopes = (0..<n).map { Double(dy[$0]) * slope(at: Double(a[$0] + row[$0 % columns]), gelu) }
            expectClose(out, slopes, .relative(2e-6, floor: 1), "addRowGELUGradient")
        }
    }
}
