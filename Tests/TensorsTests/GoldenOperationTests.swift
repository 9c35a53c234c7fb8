// Operations against PyTorch in float64: outputs and gradients. Golden/generate_operations.py made Golden/operations.json.

import Foundation
import TestSupport
import Tensors
import Testing

struct GoldenCase: Decodable {
    let name: String
    let attributes: [String: [Double]]
    let inputs: [String: GoldenTensor]
    let output: GoldenTensor
    let outputGradient: GoldenTensor
    let gradients: [String: GoldenTensor]

    func number(_ key: String) -> Float? { attributes[key]?.first.map { Float($0) } }
    func integers(_ key: String) -> [Int]? { attributes[key]?.map { Int($0) } }
}

struct GoldenFile: Decodable {
    let cases: [GoldenCase]
}

@Suite("Operations against PyTorch")
struct GoldenOperationTests {
    /// How each case is written with Mneme's operations; inputs by name.
    private static var operations: [String: (GoldenCase, [String: Tensor]) -> Tensor] { [
        "attention": attend, "attention-causal-cache-lengths": attend, "attention-empty": attend, "attention-blocks": attend,
        "cross-entropy": { crossEntropy($1["logits"]!, targets: $0.targets, labelSmoothing: $0.number("smoothing")!).loss },
        "linear-cross-entropy": {
            linearCrossEntropy($1["hidden"]!, weight: $1["weight"]!, targets: $0.targets, labelSmoothing: $0.number("smoothing")!).loss
        },
        "layer-norm": { layerNorm($1["x"]!, gain: $1["gain"]!, bias: $1["bias"]!) },
        "rms-norm": { rmsNorm($1["x"]!, gain: $1["gain"]!) },
        "linear-gelu": { linear($1["x"]!, weight: $1["weight"]!, bias: $1["bias"]!, activation: .gelu) },
        "cumulative-product": { $1["x"]!.cumulativeProduct() },
        "cumulative-product-exclusive": { $1["x"]!.cumulativeProduct(exclusive: true) },
        "softmax-masked": { softmax($1["x"]!, mask: Tensor($0.integers("mask")!.map { Int32($0) }, $1["x"]!.shape)) },
        "circular-convolution": { circularConvolution($1["weights"]!, $1["kernel"]!) },
        "cosine-similarity": { cosineSimilarity($1["keys"]!, $1["memory"]!, epsilon: $0.number("epsilon")!) },
        "sort-gather": { sorted($1["x"]!).values * Tensor((1...9).map { Float($0) }, [9]) },
        "allocation": { allocate($1["usage"]!) },
        "relative-shift": { relativeShift($1["x"]!) },
        "addressing": { address($1) },
        "log-sum-exp": { logSumExponential($1["x"]!) },
        "log-softmax": { logSoftmax($1["x"]!) },
        "binary-cross-entropy": { binaryCrossEntropy(logits: $1["logits"]!, targets: $1["targets"]!) },
        "gelu": { $1["x"]!.gelu() },
        "softplus": { $1["x"]!.softplus() },
        "permute": { $1["x"]!.permuted(2, 0, 3, 1) },
    ] }

    @Test("outputs and gradients are within 1e-5")
    func golden() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/operations.json")
        let file = try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: url))
        let operations = Self.operations
        #expect(file.cases.count == operations.count)
        for one in file.cases {
            let operation = try #require(operations[one.name], "no operation for \(one.name)")
            let tape = Tape()
            let inputs = one.inputs.mapValues { tape.variable($0.tensor) }
            let output = operation(one, inputs)
            compare(output, one.output, "\(one.name): output")
            tape.backward(from: output, gradient: Tensor(one.outputGradient.values.map { Float($0) }, output.shape))
            for (key, expected) in one.gradients {
                let gradient = inputs[key]?.node?.gradient ?? Tensor(zeros: Shape(expected.shape))
                compare(gradient, expected, "\(one.name): gradient of \(key)")
            }
        }
    }

    /// Worst |actual - expected| / max(|expected|, root mean square of expected).
    func compare(_ actual: Tensor, _ expected: GoldenTensor, _ what: String) {
        #expect(actual.shape.count == expected.values.count, "\(what): shape \(actual.shape), expected \(expected.shape)")
        guard actual.count == expected.values.count, actual.count > 0 else { return }
        let square = expected.values.reduce(0) { $0 + $1 * $1 } / Double(actual.count)
        let typical = max(square.squareRoot(), 1e-12)
        var (worst, place) = (0.0, 0)
        for (i, value) in actual.array.enumerated() {
            let error = abs(Double(value) - expected.values[i]) / max(abs(expected.values[i]), typical)
            if !(error <= worst) { (worst, place) = (error, i) }
        }
        #expect(worst <= 1e-5, "\(what): \(worst) at \(place): \(actual.array[place]), expected \(expected.values[place])")
    }
}

extension GoldenCase {
    fileprivate var targets: Tensor {
        let classes = integers("targets") ?? []
        return Tensor(classes.map { Int32($0) }, [classes.count])
    }
}

private func attend(_ one: GoldenCase, _ inputs: [String: Tensor]) -> Tensor {
    attention(
        query: AttentionOperand(inputs["query"]!), key: AttentionOperand(inputs["key"]!), value: AttentionOperand(inputs["value"]!),
        width: one.output.shape[2], heads: one.integers("heads")![0],
        mask: AttentionMask(causal: one.number("causal") == 1, keyLengths: one.integers("lengths")))
}

private func allocate(_ usage: Tensor) -> Tensor {
    let (ordered, order) = sorted(usage)
    return scatterAddAlongLastAxis(Tensor(zeros: usage.shape), (1 - ordered) * ordered.cumulativeProduct(exclusive: true), at: order)
}

private func address(_ inputs: [String: Tensor]) -> Tensor {
    let content = softmax(cosineSimilarity(inputs["key"]!, inputs["memory"]!) * inputs["beta"]!.softplus())
    let gate = inputs["gate"]!.sigmoid()
    let gated = gate * content + (1 - gate) * inputs["previous"]!
    let sharp = power(circularConvolution(gated, softmax(inputs["shift"]!)), inputs["gamma"]!.softplus() + 1)
    return sharp / sharp.sum(axis: -1, keepingAxis: true)
}
