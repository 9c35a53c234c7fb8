// Every operation's gradient against central differences.

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
    GradientCase("divide, equal shapes", [normal("a", [3, 5]), positive("b", [3, 5])]) { $0[0] / $0[1] },
    GradientCase("divide by column", [normal("a", [3, 5]), positive("b", [3, 1])]) { $0[0] / $0[1] },
    GradientCase("divide column by row", [normal("a", [3, 1]), positive("b", [5])]) { $0[0] / $0[1] },
    GradientCase("number forms", [positive("a", [7])]) { 2 - ($0[0] * 3 + 1) / 2 + 1.5 / $0[0] - (-$0[0]) },
    GradientCase("minimum", [distinctTensor("a", [3, 4]), normal("b", [4])]) { minimum($0[0], $0[1] + 0.05) },
    GradientCase("maximum", [distinctTensor("a", [3, 4]), normal("b", [3, 1])]) { maximum($0[0], $0[1] + 0.05) },
    GradientCase("power of two tensors", [positive("a", [2, 3, 6]), randomTensor("g", [2, 3, 1], in: 1...4)]) { power($0[0], $0[1]) },
    GradientCase("power, equal shapes", [positive("a", [5]), normal("g", [5])]) { power($0[0], $0[1]) },
    GradientCase("power, fixed exponent", [positive("a", [9])]) { $0[0].power(-1.5) },
    GradientCase("power, odd exponent of negative numbers", [normal("a", [9])]) { $0[0].power(3) },
    GradientCase("clamped", [Tensor([-3, -1.2, -0.4, 0.3, 1.7, 2.6], [6])]) { $0[0].clamped(to: -1...1) },
]

private let reductionCases: [GradientCase] = [
    GradientCase("sum of all", [normal("a", [3, 4])]) { $0[0].sum() },
    GradientCase("sum, last axis", [normal("a", [2, 3, 4])]) { $0[0].sum(axis: -1) },
    GradientCase("sum, first axis", [normal("a", [2, 3, 4])]) { $0[0].sum(axis: 0, keepingAxis: true) },
    GradientCase("sum, outer axes", [normal("a", [2, 3, 4])]) { $0[0].sum(axes: [0, 2]) },
    GradientCase("mean, middle axis", [normal("a", [2, 3, 4])]) { $0[0].mean(axis: 1) },
    GradientCase("mean of all", [normal("a", [2, 3, 4])]) { $0[0].mean() },
    GradientCase("maximum, last axis", [distinctTensor("a", [3, 4])]) { $0[0].maximum(axis: -1) },
    GradientCase("maximum, axes", [distinctTensor("a", [2, 3, 4])]) { $0[0].maximum(axes: [0, 2], keepingAxes: true) },
    GradientCase("minimum, first axis", [distinctTensor("a", [3, 4])]) { $0[0].minimum(axis: 0) },
    GradientCase("norm", [normal("a", [3, 5])]) { $0[0].norm(keepingAxis: true) },
    GradientCase("normalized", [normal("a", [3, 5])]) { $0[0].normalized() },
    GradientCase("softmax", [normal("a", [3, 7])]) { softmax($0[0], scale: 0.7) },
    GradientCase("softmax, masked", [normal("a", [3, 7])]) { softmax($0[0], mask: Tensor([1, 0, 1, 1, 0, 0, 1] as [Int32], [7])) },
    GradientCase("logSoftmax", [normal("a", [3, 7])]) { logSoftmax($0[0]) },
    GradientCase("logSoftmax, masked", [normal("a", [2, 3])]) { logSoftmax($0[0], mask: Tensor([1, 0, 1, 0, 1, 1] as [Int32], [2, 3])) },
    GradientCase("logSumExponential", [normal("a", [3, 7])]) { logSumExponential($0[0]) },
    GradientCase("cumulative sum", [normal("a", [2, 6])]) { $0[0].cumulativeSum() },
    GradientCase("cumulative sum, exclusive", [normal("a", [2, 6])]) { $0[0].cumulativeSum(exclusive: true) },
    GradientCase("cumulative product", [normal("a", [2, 6])]) { $0[0].cumulativeProduct() },
    GradientCase("cumulative product, exclusive", [normal("a", [2, 6])]) { $0[0].cumulativeProduct(exclusive: true) },
    GradientCase("cumulative product at zeros", [Tensor([0.5, 0, 2, -1, 0, 3, 1, 2, 0.7, 1.2, -2, 0], [3, 4])]) { $0[0].cumulativeProduct() },
    GradientCase("exclusive product at zeros", [Tensor([0.5, 0, 2, -1, 0, 3, 1, 2, 0.7, 0, 0, 2], [3, 4])]) {
        $0[0].cumulativeProduct(exclusive: true)
    },
]

private let shapingCases: [GradientCase] = [
    GradientCase("reshaped", [normal("a", [2, 6])]) { $0[0].reshaped(to: [3, 4]).squared() },
    GradientCase("permuted, four axes", [normal("a", [2, 3, 4, 2])]) { $0[0].permuted(0, 2, 1, 3).squared() },
    GradientCase("permuted, cycle", [normal("a", [5, 3, 4])]) { $0[0].permuted(2, 0, 1).squared() },
    GradientCase("transposed", [normal("a", [2, 5, 7])]) { $0[0].transposed().squared() + $0[0].transposed() },
    GradientCase("slice, last axis", [normal("a", [3, 5])]) { $0[0].slice(1..<4, axis: -1).squared() },
    GradientCase("slice, first axis", [normal("a", [4, 3])]) { $0[0].slice(1..<3, axis: 0) * $0[0].slice(2..<4, axis: 0) },
    GradientCase("slice, block", [normal("a", [3, 4, 5])]) { $0[0].slice([1..<3, nil, 0..<2]).squared() },
    GradientCase("selecting", [normal("a", [3, 4, 2])]) { $0[0].selecting(2, axis: 1).squared() + $0[0].selecting(0, axis: 1) },
    GradientCase("split and concatenate", [normal("a", [2, 6]), normal("b", [2, 1])]) { input in
        let parts = input[0].split([1, 2, 3], axis: 1)
        return concatenate([parts[2], input[1], parts[0], parts[2]], axis: 1).squared()
    },
    GradientCase("concatenate, first axis", [normal("a", [2, 3]), normal("b", [1, 3])]) { concatenate([$0[0], $0[1], $0[0]], axis: 0).squared() },
    GradientCase("stack", [normal("a", [2, 3]), normal("b", [2, 3])]) { stack([$0[0], $0[1], $0[0]], axis: 1).squared() },
    GradientCase("stack, last axis", [normal("a", [2, 3]), normal("b", [2, 3])]) { stack([$0[0], $0[1]], axis: -1).squared() },
    GradientCase("broadcast", [normal("a", [2, 1, 3])]) { $0[0].broadcast(to: [4, 2, 5, 3]).squared() },
    GradientCase("reversed", [normal("a", [2, 4, 3])]) { $0[0].reversed(axis: 1).squared() * $0[0] },
    GradientCase("rolled", [normal("a", [2, 5])]) { $0[0].rolled(by: 2) * $0[0].rolled(by: -6, axis: 1) * $0[0] },
    GradientCase("replacing", [normal("a", [2, 3]), normal("b", [3])]) {
        $0[0].replacing(with: $0[1], where: Tensor([1, 0, 0, 1, 1, 0] as [Int32], [2, 3]))
    },
    GradientCase("reversedSequences", [normal("a", [2, 4, 3])]) { reversedSequences($0[0], lengths: [3, 4]).squared() * $0[0] },
]

private let memoryCases: [GradientCase] = [
    GradientCase("takeAlongLastAxis", [normal("a", [2, 5])]) {
        takeAlongLastAxis($0[0], Tensor([4, 0, 0, 1, 1, 1] as [Int32], [2, 3])).squared()
    },
    GradientCase("gatherRows", [normal("a", [4, 3])]) { gatherRows($0[0], Tensor([2, 0, 2, 1] as [Int32], [2, 2])).squared() },
    GradientCase("gatherRows, batched", [normal("a", [2, 4, 3])]) {
        gatherRows($0[0], Tensor([3, 0, 3, 1, 1, 2] as [Int32], [2, 3]), batched: true).squared()
    },
    GradientCase("scatterAddAlongLastAxis", [normal("a", [2, 4]), normal("b", [2, 3])]) {
        scatterAddAlongLastAxis($0[0], $0[1], at: Tensor([1, 1, 3, 0, 2, 0] as [Int32], [2, 3])).squared()
    },
    GradientCase("scatterAddRows", [normal("a", [3, 2]), normal("b", [4, 2])]) {
        scatterAddRows($0[0], $0[1], at: Tensor([1, 1, 2, 0] as [Int32], [4])).squared()
    },
    GradientCase("sorted", [distinctTensor("a", [2, 6])]) { sorted($0[0]).values * Tensor([1, 2, 3, 4, 5, 6] as [Float], [6]) },
    GradientCase("topK", [distinctTensor("a", [2, 9])]) { topK($0[0], 4).values * Tensor([1, 2, 3, 4] as [Float], [4]) },
    GradientCase("circular convolution", [normal("a", [2, 3, 6]), normal("s", [2, 3, 3])]) { circularConvolution($0[0], $0[1]) },
    GradientCase("circular convolution, wide kernel", [normal("a", [2, 3]), normal("s", [2, 5])]) { circularConvolution($0[0], $0[1]) },
    GradientCase("outer product", [normal("a", [2, 3]), normal("b", [2, 4])]) { outerProduct($0[0], $0[1]) },
    GradientCase("cosine similarity", [normal("k", [2, 2, 5]), normal("m", [2, 4, 5])]) { cosineSimilarity($0[0], $0[1]) },
    GradientCase("mean squared error", [normal("a", [3, 4]), normal("b", [3, 4])]) { meanSquaredError($0[0], $0[1]) },
    GradientCase("binary cross-entropy", [normal("a", [3, 4]), randomTensor("t", [3, 4], in: 0...1)]) {
        binaryCrossEntropy(logits: $0[0] * 3, targets: $0[1])
    },
    GradientCase("relative shift", [normal("a", [2, 3, 5])]) { relativeShift($0[0]).squared() },
    GradientCase("NTM head", [normal("k", [2, 1, 5]), normal("m", [2, 6, 5]), normal("s", [2, 1, 3]), normal("g", [2, 1, 1])]) { input in
        let content = softmax(cosineSimilarity(input[0], input[1]) * 2)
        let shifted = circularConvolution(content, softmax(input[2]))
        let sharpened = power(shifted, input[3].softplus() + 1)
        return sharpened / sharpened.sum(axis: -1, keepingAxis: true)
    },
    GradientCase("DNC allocation", [randomTensor("u", [2, 6], in: 0.05...0.95)]) { input in
        let (usage, order) = sorted(input[0])
        let allocation = (1 - usage) * usage.cumulativeProduct(exclusive: true)
        return scatterAddAlongLastAxis(Tensor(zeros: [2, 6]), allocation, at: order)
    },
]

private let fusedCases: [GradientCase] = [
    GradientCase("linear", [normal("x", [2, 3, 4]), normal("w", [5, 4]), normal("b", [5])]) { linear($0[0], weight: $0[1], bias: $0[2]) },
    GradientCase("linearGELU", [normal("x", [2, 3, 4]), normal("w", [5, 4]), normal("b", [5])]) {
        linear($0[0], weight: $0[1], bias: $0[2], activation: .gelu)
    }, GradientCase("matmul", [normal("a", [2, 3, 4]), normal("b", [2, 4, 5])]) { matmul($0[0], $0[1]) },
    GradientCase("matmul, A transposed", [normal("a", [2, 4, 3]), normal("b", [4, 5])]) { matmul($0[0], $0[1], transposeA: true) },
    GradientCase("matmul, B transposed", [normal("a", [2, 3, 4]), normal("b", [5, 4])]) { matmul($0[0], $0[1], transposeB: true) },
    GradientCase("matmul, both transposed", [normal("a", [2, 4, 3]), normal("b", [2, 5, 4])]) {
        matmul($0[0], $0[1], transposeA: true, transposeB: true)
    },
    GradientCase("matmul by itself", [normal("a", [2, 3, 3])]) { matmul($0[0], $0[0]) },
    GradientCase("layerNorm", [normal("x", [3, 8]), normal("g", [8]), normal("b", [8])]) { layerNorm($0[0], gain: $0[1], bias: $0[2]) },
    GradientCase("layerNorm without bias", [normal("x", [3, 8]), normal("g", [8])]) { layerNorm($0[0], gain: $0[1], bias: nil) },
    GradientCase("rmsNorm", [normal("x", [3, 8]), normal("g", [8])]) { rmsNorm($0[0], gain: $0[1]) },
    GradientCase("embedding", [normal("t", [5, 3])]) { embedding($0[0], Tensor([1, 4, 1, 0] as [Int32], [2, 2]), scale: 1.5) },
    GradientCase("addPositions", [normal("x", [2, 3, 4]), normal("t", [6, 4])]) { addPositions($0[0], $0[1], first: 2) },
    GradientCase("crossEntropy", [normal("x", [4, 6])]) {
        crossEntropy($0[0], targets: Tensor([1, -1, 5, 0] as [Int32], [4]), labelSmoothing: 0.1).loss
    },
    GradientCase("linearCrossEntropy", [normal("x", [4, 3]), normal("w", [6, 3])]) {
        linearCrossEntropy($0[0], weight: $0[1], targets: Tensor([1, -1, 5, 0] as [Int32], [4]), labelSmoothing: 0.1).loss
    },
    GradientCase("linearCrossEntropy, all positions", [normal("x", [3, 3]), normal("w", [6, 3])]) {
        linearCrossEntropy($0[0], weight: $0[1], targets: Tensor([1, 5, 0] as [Int32], [3])).loss * 0.5
    },
    GradientCase("dropout", [normal("x", [2, 3, 4])]) { dropout($0[0], rate: 0.4, DropoutContext(seed: 3, step: 5, lanes: [0, 7])) },
    GradientCase("addDropout", [normal("x", [2, 12]), normal("y", [2, 12])]) {
        addDropout($0[0], $0[1], rate: 0.4, DropoutContext(seed: 3, step: 5, lanes: [0, 7]))
    },
    GradientCase("attention", [normal("q", [2, 3, 4]), normal("k", [2, 5, 4]), normal("v", [2, 5, 4])]) {
        attention(query: AttentionOperand($0[0]), key: AttentionOperand($0[1]), value: AttentionOperand($0[2]), width: 4, heads: 2)
    },
    GradientCase("attention, packed, causal, dropout", [normal("q", [2, 4, 12])]) {
        attention(
            query: AttentionOperand($0[0]), key: AttentionOperand($0[0], column: 4), value: AttentionOperand($0[0], column: 8), width: 4, heads: 2,
            mask: AttentionMask(causal: true), dropoutRate: 0.3, dropout: DropoutContext(seed: 3, step: 5, lanes: [0, 7]))
    },
    GradientCase("attention, causal with cache and lengths", [normal("q", [2, 3, 4]), normal("kv", [2, 5, 8])]) {
        attention(
            query: AttentionOperand($0[0]), key: AttentionOperand($0[1]), value: AttentionOperand($0[1], column: 4), width: 4, heads: 2,
            mask: AttentionMask(causal: true, keyLengths: [5, 2]), scale: 0.8)
    },
    GradientCase("attention, query is key", [normal("q", [2, 3, 4]), normal("v", [2, 3, 4])]) {
        attention(query: AttentionOperand($0[0]), key: AttentionOperand($0[0]), value: AttentionOperand($0[1]), width: 4, heads: 2) + $0[0]
    },
    GradientCase("attention, query is value", [normal("q", [2, 3, 4]), normal("k", [2, 3, 4])]) {
        attention(query: AttentionOperand($0[0]), key: AttentionOperand($0[1]), value: AttentionOperand($0[0]), width: 4, heads: 1)
    },
    GradientCase("attention over blocks of queries", [normal("q", [1, 70, 2]), normal("kv", [1, 80, 4])]) {
        attention(
            query: AttentionOperand($0[0]), key: AttentionOperand($0[1]), value: AttentionOperand($0[1], column: 2), width: 2, heads: 1,
            mask: AttentionMask(causal: true))
    },
]

@Suite("Gradients against central differences")
struct OperationGradientTests {
    @Test("arithmetic", arguments: arithmeticCases) func arithmetic(_ one: GradientCase) { check(one) }
    @Test("reductions and running values", arguments: reductionCases) func reductions(_ one: GradientCase) { check(one) }
    @Test("shaping", arguments: shapingCases) func shaping(_ one: GradientCase) { check(one) }
    @Test("indices, sorting, memory", arguments: memoryCases) func memory(_ one: GradientCase) { check(one) }
    @Test("fused operations", arguments: fusedCases) func fused(_ one: GradientCase) { check(one) }

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
