// Gradients of single operations against central differences; those of fused operations are in FusedOperationTests.

import TestSupport
import Tensors
import Testing

/// One computation to differentiate.
struct GradientCase: CustomTestStringConvertible, Sendable {
    let name: String
    let inputs: @Sendable () -> [Tensor]
    let function: @Sendable ([Tensor]) -> Tensor
    var testDescription: String { name }

    init(_ name: String, _ inputs: @escaping @autoclosure @Sendable () -> [Tensor], _ function: @escaping @Sendable ([Tensor]) -> Tensor) {
        self.name = name
        self.inputs = inputs
        self.function = function
    }
}

private func normal(_ name: String, _ shape: Shape) -> Tensor { randomTensor(name, shape) }
private func positive(_ name: String, _ shape: Shape) -> Tensor { randomTensor(name, shape, in: 0.4...2) }

private let arithmeticCases: [GradientCase] = [
    GradientCase("add, equal shapes", [normal("a", [3, 5]), normal("b", [3, 5])]) { $0[0] + $0[1] },
    GradientCase("add, row", [normal("a", [3, 5]), normal("b", [5])]) { $0[0] + $0[1] },
    GradientCase("add, column", [normal("a", [3, 5]), normal("b", [3, 1])]) { $0[0] + $0[1] },
    GradientCase("add, scalar tensor", [normal("a", [3, 5]), normal("b", [])]) { $0[1] + $0[0] },
    GradientCase("subtract, both stretched", [normal("a", [3, 1, 4]), normal("b", [2, 1])]) { $0[0] - $0[1] },
    GradientCase("subtract, row first", [normal("a", [4]), normal("b", [3, 4])]) { $0[0] - $0[1] },
    GradientCase("subtract, column first", [normal("a", [3, 1]), normal("b", [3, 4])]) { $0[0] - $0[1] },
    GradientCase("multiply, equal shapes", [normal("a", [3, 17]), normal("b", [3, 17])]) { $0[0] * $0[1] },
    GradientCase("multiply, middle axis", [normal("a", [2, 3, 4]), normal("b", [2, 1, 4])]) { $0[0] * $0[1] },
    GradientCase("multiply, both stretched", [normal("a", [2, 3, 1]), normal("b", [1, 4])]) { $0[0] * $0[1] },
    GradientCase("multiply, column first", [normal("a", [3, 1]), normal("b", [3, 4])]) { $0[0] * $0[1] },
    GradientCase("multiply by itself", [normal("a", [3, 4])]) { $0[0] * $0[0] },
    GradientCase("number forms", [normal("a", [7])]) { 2 - ($0[0] * 3 + 1) / 2 + 1.5 * $0[0] - (-$0[0]) },
]

private let otherCases: [GradientCase] = [
    GradientCase("sum of all", [normal("a", [3, 4])]) { $0[0].sum() * $0[0].sum() },
    GradientCase("softmax", [normal("a", [3, 7])]) { softmax($0[0], scale: 0.7) },
    GradientCase("softmax added to its input", [normal("a", [3, 7])]) { softmax($0[0]) * $0[0] },
    GradientCase("binary cross-entropy", [normal("a", [3, 4]), randomTensor("t", [3, 4], in: 0...1)]) {
        binaryCrossEntropy(logits: $0[0] * 3, targets: $0[1])
    },
    GradientCase("reshaped", [normal("a", [2, 6])]) { $0[0].reshaped(to: [3, 4]).squared() },
    GradientCase("permuted, four axes", [normal("a", [2, 3, 4, 2])]) { $0[0].permuted(0, 2, 1, 3).squared() },
    GradientCase("permuted, cycle", [normal("a", [5, 3, 4])]) { $0[0].permuted(2, 0, 1).squared() },
    GradientCase("permuted twice", [normal("a", [2, 5, 7])]) { $0[0].permuted(0, 2, 1).squared() + $0[0].permuted(0, 2, 1) },
    GradientCase("slice, last axis", [normal("a", [3, 5])]) { $0[0].slice(1..<4, axis: -1).squared() },
    GradientCase("slice, first axis", [normal("a", [4, 3])]) { $0[0].slice(1..<3, axis: 0) * $0[0].slice(2..<4, axis: 0) },
    GradientCase("split and concatenate", [normal("a", [2, 6]), normal("b", [2, 1])]) { input in
        let parts = input[0].split([1, 2, 3], axis: 1)
        return concatenate([parts[2], input[1], parts[0], parts[2]], axis: 1).squared()
    },
    GradientCase("concatenate, first axis", [normal("a", [2, 3]), normal("b", [1, 3])]) { concatenate([$0[0], $0[1], $0[0]], axis: 0).squared() },
    GradientCase("matmul", [normal("a", [2, 3, 4]), normal("b", [2, 4, 5])]) { matmul($0[0], $0[1]) },
    GradientCase("matmul, A transposed", [normal("a", [2, 4, 3]), normal("b", [4, 5])]) { matmul($0[0], $0[1], transposeA: true) },
    GradientCase("matmul, B transposed", [normal("a", [2, 3, 4]), normal("b", [5, 4])]) { matmul($0[0], $0[1], transposeB: true) },
    GradientCase("matmul, both transposed", [normal("a", [2, 4, 3]), normal("b", [2, 5, 4])]) {
        matmul($0[0], $0[1], transposeA: true, transposeB: true)
    },
    GradientCase("matmul by itself", [normal("a", [2, 3, 3])]) { matmul($0[0], $0[0]) },
    GradientCase("attention, packed, causal, dropout", [normal("q", [2, 4, 12])]) {
        attention(
            query: AttentionOperand($0[0]), key: AttentionOperand($0[0], column: 4), value: AttentionOperand($0[0], column: 8), width: 4, heads: 2,
            mask: AttentionMask(causal: true), dropoutRate: 0.3, dropout: DropoutContext(seed: 3, step: 5, lanes: [0, 7]))
    },
    GradientCase("attention, query is key", [normal("q", [2, 3, 4]), normal("v", [2, 3, 4])]) {
        attention(query: AttentionOperand($0[0]), key: AttentionOperand($0[0]), value: AttentionOperand($0[1]), width: 4, heads: 2) + $0[0]
    },
    GradientCase("attention, query is value", [normal("q", [2, 3, 4]), normal("k", [2, 3, 4])]) {
        attention(query: AttentionOperand($0[0]), key: AttentionOperand($0[1]), value: AttentionOperand($0[0]), width: 4, heads: 1)
    },
]

@Suite("Gradients against central differences")
struct OperationGradientTests {
    @Test("arithmetic", arguments: arithmeticCases) func arithmetic(_ one: GradientCase) { check(one) }
    @Test("everything else that is not in the table of fused operations", arguments: otherCases) func other(_ one: GradientCase) { check(one) }

    @Test("unary functions", arguments: UnaryFunction.allCases)
    func unary(_ function: UnaryFunction) {
        let needsPositive = [.logarithm, .squareRoot, .reciprocal].contains(function)
        let x = needsPositive ? positive("x", [37]) : Tensor((0..<37).map { (Float($0) - 18) * 0.21 + 0.1 }, [37])
        let report = checkGradients(inputs: [x]) { _, input in input[0].applying(function) }
        #expect(report.passes(worst: 2e-3, ofNorm: 5e-4), "\(function): \(report)")
    }

    @Test("parameters, one used twice, gathered in place")
    func parameters() {
        let store = ParameterStore()
        let weight = store.add("weight", [4, 4], .normal(standardDeviation: 0.5))
        let gain = store.add("gain", [4], .ones)
        let bias = store.add("bias", [4], .uniform(bound: 0.5))
        let unused = store.add("unused", [3], .ones)
        store.allocate(seed: 5)
        let report = checkGradients(inputs: [normal("x", [3, 4])], store: store) { tape, input in
            let (w, g, b) = (tape.parameter(weight), tape.parameter(gain), tape.parameter(bias))
            let hidden = linear(input[0], weight: w, bias: b, activation: .gelu)
            return linear(layerNorm(hidden, gain: g, bias: b), weight: w) * g
        }
        #expect(report.passes(), "\(report)")
        #expect(report.deviations.count == 5)
        #expect(unused.gradient.array == [0, 0, 0])
    }

    private func check(_ one: GradientCase) {
        let report = checkGradients(inputs: one.inputs()) { _, inputs in one.function(inputs) }
        #expect(report.passes(worst: 2e-3, ofNorm: 5e-4), "\(one.name): \(report)")
    }
}

@Suite("The gradient check itself")
struct GradientCheckTests {
    @Test("finds a wrong gradient")
    func findsErrors() {
        let x = randomTensor("x", [6])
        let report = checkGradients(inputs: [x]) { _, input in
            let y = input[0].stopGradient().squared()
            return Operation("wrong").record(y, from: input[0]) { gradient in
                let wrong = Tensor(zip(gradient.array, input[0].array).enumerated().map { $0 == 3 ? 2.05 * $1.0 * $1.1 : 2 * $1.0 * $1.1 }, [6])
                input[0].node?.accumulate(wrong)
            }
        }
        #expect(!report.passes())
        #expect(report.deviations[0].index == 3)
        #expect(abs(report.deviations[0].worst - 0.0244) < 0.02)
    }
}
