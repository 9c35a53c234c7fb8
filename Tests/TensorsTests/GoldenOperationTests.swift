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

    /// The cases in a file of the folder Golden.
    static func read(_ name: String) throws -> GoldenFile {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/\(name).json")
        return try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: url))
    }
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
        "binary-cross-entropy": { binaryCrossEntropy(logits: $1["logits"]!, targets: $1["targets"]!) },
        "gelu": { $1["x"]!.applying(.gelu) },
        "softplus": { $1["x"]!.applying(.softplus) },
        "permute": { $1["x"]!.permuted(2, 0, 3, 1) },
    ] }

    @Test("outputs and gradients are within 1e-5")
    func golden() throws {
        let file = try GoldenFile.read("operations")
        let operations = Self.operations
        let cases = file.cases.filter { operations[$0.name] != nil }
        #expect(Set(cases.map(\.name)) == Set(operations.keys))
        for one in cases {
            let operation = try #require(operations[one.name])
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
