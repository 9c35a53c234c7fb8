// The part of the table about Sparse Delta Memory: what must hold of every line is in MemoryReferenceTests.

import Memory
import Reference
import TestSupport
import Tensors

/// The sparse delta rule from a state or a start, with documents that begin on the way; and the search for rows by product keys.
let sparseDeltaCases: [OperationCase] = ruleCases + addressCases

/// One call's extents: B, T, H, S, V, W, R; whether sequences bring a state, and whether documents begin on the way.
private struct RuleSizes {
    let (batch, steps, heads, rows, width): (Int, Int, Int, Int, Int)
    let (writes, reads): (Int, Int)
    let (hasState, isReset): (Bool, Bool)

    init(_ batch: Int, _ steps: Int, _ heads: Int, _ rows: Int, _ width: Int, _ writes: Int, _ reads: Int, state: Bool, resets: Bool) {
        (self.batch, self.steps, self.heads, self.rows, self.width) = (batch, steps, heads, rows, width)
        (self.writes, self.reads, hasState, isReset) = (writes, reads, state, resets)
    }

    var name: String {
        "sparse delta rule, \(batch) x \(steps), \(heads) of \(rows) x \(width), \(writes) written, \(reads) read"
            + (hasState ? ", from a state" : "") + (isReset ? ", documents" : "")
    }
    var resets: [Bool] { isReset ? documentStarts(batch * steps) : [] }
    /// Different rows for each address of so many.
    func addresses(_ name: String, _ count: Int) -> [[Int]] {
        var random = RandomStream(seed: 5, name: name)
        return (0..<batch * steps * heads).map { _ in Array((0..<rows).shuffled(using: &random).prefix(count)) }
    }
    var inputs: [String: Tensor] {
        let gates: Shape = [batch, steps, heads]
        var result = [
            "values": randomTensor("values", [batch, steps, heads * width]), "strengths": randomTensor("strengths", gates, in: 0.1...0.95),
            "logDecays": randomTensor("logDecays", gates, in: -0.9...(-0.01)),
            "writes": randomTensor("writes", [batch, steps, heads, writes], deviation: 0.5),
            "reads": randomTensor("reads", [batch, steps, heads, reads], deviation: 0.5),
        ]
        if hasState { result["state"] = randomTensor("state", [batch, heads * rows, width]) }
        if !hasState || isReset { result["start"] = randomTensor("start", [heads * rows, width]) }
        return result
    }
}

private let ruleCases: [OperationCase] = [
    RuleSizes(2, 3, 2, 4, 5, 2, 3, state: true, resets: false), RuleSizes(2, 11, 1, 9, 3, 9, 1, state: false, resets: false),
    RuleSizes(3, 9, 2, 25, 4, 4, 6, state: true, resets: true), RuleSizes(1, 23, 3, 16, 1, 1, 16, state: false, resets: true),
    RuleSizes(9, 4, 2, 16, 33, 5, 3, state: false, resets: true), RuleSizes(1, 1, 1, 1, 1, 1, 1, state: true, resets: false),
].map { sizes -> OperationCase in
    let (written, read) = (sizes.addresses("written", sizes.writes), sizes.addresses("read", sizes.reads))
    var result = OperationCase(sizes.name, sizes.inputs) { _, inputs in
        func addresses(_ rows: [[Int]], _ weights: Tensor) -> RowAddresses {
            RowAddresses(rows: Tensor(rows.flatMap { $0.map { Int32($0) } }, weights.shape), weights: weights)
        }
        let found = sparseDeltaRule(
            inputs["values"]!, strengths: inputs["strengths"]!, logDecays: inputs["logDecays"]!, writes: addresses(written, inputs["writes"]!),
            reads: addresses(read, inputs["reads"]!), rows: sizes.rows, from: inputs["state"], start: inputs["start"], resets: sizes.resets)
        return OperationCase.Outcome([found.outputs, found.state])
    } reference: { inputs in
        referenceSparseDeltaRule(inputs, sizes, written, read)
    }
    result.checkedElements = 6
    return result
}

/// The operation by its reference: outputs [B, T, H V] and states [B, H S, V].
private func referenceSparseDeltaRule(
    _ inputs: [String: ReferenceArray], _ sizes: RuleSizes, _ written: [[Int]], _ read: [[Int]]
) -> [ReferenceArray] {
    var (outputs, states): ([ReferenceArray], [ReferenceArray]) = ([], [])
    for b in 0..<sizes.batch {
        var (found, memories): ([ReferenceArray], [ReferenceArray]) = ([], [])
        for head in 0..<sizes.heads {
            func addresses(_ rows: [[Int]], _ weights: ReferenceArray) -> [ReferenceAddress] {
                (0..<sizes.steps).map { t in
                    ReferenceAddress(rows: rows[(b * sizes.steps + t) * sizes.heads + head], weights: weights[b][t][head])
                }
            }
            let own = head * sizes.rows..<(head + 1) * sizes.rows
            let start = inputs["start"]?.slice(own, axis: 0) ?? ReferenceArray(repeating: 0, [sizes.rows, sizes.width])
            var memory = inputs["state"]?[b].slice(own, axis: 0) ?? start
            let resets = sizes.isReset ? Array(sizes.resets[b * sizes.steps..<(b + 1) * sizes.steps]) : [Bool](repeating: false, count: sizes.steps)
            found.append(
                sparseDeltaRule(
                    values: inputs["values"]![b].slice(head * sizes.width..<(head + 1) * sizes.width),
                    strengths: inputs["strengths"]![b].slice(head..<head + 1).flattened,
                    logDecays: inputs["logDecays"]![b].slice(head..<head + 1).flattened, writes: addresses(written, inputs["writes"]!),
                    reads: addresses(read, inputs["reads"]!), &memory, start: start, resets: resets))
            memories.append(memory)
        }
        outputs.append(.concatenated(found))
        states.append(.concatenated(memories, axis: 0))
    }
    return [.stacked(outputs), .stacked(states)]
}

/// B, T, H, K / 2, n, W.
private let addressSizes: [(Int, Int, Int, Int, Int, Int)] = [
    (2, 3, 2, 3, 4, 5), (1, 7, 1, 2, 5, 25), (3, 4, 3, 1, 3, 1), (2, 5, 2, 8, 17, 33), (1, 1, 1, 4, 1, 1), (4, 40, 2, 5, 32, 16),
]

private let addressCases: [OperationCase] = addressSizes.map { sizes -> OperationCase in
    let (batch, steps, heads, half, side, count): (Int, Int, Int, Int, Int, Int) = sizes
    let values = { @Sendable in
        ["queries": randomTensor("queries", [batch, steps, heads * 2 * half]), "keys": randomTensor("keys", [2 * heads * side, half])]
    }
    var result = OperationCase("product keys, \(batch) x \(steps), \(heads) of \(side)^2 of \(2 * half), the best \(count)", values()) { _, inputs in
        let found = productKeyAddresses(inputs["queries"]!, keys: inputs["keys"]!, heads: heads, count: count)
        return OperationCase.Outcome([found.weights, Tensor(found.rows.integerArray.map { Float($0) }, found.rows.shape)])
    } reference: { inputs in
        var (weights, rows): ([ReferenceArray], [Double]) = ([], [])
        for step in inputs["queries"]!.rows.flatMap(\.rows) {
            for head in 0..<heads {
                func scores(_ part: Int) -> ReferenceArray {
                    let number = 2 * head + part
                    return inputs["keys"]!.slice(number * side..<(number + 1) * side, axis: 0)
                        .times(step.slice(number * half..<(number + 1) * half))
                }
                let found = productKeyAddress(scores(0), scores(1), count: count)
                weights.append(found.weights)
                rows += found.rows.map { Double($0) }
            }
        }
        let shape = [batch, steps, heads, count]
        return [ReferenceArray.stacked(weights).reshaped(shape), ReferenceArray(rows, shape)]
    }
    result.checkedElements = 6
    return result
}
