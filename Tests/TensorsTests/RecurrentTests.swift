// LSTM and GRU as operations: against PyTorch, against central differences, against a naive twin, in both types. Golden/generate_recurrent.py made
// Golden/recurrent.json.

import Foundation
import Kernels
import TestSupport
import Tensors
import Testing

/// The outputs, the last hidden state and the last cell, one after another.
private func flattened(_ result: RecurrentOutput) -> Tensor {
    let parts = [result.outputs, result.hidden] + (result.cell.map { [$0] } ?? [])
    return concatenate(parts.map { $0.reshaped(to: [$0.count]) }, axis: 0)
}

private func run(_ kind: String, _ inputs: [String: Tensor]) -> RecurrentOutput {
    if kind == "lstm" {
        return lstm(
            inputs["x"]!, hidden: inputs["hidden"], cell: inputs["cell"], inputWeight: inputs["inputWeight"]!, hiddenWeight: inputs["hiddenWeight"]!,
            bias: inputs["inputBias"]! + inputs["hiddenBias"]!)
    }
    return gru(
        inputs["x"]!, hidden: inputs["hidden"], inputWeight: inputs["inputWeight"]!, hiddenWeight: inputs["hiddenWeight"]!,
        inputBias: inputs["inputBias"]!, hiddenBias: inputs["hiddenBias"]!)
}

/// The same from single operations, step by step.
private func naive(_ kind: String, _ inputs: [String: Tensor]) -> Tensor {
    let (x, inputBias, hiddenBias) = (inputs["x"]!, inputs["inputBias"]!, inputs["hiddenBias"]!)
    let (inputWeight, hiddenWeight) = (inputs["inputWeight"]!, inputs["hiddenWeight"]!)
    let (batch, width) = (x.shape[0], hiddenWeight.shape[1])
    var hidden = inputs["hidden"] ?? Tensor(zeros: [batch, width])
    var cell = inputs["cell"] ?? Tensor(zeros: [batch, width])
    var outputs: [Tensor] = []
    for step in 0..<x.shape[1] {
        let fromInput = linear(x.selecting(step, axis: 1), weight: inputWeight, bias: inputBias)
        let fromHidden = linear(hidden, weight: hiddenWeight, bias: hiddenBias)
        if kind == "lstm" {
            let gates = (fromInput + fromHidden).split([width, width, width, width], axis: -1)
            cell = gates[1].sigmoid() * cell + gates[0].sigmoid() * gates[2].hyperbolicTangent()
            hidden = gates[3].sigmoid() * cell.hyperbolicTangent()
        } else {
            let (a, b) = (fromInput.split([width, width, width], axis: -1), fromHidden.split([width, width, width], axis: -1))
            let candidate = (a[2] + (a[0] + b[0]).sigmoid() * b[2]).hyperbolicTangent()
            let update = (a[1] + b[1]).sigmoid()
            hidden = (1 - update) * candidate + update * hidden
        }
        outputs.append(hidden.reshaped(to: [batch, 1, width]))
    }
    let all = concatenate(outputs, axis: 1)
    let parts = [all, hidden] + (kind == "lstm" ? [cell] : [])
    return concatenate(parts.map { $0.reshaped(to: [$0.count]) }, axis: 0)
}

private func inputs(_ kind: String, batch: Int, steps: Int, inputs: Int, width: Int) -> [String: Tensor] {
    let gates = (kind == "lstm" ? 4 : 3) * width
    let scale = 1 / Float(width).squareRoot()
    var result = [
        "x": randomTensor("x", [batch, steps, inputs]), "hidden": randomTensor("h", [batch, width]),
        "inputWeight": randomTensor("w", [gates, inputs], deviation: scale), "hiddenWeight": randomTensor("u", [gates, width], deviation: scale),
        "inputBias": randomTensor("b", [gates], deviation: 0.3), "hiddenBias": randomTensor("d", [gates], deviation: 0.3),
    ]
    if kind == "lstm" { result["cell"] = randomTensor("c", [batch, width]) }
    return result
}

/// max |a - b| / max |b|.
private func relativeError(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    let largest = b.reduce(0) { max($0, abs($1)) }
    return zip(a, b).reduce(0) { max($0, ($1.0 - $1.1).isNaN ? .infinity : abs($1.0 - $1.1)) } / max(largest, .leastNormalMagnitude)
}

/// The output, and the gradient of each input, for a fixed random output gradient.
private func bothPasses(_ values: [String: Tensor], _ function: ([String: Tensor]) -> Tensor) -> [String: [Float]] {
    let tape = Tape()
    let variables = values.mapValues { tape.variable($0) }
    let output = function(variables)
    tape.backward(from: output, gradient: randomTensor("seed", output.shape))
    var result = variables.mapValues { ($0.node?.gradient ?? Tensor(zeros: $0.shape)).converted(to: .float32).array }
    result["output"] = output.array
    return result
}

@Suite("Recurrent layers")
struct RecurrentTests {
    @Test("outputs and gradients are PyTorch's, within 1e-5")
    func golden() throws {
        let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/recurrent.json")
        let file = try JSONDecoder().decode(GoldenFile.self, from: Data(contentsOf: url))
        #expect(file.cases.count == 12)
        for one in file.cases {
            let tape = Tape()
            let inputs = one.inputs.mapValues { tape.variable($0.tensor) }
            let output = flattened(run(one.name, inputs))
            let name = "\(one.name) \(one.integers("extents")!)"
            GoldenOperationTests().compare(output, one.output, "\(name): output")
            tape.backward(from: output, gradient: Tensor(one.outputGradient.values.map { Float($0) }, output.shape))
            for (key, expected) in one.gradients {
                let gradient = inputs[key]?.node?.gradient ?? Tensor(zeros: Shape(expected.shape))
                GoldenOperationTests().compare(gradient, expected, "\(name): gradient of \(key)")
            }
        }
    }

    @Test("gradients are those of central differences", arguments: ["lstm", "gru"])
    func centralDifferences(_ kind: String) {
        let values = inputs(kind, batch: 2, steps: 3, inputs: 4, width: 5).sorted { $0.key < $1.key }
        let report = checkGradients(inputs: values.map(\.value)) { _, inputs in
            flattened(run(kind, Dictionary(uniqueKeysWithValues: zip(values.map(\.key), inputs))))
        }
        #expect(report.passes(worst: 2e-3, ofNorm: 5e-4), "\(report)")
    }

    /// Sizes at which weights are packed, rows are divided between threads, and no extent fits a vector.
    @Test("both passes equal single operations", arguments: ["lstm", "gru"], [1, 2])
    func naiveTwin(_ kind: String, _ threads: Int) async {
        await #expect(processExitsWith: .success) { [kind, threads] in
            Workers.count = threads
            for (batch, steps, width) in [(5, 7, 67), (1, 9, 129), (70, 5, 33)] {
                let values = inputs(kind, batch: batch, steps: steps, inputs: 19, width: width)
                let fused = bothPasses(values) { flattened(run(kind, $0)) }
                for (key, expected) in bothPasses(values, { naive(kind, $0) }) {
                    let error = relativeError(fused[key]!, expected)
                    precondition(error < 2e-5, "\(kind) \(batch) x \(steps) x \(width): \(key) is off by \(error)")
                }
            }
        }
    }

    @Test("bfloat16 is close to float32", arguments: ["lstm", "gru"])
    func lowPrecision(_ kind: String) {
        for (batch, steps, width) in [(5, 7, 67), (2, 1, 9), (1, 4, 20)] {
            let values = inputs(kind, batch: batch, steps: steps, inputs: 18, width: width)
            var rounded = values
            for key in ["x", "inputWeight", "hiddenWeight", "hidden"] { rounded[key] = values[key]!.converted(to: .bfloat16) }
            let exact = bothPasses(values) { flattened(run(kind, $0)) }
            let low = bothPasses(rounded) { inputs in
                let result = run(kind, inputs)
                #expect(result.outputs.dataType == .bfloat16 && result.hidden.dataType == .bfloat16)
                let parts = [result.outputs, result.hidden] + (result.cell.map { [$0] } ?? [])
                return concatenate(parts.map { convert($0, to: .float32).reshaped(to: [$0.count]) }, axis: 0)
            }
            for (key, expected) in exact {
                let error = relativeError(low[key]!, expected)
                #expect(error < 0.03, "\(kind) \(batch) x \(steps) x \(width): \(key) is off by \(error)")
            }
        }
    }

    @Test("a sequence in two parts is the sequence", arguments: ["lstm", "gru"])
    func parts(_ kind: String) {
        var values = inputs(kind, batch: 3, steps: 6, inputs: 4, width: 8)
        let whole = run(kind, values)
        let x = values["x"]!
        values["x"] = x.split([2, 4], axis: 1)[0]
        let first = run(kind, values)
        values["x"] = x.split([2, 4], axis: 1)[1]
        values["hidden"] = first.hidden
        values["cell"] = first.cell
        let second = run(kind, values)
        let joined = concatenate([first.outputs, second.outputs], axis: 1)
        #expect(relativeError(joined.array, whole.outputs.array) < 1e-6)
        #expect(relativeError(second.hidden.array, whole.hidden.array) < 1e-6)
        if let cell = whole.cell { #expect(relativeError(second.cell!.array, cell.array) < 1e-6) }
    }

    @Test("a loss of the last cell alone reaches all inputs")
    func cellAlone() {
        let values = inputs("lstm", batch: 2, steps: 3, inputs: 4, width: 5)
        let gradients = bothPasses(values) { run("lstm", $0).cell! }
        for (key, gradient) in gradients { #expect(gradient.contains { $0 != 0 }, "\(key)") }
    }

    /// In a process of its own, since the pool's counters belong to the process.
    @Test("after the second step nothing is asked of the system", arguments: ["lstm", "gru"])
    func steadyState(_ kind: String) async {
        await #expect(processExitsWith: .success) { [kind] in
            SystemMemory.keepFreedMemory()
            let values = inputs(kind, batch: 6, steps: 8, inputs: 20, width: 70)
            for number in 1...10 {
                let (blocks, pages) = (MemoryPool.shared.statistics.systemAllocations, SystemMemory.pageFaultsOfThread)
                let tape = Tape()
                let variables = values.mapValues { tape.variable($0) }
                let output = flattened(run(kind, variables))
                tape.backward(from: output.sum())
                precondition(number <= 2 || MemoryPool.shared.statistics.systemAllocations == blocks, "blocks in step \(number)")
                precondition(number <= 3 || SystemMemory.pageFaultsOfThread == pages, "pages in step \(number)")
            }
        }
    }
}
