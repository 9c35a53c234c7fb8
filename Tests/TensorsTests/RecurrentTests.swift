// Elman, LSTM and both GRUs as operations: against PyTorch, in parts, in steady state. The table of fused operations has the rest.
// Golden/generate_recurrent.py made Golden/recurrent.json.

import Foundation
import Kernels
import TestSupport
import Tensors
import Testing

typealias RecurrentResult = (outputs: Tensor, state: CellState)

/// The outputs, the last hidden state and the last cell, one after another, float32.
private func flattened(_ result: RecurrentResult) -> Tensor {
    let parts = [result.outputs, result.state["hidden"], result.state["cell"]].compactMap { $0 }
    return concatenate(parts.map { convert($0, to: .float32).reshaped(to: [$0.count]) }, axis: 0)
}

/// The layer of a kind on inputs by name.
func runRecurrent(_ kind: String, _ inputs: [String: Tensor]) -> RecurrentResult {
    let (x, mask) = (inputs["x"]!, inputs["stateMask"])
    let (inputWeight, hiddenWeight) = (inputs["inputWeight"]!, inputs["hiddenWeight"]!)
    var state = CellState()
    for part in ["hidden", "cell"] { state[part] = inputs[part] }
    switch kind {
    case "lstm":
        return lstm(
            x, from: state, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: inputs["inputBias"]! + inputs["hiddenBias"]!,
            stateMask: mask)
    case "gru":
        return gru(
            x, from: state, inputWeight: inputWeight, hiddenWeight: hiddenWeight, inputBias: inputs["inputBias"]!,
            hiddenBias: inputs["hiddenBias"]!, stateMask: mask)
    case "gru-reset-before":
        return gruResetBefore(
            x, from: state, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: inputs["inputBias"]!, stateMask: mask)
    default:
        return elman(
            x, from: state, inputWeight: inputWeight, hiddenWeight: hiddenWeight, bias: inputs["inputBias"]! + inputs["hiddenBias"]!,
            stateMask: mask)
    }
}

let recurrentKinds = ["elman", "lstm", "gru", "gru-reset-before"]

/// Inputs of a layer: `bias` is made of both biases where a kind has two.
func recurrentInputs(_ kind: String, batch: Int, steps: Int, inputs: Int, width: Int, isMasked: Bool = false) -> [String: Tensor] {
    let gates = (kind == "lstm" ? 4 : kind == "elman" ? 1 : 3) * width
    let scale = 1 / Float(width).squareRoot()
    var result = [
        "x": randomTensor("x", [batch, steps, inputs]), "hidden": randomTensor("h", [batch, width]),
        "inputWeight": randomTensor("w", [gates, inputs], deviation: scale), "hiddenWeight": randomTensor("u", [gates, width], deviation: scale),
        "inputBias": randomTensor("b", [gates], deviation: 0.3),
    ]
    if kind != "gru-reset-before" { result["hiddenBias"] = randomTensor("d", [gates], deviation: 0.3) }
    if kind == "lstm" { result["cell"] = randomTensor("c", [batch, width]) }
    if isMasked { result["stateMask"] = Tensor((0..<batch * width).map { $0 % 3 == 1 ? 0 : 1.5 }, [batch, width]) }
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
    let variables = Dictionary(uniqueKeysWithValues: values.map { ($0, $0 == "stateMask" ? $1 : tape.variable($1)) })
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
        #expect(file.cases.count == 24)
        for one in file.cases {
            let tape = Tape()
            let inputs = one.inputs.mapValues { tape.variable($0.tensor) }
            let output = flattened(runRecurrent(one.name, inputs))
            let name = "\(one.name) \(one.integers("extents")!)"
            GoldenOperationTests().compare(output, one.output, "\(name): output")
            tape.backward(from: output, gradient: Tensor(one.outputGradient.values.map { Float($0) }, output.shape))
            for (key, expected) in one.gradients {
                let gradient = inputs[key]?.node?.gradient ?? Tensor(zeros: Shape(expected.shape))
                GoldenOperationTests().compare(gradient, expected, "\(name): gradient of \(key)")
            }
        }
    }

    @Test("a sequence in two parts is the sequence", arguments: recurrentKinds)
    func parts(_ kind: String) {
        var values = recurrentInputs(kind, batch: 3, steps: 6, inputs: 4, width: 8)
        let whole = runRecurrent(kind, values)
        let x = values["x"]!
        values["x"] = x.split([2, 4], axis: 1)[0]
        let first = runRecurrent(kind, values)
        values["x"] = x.split([2, 4], axis: 1)[1]
        for part in ["hidden", "cell"] { values[part] = first.state[part] }
        let second = runRecurrent(kind, values)
        let joined = concatenate([first.outputs, second.outputs], axis: 1)
        #expect(relativeError(joined.array, whole.outputs.array) < 1e-6)
        for part in ["hidden", "cell"] {
            #expect((second.state[part] == nil) == (whole.state[part] == nil))
            if let value = whole.state[part] { #expect(relativeError(second.state[part]!.array, value.array) < 1e-6) }
        }
    }

    @Test("a loss of the last cell alone reaches all inputs")
    func cellAlone() {
        let values = recurrentInputs("lstm", batch: 2, steps: 3, inputs: 4, width: 5)
        let gradients = bothPasses(values) { runRecurrent("lstm", $0).state["cell"]! }
        for (key, gradient) in gradients { #expect(gradient.contains { $0 != 0 }, "\(key)") }
    }

    /// In a process of its own, since the pool's counters belong to the process.
    @Test("after the second step nothing is asked of the system", arguments: recurrentKinds)
    func steadyState(_ kind: String) async {
        await #expect(processExitsWith: .success) { [kind] in
            SystemMemory.keepFreedMemory()
            let values = recurrentInputs(kind, batch: 6, steps: 8, inputs: 20, width: 70)
            for number in 1...10 {
                let (blocks, pages) = (MemoryPool.shared.statistics.systemAllocations, SystemMemory.pageFaultsOfThread)
                let tape = Tape()
                let variables = values.mapValues { tape.variable($0) }
                let output = flattened(runRecurrent(kind, variables))
                tape.backward(from: output.sum())
                precondition(number <= 2 || MemoryPool.shared.statistics.systemAllocations == blocks, "blocks in step \(number)")
                precondition(number <= 3 || SystemMemory.pageFaultsOfThread == pages, "pages in step \(number)")
            }
        }
    }

    /// Two units, all weights 1, biases 1, h = 0, inputs [1, 0], [0, 1], [1, 1]: h = f(U h + W x + b). The run with sigmoid is the same computation
    /// from single operations; no layer has it.
    @Test("the worked example of equal weights")
    func workedExample() {
        let ones = Tensor(repeating: 1, [2, 2])
        let bias = Tensor(repeating: 1, [2])
        let x = Tensor([1, 0, 0, 1, 1, 1] as [Float], [1, 3, 2])
        let states = elman(x, inputWeight: ones, hiddenWeight: ones, bias: bias).outputs.array
        #expect(relativeError(states, [0.964028, 0.964028, 0.999226, 0.999226, 0.999909, 0.999909]) < 1e-6)

        func expectRun(_ function: UnaryFunction, sums: [Float], states: [Float]) {
            var hidden = Tensor(zeros: [1, 2])
            for step in 0..<3 {
                let sum = linear(hidden, weight: ones) + linear(x.selecting(step, axis: 1), weight: ones, bias: bias)
                hidden = sum.applying(function)
                #expect(relativeError(sum.array, [sums[step], sums[step]]) < 1e-6)
                #expect(relativeError(hidden.array, [states[step], states[step]]) < 1e-6)
            }
        }
        expectRun(.sigmoid, sums: [2, 3.761594, 4.954563], states: [0.880797, 0.977281, 0.992998])
        expectRun(.hyperbolicTangent, sums: [2, 3.928055, 4.998451], states: [0.964028, 0.999226, 0.999909])

        // Such a state is no long-term memory: the units stay equal, and in saturation nearly no gradient reaches the first input.
        let tape = Tape()
        let variable = tape.variable(x)
        tape.backward(from: elman(variable, inputWeight: ones, hiddenWeight: ones, bias: bias).outputs.selecting(2, axis: 1).sum())
        #expect(abs(variable.node?.gradient?.array[0] ?? 1) < 1e-6)
    }
}
