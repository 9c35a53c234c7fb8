// The update rules against PyTorch's, their state, and what a configuration may say.

import Diagnostics
import Foundation
import Kernels
import Optimizers
import Testing

/// Golden/optimizers.json, made by Golden/optimizers.py.
private struct Golden: Decodable {
    struct Options: Decodable {
        var betas: [Double]?
        var epsilon: Double?
        var weightDecay: Double?
        var momentum: Double?
        var nesterov: Bool?
        var smoothing: Double?
        var initialAccumulator: Double?
    }
    struct Case: Decodable {
        var kind: OptimizerKind
        var learningRate: Double
        var options: Options
        var values: [[Float]]

        var configuration: OptimizerConfiguration {
            OptimizerConfiguration(
                kind: kind, learningRate: learningRate, betas: options.betas ?? [0.9, 0.999], epsilon: options.epsilon,
                weightDecay: options.weightDecay,
                momentum: options.momentum ?? 0, nesterov: options.nesterov ?? false, smoothing: options.smoothing ?? 0.99,
                initialAccumulator: options.initialAccumulator ?? 0)
        }
    }
    var decaying: Int
    var initial: [Float]
    var gradients: [[Float]]
    var cases: [Case]

    static func load() throws -> Golden {
        let url = try #require(Bundle.module.url(forResource: "optimizers", withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode(Golden.self, from: Data(contentsOf: url))
    }
}

@Suite("Optimizers")
struct OptimizerTests {
    /// The largest error and its place, relative to the largest magnitude that the parameter had so far: a parameter that crosses zero keeps the
    /// rounding errors of where it was.
    private func worst(_ actual: [Float], _ expected: [Float], scales: [Float]) -> (error: Double, index: Int) {
        var result = (error: 0.0, index: 0)
        for index in actual.indices {
            let error = abs(Double(actual[index]) - Double(expected[index])) / Double(scales[index])
            if !(error <= result.error) { result = (error, index) }
        }
        return result
    }

    @Test("every rule writes a bfloat16 copy of the ranges it updates", arguments: OptimizerKind.allCases)
    func lowPrecision(kind: OptimizerKind) throws {
        let (count, ranges) = (40, [ParameterRange(offset: 3, count: 7, decays: true), ParameterRange(offset: 20, count: 18, decays: false)])
        let optimizer = try makeOptimizer(OptimizerConfiguration(kind: kind, learningRate: 0.1, weightDecay: 0.1), parameterCount: count)
        var values = (0..<count).map { Float($0) * 0.37 - 5 }
        let gradients = values.map { $0 * $0 - 1 }
        var copy = [UInt16](repeating: 7, count: count)
        optimizer.step(
            values: &values, gradients: gradients, ranges: ranges, learningRate: 0.1, gradientScale: 0.5, step: 1, lowPrecision: &copy)
        var rounded = [UInt16](repeating: 0, count: count)
        rounded.withUnsafeMutableBufferPointer { rounded in
            values.withUnsafeBufferPointer { values in
                guard let target = rounded.baseAddress, let source = values.baseAddress else { return }
                Kernels.active.convert(Elements(target, .bfloat16), Elements(source), count)
            }
        }
        for index in 0..<count {
            let isUpdated = ranges.contains { ($0.offset..<$0.offset + $0.count).contains(index) }
            #expect(copy[index] == (isUpdated ? rounded[index] : 7))
        }
    }

    @Test("ten steps equal PyTorch's", arguments: 0..<9)
    func golden(index: Int) throws {
        let golden = try Golden.load()
        #expect(golden.cases.count == 9)
        let expected = golden.cases[index]
        let count = golden.initial.count
        let optimizer = try makeOptimizer(expected.configuration, parameterCount: count)
        let ranges = [
            ParameterRange(offset: 0, count: golden.decaying, decays: true),
            ParameterRange(offset: golden.decaying, count: count - golden.decaying, decays: false),
        ]
        var values = golden.initial
        var scales = golden.initial.map(abs)
        for (step, gradient) in golden.gradients.enumerated() {
            // The scale undoes a division, as that by the token count does.
            let scaled = gradient.map { $0 * 8 }
            optimizer.step(
                values: &values, gradients: scaled, ranges: ranges, learningRate: expected.configuration.learningRate, gradientScale: 0.125,
                step: step + 1)
            #expect(expected.values[step].count == count)
            scales = zip(scales, expected.values[step]).map { max($0, abs($1)) }
            let (error, place) = worst(values, expected.values[step], scales: scales)
            #expect(
                error < 1e-6,
                "\(expected.kind), step \(step + 1): parameter \(place) is \(values[place]), expected \(expected.values[step][place]): \(error)")
        }
    }

    @Test("state that is saved and restored goes on bit for bit", arguments: 0..<9)
    func restore(index: Int) throws {
        let golden = try Golden.load()
        let configuration = golden.cases[index].configuration
        let count = golden.initial.count
        let ranges = [ParameterRange(offset: 0, count: count, decays: true)]
        let first = try makeOptimizer(configuration, parameterCount: count)
        let second = try makeOptimizer(configuration, parameterCount: count)
        var values = golden.initial
        func run(_ optimizer: any Optimizer, _ steps: Range<Int>, _ values: inout [Float]) {
            for step in steps {
                optimizer.step(
                    values: &values, gradients: golden.gradients[step], ranges: ranges, learningRate: 0.01, gradientScale: 1, step: step + 1)
            }
        }
        run(first, 0..<5, &values)
        var resumed = values
        #expect(first.slots.map(\.name) == second.slots.map(\.name))
        for (from, to) in zip(first.slots, second.slots) {
            #expect(from.buffer.count == count)
            _ = to.buffer.update(from: from.buffer)
        }
        run(first, 5..<10, &values)
        run(second, 5..<10, &resumed)
        #expect(values.map(\.bitPattern) == resumed.map(\.bitPattern))
    }

    @Test("a table learns at its own rate, decay and all, and the rest as before", arguments: OptimizerKind.allCases)
    func tableRate(kind: OptimizerKind) throws {
        let count = 40
        let gradients = (0..<count).map { Float($0) * 0.1 - 1.7 }
        func run(learningRate: Double, tableRate: Double, isTable: Bool) throws -> [Float] {
            var configuration = OptimizerConfiguration(kind: kind, weightDecay: 0.1)
            configuration.tableRate = tableRate
            let optimizer = try makeOptimizer(configuration, parameterCount: count)
            var values = (0..<count).map { Float($0) * 0.37 - 5 }
            let ranges = [ParameterRange(offset: 0, count: 20, decays: true, isTable: isTable), ParameterRange(offset: 20, count: 20, decays: true)]
            for step in 1...3 { optimizer.step(values: &values, gradients: gradients, ranges: ranges, learningRate: learningRate, gradientScale: 1, step: step) }
            return values
        }
        let (slow, fast) = (try run(learningRate: 0.01, tableRate: 1, isTable: false), try run(learningRate: 0.04, tableRate: 1, isTable: false))
        let mixed = try run(learningRate: 0.01, tableRate: 4, isTable: true)
        #expect(mixed == Array(fast.prefix(20)) + slow.suffix(20) && slow != fast)
        #expect(try run(learningRate: 0.01, tableRate: 4, isTable: false) == slow)
    }

    @Test("slots have stable names")
    func slots() throws {
        func names(_ kind: OptimizerKind, momentum: Double = 0) throws -> [String] {
            try makeOptimizer(OptimizerConfiguration(kind: kind, momentum: momentum), parameterCount: 3).slots.map(\.name)
        }
        #expect(try names(.adamw) == ["first_moment", "second_moment"])
        #expect(try names(.sgd) == [])
        #expect(try names(.sgd, momentum: 0.9) == ["momentum"])
        #expect(try names(.rmsprop) == ["squared_average"])
        #expect(try names(.rmsprop, momentum: 0.9) == ["squared_average", "momentum"])
        #expect(try names(.adagrad) == ["squared_sum"])
    }

    @Test("parameters outside the ranges stay, and pieces equal the whole", arguments: OptimizerKind.allCases)
    func ranges(kind: OptimizerKind) throws {
        let count = 100
        let initial = (0..<count).map { Float($0) * 0.01 - 0.3 }
        let gradient = (0..<count).map { Float($0 % 7) - 3 }
        let configuration = OptimizerConfiguration(kind: kind, momentum: 0.5)
        func run(_ ranges: [ParameterRange]) throws -> [Float] {
            let optimizer = try makeOptimizer(configuration, parameterCount: count)
            var values = initial
            for step in 1...3 {
                optimizer.step(values: &values, gradients: gradient, ranges: ranges, learningRate: 0.01, gradientScale: 1, step: step)
            }
            return values
        }
        let whole = try run([ParameterRange(offset: 0, count: count, decays: true)])
        let pieces = try run([(0, 13), (13, 50), (63, 37)].map { ParameterRange(offset: $0.0, count: $0.1, decays: true) })
        #expect(whole == pieces)
        let part = try run([ParameterRange(offset: 20, count: 30, decays: true)])
        #expect(Array(part[..<20]) == Array(initial[..<20]))
        #expect(Array(part[20..<50]) == Array(whole[20..<50]))
        #expect(Array(part[50...]) == Array(initial[50...]))
    }

    @Test("the default of each rule is PyTorch's")
    func defaults() {
        let adamw = OptimizerConfiguration()
        #expect(
            adamw.kind == .adamw && adamw.learningRate == 1e-3 && adamw.epsilon == 1e-8 && adamw.weightDecay == 0.01 && adamw.betas == [0.9, 0.999])
        let adagrad = OptimizerConfiguration(kind: .adagrad)
        #expect(adagrad.learningRate == 1e-2 && adagrad.epsilon == 1e-10 && adagrad.weightDecay == 0)
        #expect(OptimizerConfiguration(kind: .rmsprop).learningRate == 1e-2)
        #expect(OptimizerConfiguration(kind: .sgd).learningRate == 1e-3)
    }

    @Test("a value out of range is named")
    func validation() throws {
        var wrong: [(String, OptimizerConfiguration)] = [
            ("learningRate", OptimizerConfiguration(learningRate: 0)), ("learningRate", OptimizerConfiguration(learningRate: .nan)),
            ("betas", OptimizerConfiguration(betas: [0.9])), ("betas", OptimizerConfiguration(betas: [0.9, 1])),
            ("epsilon", OptimizerConfiguration(epsilon: -1)), ("weightDecay", OptimizerConfiguration(weightDecay: -0.1)),
            ("momentum", OptimizerConfiguration(kind: .sgd, momentum: 1)), ("nesterov", OptimizerConfiguration(kind: .sgd, nesterov: true)),
            ("smoothing", OptimizerConfiguration(kind: .rmsprop, smoothing: 1.5)),
            ("initialAccumulator", OptimizerConfiguration(kind: .adagrad, initialAccumulator: -1)),
        ]
        wrong.append(("clip", OptimizerConfiguration(clip: -.infinity)))
        for (key, configuration) in wrong {
            let error = #expect(throws: UserError.self) { try makeOptimizer(configuration, parameterCount: 1) }
            #expect(error?.exitCode == .configuration)
            #expect(error?.place == "optimizer.\(key)")
        }
        for kind in OptimizerKind.allCases { try OptimizerConfiguration(kind: kind).validate() }
    }
}

@Suite("Clipping")
struct ClippingTests {
    @Test("the norm and the factor")
    func norm() {
        let gradients: [Float] = [3, 0, -4, 0, 12]
        gradients.withUnsafeBufferPointer {
            #expect(gradientNorm(of: $0) == 13)
            #expect(gradientNorm(of: $0, scale: 0.5) == 6.5)
            #expect(gradientSquares(of: $0, parts: [0..<$0.count]) == [169])
        }
        #expect(gradientNorm(of: UnsafeBufferPointer(start: nil, count: 0)) == 0)
        #expect(clipFactor(norm: 13, clip: 0) == 1)
        #expect(clipFactor(norm: 0.5, clip: 1) == 1)
        #expect(clipFactor(norm: 4, clip: 1) == 1 / 4.000001)
        #expect(clipFactor(norm: 0, clip: 1) == 1)
    }

    @Test("NaN and infinity show in the norm")
    func notFinite() {
        for (bad, isNaN) in [(Float.nan, true), (.infinity, false)] {
            var gradients = [Float](repeating: 1, count: 77)
            gradients[70] = bad
            let norm = gradients.withUnsafeBufferPointer { gradientNorm(of: $0) }
            #expect(isNaN ? norm.isNaN : norm == .infinity)
            #expect(isNaN ? clipFactor(norm: norm, clip: 1).isNaN : clipFactor(norm: norm, clip: 1) == 0)
        }
    }
}
