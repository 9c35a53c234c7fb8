// The part of the table about the gated delta rule: what must hold of every line is in MemoryReferenceTests.

import Memory
import Reference
import TestSupport
import Tensors

/// The delta rule in chunks and step by step, with and without erasing, over lengths that are no multiple of a chunk; and the convolution before it.
let deltaRuleCases: [OperationCase] = ruleCases + convolutionCases

/// The rows of the last axis brought to length 1, as the operation does it.
func unitRows(_ x: ReferenceArray) -> ReferenceArray { x / squareRoot((x * x).sum() + 1e-6) }

/// The operation by its reference: outputs [B, T, H V] and states [B, H K, V].
/// - Parameter chunk: `nil` takes one step after another.
func referenceDeltaRule(_ inputs: [String: ReferenceArray], _ shape: DeltaRuleShape, chunk: Int? = nil) -> [ReferenceArray] {
    let (heads, keyWidth, valueWidth) = (shape.heads, shape.keyWidth, shape.valueWidth)
    var (outputs, states): ([ReferenceArray], [ReferenceArray]) = ([], [])
    for (b, step) in inputs["associations"]!.rows.enumerated() {
        var (read, matrices): ([ReferenceArray], [ReferenceArray]) = ([], [])
        for h in 0..<heads {
            let keys = heads * keyWidth
            let queries = unitRows(step.slice(h * keyWidth..<(h + 1) * keyWidth))
            let unitKeys = unitRows(step.slice(keys + h * keyWidth..<keys + (h + 1) * keyWidth))
            let values = step.slice(2 * keys + h * valueWidth..<2 * keys + (h + 1) * valueWidth)
            let (strengths, decays) = (inputs["strengths"]![b].slice(h..<h + 1).flattened, inputs["logDecays"]![b].slice(h..<h + 1).flattened)
            var matrix = inputs["state"]![b].slice(h * keyWidth..<(h + 1) * keyWidth, axis: 0)
            read.append(
                chunk.map {
                    chunkedGatedDeltaRule(
                        queries: queries, keys: unitKeys, values: values, strengths: strengths, logDecays: decays, &matrix,
                        erases: shape.erases, chunk: $0)
                }
                    ?? gatedDeltaRule(
                        queries: queries, keys: unitKeys, values: values, strengths: strengths, logDecays: decays, &matrix, erases: shape.erases))
            matrices.append(matrix)
        }
        outputs.append(.concatenated(read))
        states.append(.concatenated(matrices, axis: 0))
    }
    return [.stacked(outputs), .stacked(states)]
}

/// Inputs of B sequences of T steps.
func deltaRuleInputs(batch: Int, steps: Int, _ shape: DeltaRuleShape) -> [String: Tensor] {
    let (rows, matrices): (Shape, Shape) = ([batch, steps, shape.heads], [batch, shape.heads * shape.keyWidth, shape.valueWidth])
    return [
        "associations": randomTensor("associations", [batch, steps, shape.associationWidth]),
        "strengths": randomTensor("strengths", rows, in: 0.1...0.95),
        "logDecays": randomTensor("logDecays", rows, in: -0.9...(-0.01)), "state": randomTensor("state", matrices, deviation: 0.5),
    ]
}

/// B, T, H, K, V and the size of a chunk.
private let ruleSizes: [(Int, Int, Int, Int, Int, Int?)] = [
    (2, 3, 2, 3, 5, nil), (2, 11, 2, 3, 5, 4), (1, 20, 1, 4, 2, 16), (1, 37, 3, 2, 3, 64), (3, 19, 3, 5, 4, nil),
]

private let ruleCases: [OperationCase] = ruleSizes.flatMap { sizes -> [OperationCase] in
    let (batch, steps, heads, keyWidth, valueWidth, chunk) = sizes
    return [true, false].map { erases -> OperationCase in
        let shape = DeltaRuleShape(heads: heads, keyWidth: keyWidth, valueWidth: valueWidth, erases: erases)
        let name = "delta rule, \(batch) x \(steps), \(heads) of \(keyWidth) x \(valueWidth), chunk \(chunk ?? 0)\(erases ? "" : ", nothing erased")"
        var result = OperationCase(name, deltaRuleInputs(batch: batch, steps: steps, shape)) { _, inputs in
            let found = deltaRule(
                inputs["associations"]!, strengths: inputs["strengths"]!, logDecays: inputs["logDecays"]!, from: inputs["state"], shape, chunk: chunk)
            return OperationCase.Outcome([found.outputs, found.state])
        } reference: {
            referenceDeltaRule($0, shape)
        }
        result.checkedElements = 6
        return result
    }
}

/// B, T, C, W, and whether documents begin on the way.
private let convolutionSizes: [(Int, Int, Int, Int, Bool)] = [
    (2, 5, 3, 4, false), (1, 2, 7, 4, false), (3, 9, 20, 2, false), (5, 1, 2, 3, false), (3, 7, 3, 4, true), (2, 2, 5, 5, true),
]

private let convolutionCases: [OperationCase] = convolutionSizes.map { sizes -> OperationCase in
    let (batch, positions, channels, width, isReset): (Int, Int, Int, Int, Bool) = sizes
    let resets: [Bool] = isReset ? documentStarts(batch * positions) : []
    let values = { @Sendable in
        ["x": randomTensor("x", [batch, positions, channels]), "weight": randomTensor("weight", [channels, width]),
         "state": randomTensor("state", [batch, width - 1, channels])]
    }
    let name = "causal convolution, \(batch) x \(positions) x \(channels), width \(width)\(isReset ? ", documents" : "")"
    return OperationCase(name, values()) { _, inputs in
        let found = causalConvolution(inputs["x"]!, weight: inputs["weight"]!, from: inputs["state"], resets: resets)
        return OperationCase.Outcome([found.outputs, found.state])
    } reference: { inputs in
        var (outputs, states): ([ReferenceArray], [ReferenceArray]) = ([], [])
        for (b, (x, state)) in zip(inputs["x"]!.rows, inputs["state"]!.rows).enumerated() {
            var before = state
            let steps = x.rows.enumerated().map { t, step -> ReferenceArray in
                if isReset, resets[b * positions + t] { before = ReferenceArray(repeating: 0, before.shape) }
                return causalConvolution(.stacked([step]), weight: inputs["weight"]!, &before)[0]
            }
            outputs.append(.stacked(steps))
            states.append(before)
        }
        return [.stacked(outputs), .stacked(states)]
    }
}

/// Places at which a document begins, among them some that follow each other.
func documentStarts(_ count: Int) -> [Bool] { (0..<count).map { [0, 4, 5].contains($0 % 7) } }
