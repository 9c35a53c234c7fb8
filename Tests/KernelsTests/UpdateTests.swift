// The update rules against naive twins in float64, on every instruction set.

import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Update rules")
struct UpdateTests {
    /// Three steps of a rule by the kernel and by its naive twin; compares values and state.
    private func compare(
        _ name: String, _ what: String, _ settings: (Int) -> UpdateSettings,
        kernel: (any KernelSet, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, [Float], UpdateSettings, Int)
            -> Void,
        twin: (inout Double, inout Double, inout Double, Double, UpdateSettings) -> Void
    ) throws {
        let k = try kernelSet(name)
        var generator = SeededGenerator(seed: 21)
        for n in sizes {
            var value = generator.floats(n)
            var first = [Float](repeating: 0, count: n)
            var second = first
            var wideValue = value.map(Double.init)
            var wideFirst = first.map(Double.init)
            var wideSecond = wideFirst
            for step in 1...3 {
                let gradient = generator.floats(n)
                let s = settings(step)
                kernel(k, &value, &first, &second, gradient, s, n)
                for i in 0..<n {
                    let g = Double(gradient[i]) * s.gradientScale
                    twin(&wideValue[i], &wideFirst[i], &wideSecond[i], g, s)
                }
            }
            expectClose(value, wideValue, .relative(2e-6, floor: 1), "\(what) values, n = \(n)")
            expectClose(first, wideFirst, .relative(1e-5, floor: 4), "\(what) first state, n = \(n)")
            expectClose(second, wideSecond, .relative(2e-6, floor: 1e-2), "\(what) second state, n = \(n)")
        }
    }

    /// Settings that use every field.
    private func settings(_ step: Int, nesterov: Bool = false) -> UpdateSettings {
        var s = UpdateSettings()
        s.learningRate = 0.01
        s.gradientScale = 0.5
        s.weightDecay = 0.1
        s.beta1 = 0.9
        s.beta2 = 0.99
        s.epsilon = 1e-6
        s.biasCorrection1 = 1 / (1 - pow(0.9, Double(step)))
        s.biasCorrection2 = 1 / (1 - pow(0.99, Double(step)))
        s.nesterov = nesterov
        return s
    }

    @Test("AdamW", arguments: instructionSets)
    func adamW(name: String) throws {
        try compare(name, "AdamW", { settings($0) }, kernel: { $0.adamW($1, $2, $3, $4, $5, lowPrecision: nil, $6) }) { x, m, v, g, s in
            m = s.beta1 * m + (1 - s.beta1) * g
            v = s.beta2 * v + (1 - s.beta2) * g * g
            x -= s.learningRate * s.weightDecay * x
            x -= s.learningRate * s.biasCorrection1 * m / ((v * s.biasCorrection2).squareRoot() + s.epsilon)
        }
    }

    @Test("SGD with momentum", arguments: instructionSets, [true, false])
    func sgd(name: String, nesterov: Bool) throws {
        try compare(name, "SGD", { settings($0, nesterov: nesterov) }, kernel: { k, x, m, _, g, s, n in k.sgd(x, m, g, s, lowPrecision: nil, n) }) {
            x, m, _, gradient, s in
            let g = gradient + s.weightDecay * x
            m = s.beta1 * m + g
            x -= s.learningRate * (nesterov ? g + s.beta1 * m : m)
        }
    }

    @Test("SGD without momentum", arguments: instructionSets)
    func plainSGD(name: String) throws {
        try compare(name, "SGD", { settings($0) }, kernel: { k, x, _, _, g, s, n in k.sgd(x, nil, g, s, lowPrecision: nil, n) }) { x, _, _, g, s in
            x -= s.learningRate * (g + s.weightDecay * x)
        }
    }

    @Test("RMSProp", arguments: instructionSets, [true, false])
    func rmsProp(name: String, momentum: Bool) throws {
        try compare(
            name, "RMSProp", { settings($0) }, kernel: { k, x, m, v, g, s, n in k.rmsProp(x, v, momentum ? m : nil, g, s, lowPrecision: nil, n) }
        ) { x, m, v, gradient, s in
            let g = gradient + s.weightDecay * x
            v = s.beta2 * v + (1 - s.beta2) * g * g
            let direction = g / (v.squareRoot() + s.epsilon)
            if momentum { m = s.beta1 * m + direction }
            x -= s.learningRate * (momentum ? m : direction)
        }
    }

    @Test("Adagrad", arguments: instructionSets)
    func adagrad(name: String) throws {
        try compare(name, "Adagrad", { settings($0) }, kernel: { k, x, a, _, g, s, n in k.adagrad(x, a, g, s, lowPrecision: nil, n) }) {
            x, a, _, gradient, s in
            let g = gradient + s.weightDecay * x
            a += g * g
            x -= s.learningRate * g / (a.squareRoot() + s.epsilon)
        }
    }

    @Test("a bfloat16 copy is the new values rounded, and any part of the arrays can be updated alone", arguments: instructionSets)
    func lowPrecision(name: String) throws {
        typealias Arrays = (x: FloatOutput, m: FloatOutput, v: FloatOutput, g: FloatInput)
        let k = try kernelSet(name)
        let s = settings(2)
        let rules: [(String, (Arrays, UnsafeMutablePointer<UInt16>?, Int) -> Void)] = [
            ("AdamW", { k.adamW($0.x, $0.m, $0.v, $0.g, s, lowPrecision: $1, $2) }),
            ("SGD", { k.sgd($0.x, $0.m, $0.g, s, lowPrecision: $1, $2) }),
            ("SGD without momentum", { k.sgd($0.x, nil, $0.g, s, lowPrecision: $1, $2) }),
            ("RMSProp", { k.rmsProp($0.x, $0.v, $0.m, $0.g, s, lowPrecision: $1, $2) }),
            ("RMSProp without momentum", { k.rmsProp($0.x, $0.v, nil, $0.g, s, lowPrecision: $1, $2) }),
            ("Adagrad", { k.adagrad($0.x, $0.v, $0.g, s, lowPrecision: $1, $2) }),
        ]
        var generator = SeededGenerator(seed: 22)
        for n in sizes {
            let (value, first, second, gradient) = (generator.floats(n), generator.floats(n), generator.floats(n, 0...1), generator.floats(n))
            for (rule, update) in rules {
                func run(_ pieces: [Int], copies: Bool) -> (values: [UInt32], copy: [UInt16]) {
                    var (x, m, v) = (value, first, second)
                    var copy = [UInt16](repeating: 0, count: n)
                    x.withUnsafeMutableBufferPointer { x in
                        m.withUnsafeMutableBufferPointer { m in
                            v.withUnsafeMutableBufferPointer { v in
                                gradient.withUnsafeBufferPointer { g in
                                    copy.withUnsafeMutableBufferPointer { copy in
                                        guard let x = x.baseAddress, let m = m.baseAddress, let v = v.baseAddress, let g = g.baseAddress,
                                            let copy = copy.baseAddress
                                        else { return }
                                        var start = 0
                                        for piece in pieces {
                                            update((x + start, m + start, v + start, g + start), copies ? copy + start : nil, piece)
                                            start += piece
                                        }
                                    }
                                }
                            }
                        }
                    }
                    return (patterns(x + m + v), n == 0 ? [] : copies ? copy : bfloat16(x))
                }
                let whole = run([n], copies: false)
                let copied = run([n], copies: true)
                #expect(copied.values == whole.values && copied.copy == whole.copy, "\(rule), n = \(n)")
                let split = run(n > 5 ? [1, 3, n - 4] : [n], copies: true)
                #expect(split.values == whole.values && split.copy == whole.copy, "\(rule) in pieces, n = \(n)")
            }
        }
    }
}
