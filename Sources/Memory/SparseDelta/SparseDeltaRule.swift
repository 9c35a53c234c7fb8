// The gated delta rule on a few rows of a large memory, one operation on the tape (Cabannes et al. 2026, "Sparse Delta Memory", section 3).
//
// Legend: B sequences, T steps, H heads, S rows of a head, V width of a row, W rows that a step writes to, R rows that it reads.

import Diagnostics
import Kernels
import Tensors

private let operation = Operation("sparse delta rule")

/// Writes and reads a few rows of H memories M [S, V] step by step. With k and q the weights of the rows that a step writes to and reads, g the
/// logarithm of the decay and b the strength, a step is, for each head,
///
///     M[i] = exp(g) M[i] for the rows i that are written;  u = b (v - sum over i of k[i] M[i]);  M[i] = M[i] + k[i] u;  o = sum over j of q[j] M[j]
///
/// Other rows stay as they are, and cost nothing. Where a document begins, a sequence goes on from `start`, as all of them do that bring no state.
/// Kept for the gradient are the rows that a step writes to as they were before: going back, the memory is unwritten step by step. No result depends
/// on threads.
///
/// - Parameters:
///   - values: float32 [B, T, H V], v.
///   - strengths: float32 [B, T, H], b.
///   - logDecays: float32 [B, T, H], g, at most 0.
///   - writes: k, W rows a step.
///   - reads: q, R rows a step.
///   - rows: S.
///   - state: float32 [B, H S, V] before the first step; `nil` is the start.
///   - start: float32 [H S, V], what a sequence begins with; `nil` is zeros.
///   - resets: [B, T], true where a sequence begins anew before the step; empty for nowhere.
/// - Returns: o, [B, T, H V], and the state after the last step, [B, H S, V].
/// - Complexity: a step and head cost 2 V (3 W + R) flops forward, three times that backward; a call moves B H S V numbers for the state, a reset
///   H S V. Keeps B T H (W + 1) V numbers, and H S V for each reset.
public func sparseDeltaRule(
    _ values: Tensor, strengths: Tensor, logDecays: Tensor, writes: RowAddresses, reads: RowAddresses, rows: Int, from state: Tensor?,
    start: Tensor? = nil, resets: [Bool] = []
) -> (outputs: Tensor, state: Tensor) {
    operation.require(values.shape.rank == 3 && strengths.shape.rank == 3, "values \(values.shape) and strengths \(strengths.shape)")
    let (batch, steps, heads) = (strengths.shape[0], strengths.shape[1], strengths.shape[2])
    operation.require(
        logDecays.shape == strengths.shape && values.shape[0] == batch && values.shape[1] == steps && values.shape[2] % heads == 0,
        "values \(values.shape), strengths \(strengths.shape) and decays \(logDecays.shape)")
    for addresses in [writes, reads] {
        operation.require(
            addresses.weights.shape == [batch, steps, heads, addresses.count] && addresses.rows.shape == addresses.weights.shape,
            "addresses \(addresses.rows.shape) with weights \(addresses.weights.shape)")
    }
    let startShape: Shape = [heads * rows, values.shape[2] / heads]
    let stateShape: Shape = [batch, heads * rows, startShape[1]]
    operation.require(state.map { $0.shape == stateShape } ?? true, "a state \(state?.shape ?? stateShape), not \(stateShape)")
    operation.require(start.map { $0.shape == startShape } ?? true, "a start \(start?.shape ?? startShape), not \(startShape)")
    operation.require(resets.isEmpty || resets.count == batch * steps, "\(resets.count) resets of \(batch) x \(steps) steps")
    let computation = SparseDeltaComputation(
        values, strengths, logDecays, writes, reads, rows: rows, start: start, hasState: state != nil, resets: resets)
    let inputs = [values, strengths, logDecays, writes.weights, reads.weights]
    let all = inputs + [state, start].compactMap { $0 }
    let outputs = Tensor(uninitialized: values.shape)
    let last = state?.copied() ?? computation.starts()
    guard let trace = computation.forward(last, outputs, keeps: all.contains { $0.requiresGradient }) else { return (outputs, last) }
    let results = operation.record([outputs, last], from: all) { gradients in
        let found = computation.backward(gradients[0], gradients[1], last: last, trace, wantsStart: start?.requiresGradient == true)
        for (input, gradient) in zip(inputs, [found.values, found.strengths, found.logDecays, found.writes, found.reads]) {
            input.node?.accumulate(gradient)
        }
        if let gradient = found.state { state?.node?.accumulate(gradient) }
        if let gradient = found.start { start?.node?.accumulate(gradient) }
    }
    return (results[0], results[1])
}

/// The inputs of one call, and its work.
struct SparseDeltaComputation {
    let values: Tensor
    let strengths: Tensor
    /// [B, T, H]: exp(g).
    let decays: Tensor
    let (writeRows, writeWeights): (Tensor, Tensor)
    let (readRows, readWeights): (Tensor, Tensor)
    /// S.
    let rows: Int
    let start: Tensor?
    /// Whether sequences bring a state, instead of beginning.
    let hasState: Bool
    let (batch, steps, heads): (Int, Int, Int)
    /// W and R.
    let (writes, reads): (Int, Int)
    /// V.
    let width: Int
    /// [B, T]: the number of the reset before a step among all of the call, or -1; empty where there is none.
    let resets: [Int]
    let resetCount: Int

    init(
        _ values: Tensor, _ strengths: Tensor, _ logDecays: Tensor, _ writes: RowAddresses, _ reads: RowAddresses, rows: Int, start: Tensor?,
        hasState: Bool, resets: [Bool]
    ) {
        (self.values, self.strengths, self.start) = (values.stopGradient(), strengths.stopGradient(), start?.stopGradient())
        (writeRows, writeWeights) = (writes.rows, writes.weights.stopGradient())
        (readRows, readWeights) = (reads.rows, reads.weights.stopGradient())
        decays = Tensor(uninitialized: logDecays.shape)
        kernels.unary(.exponential, decays.floats, logDecays.floats, logDecays.count)
        (self.rows, self.hasState) = (rows, hasState)
        (batch, steps, heads) = (strengths.shape[0], strengths.shape[1], strengths.shape[2])
        (self.writes, self.reads, width) = (writes.count, reads.count, values.shape[2] / strengths.shape[2])
        var count = 0
        let numbers = resets.map { isReset -> Int in
            if !isReset { return -1 }
            count += 1
            return count - 1
        }
        self.resets = count == 0 ? [] : numbers
        resetCount = count
    }

    /// S V, the numbers of a head's memory.
    var headCount: Int { rows * width }

    /// The start for every sequence: [B, H S, V].
    func starts() -> Tensor {
        guard let start else { return Tensor(zeros: [batch, heads * rows, width]) }
        let result = Tensor(uninitialized: [batch, heads * rows, width])
        for b in 0..<batch { (result.floats + b * start.count).update(from: start.floats, count: start.count) }
        return result
    }

    /// The number of the reset before a step, -1 for none.
    func reset(_ sequence: Int, _ t: Int) -> Int { resets.isEmpty ? -1 : resets[sequence * steps + t] }

    /// What is kept for the gradient.
    struct Trace {
        /// [B, T, H, W, V]: the rows that a step writes to, before it.
        let before: Tensor
        /// [B, T, H, V]: v - sum over i of k[i] exp(g) M[i].
        let errors: Tensor
        /// [resets, H S, V]: the memory that was left behind at each reset.
        let left: Tensor
    }

    /// Goes through all steps. `last` [B, H S, V] holds the state before the first step and gets that after the last one.
    /// - Returns: what the gradient needs, when it is wanted.
    func forward(_ last: Tensor, _ outputs: Tensor, keeps: Bool) -> Trace? {
        let count = batch * steps * heads
        let trace = keeps
            ? Trace(
                before: Tensor(uninitialized: [count, writes * width]), errors: Tensor(uninitialized: [count, width]),
                left: Tensor(uninitialized: [resetCount, heads * headCount])) : nil
        Workers.forEach(tasks: batch * heads) { task in
            let (b, head) = (task / heads, task % heads)
            let memory = last.floats + task * headCount
            let update = Tensor(uninitialized: [2, width])
            for t in 0..<steps {
                let reset = reset(b, t)
                if reset >= 0 { restart(memory, head, left: trace.map { $0.left.floats + (reset * heads + head) * headCount }) }
                let place = (b * steps + t) * heads + head
                step(
                    memory, place, outputs.floats + place * width, error: trace.map { $0.errors.floats + place * width } ?? update.floats + width,
                    before: trace.map { $0.before.floats + place * writes * width }, update: update.floats)
            }
        }
        return trace
    }

    /// Puts a head's memory back to its start. `left` gets what it was.
    private func restart(_ memory: UnsafeMutablePointer<Float>, _ head: Int, left: UnsafeMutablePointer<Float>?) {
        left?.update(from: memory, count: headCount)
        if let start {
            memory.update(from: start.floats + head * headCount, count: headCount)
        } else {
            kernels.fill(memory, 0, headCount)
        }
    }

    /// One step of one head.
    /// - Parameters:
    ///   - memory: [S, V].
    ///   - place: of the step and head, b T H + t H + h.
    ///   - before: gets the rows that are written as they were, [W, V].
    private func step(
        _ memory: UnsafeMutablePointer<Float>, _ place: Int, _ out: UnsafeMutablePointer<Float>, error: UnsafeMutablePointer<Float>,
        before: UnsafeMutablePointer<Float>?, update: UnsafeMutablePointer<Float>
    ) {
        let (rows, weights) = (writeRows.integers + place * writes, writeWeights.floats + place * writes)
        let decay = decays.floats[place]
        error.update(from: values.floats + place * width, count: width)
        for i in 0..<writes {
            let row = memory + Int(rows[i]) * width
            if let before { (before + i * width).update(from: row, count: width) }
            kernels.addScaled(error, row, scale: -decay * weights[i], width)
        }
        kernels.affine(update, error, scale: strengths.floats[place], offset: 0, width)
        for i in 0..<writes {
            let row = memory + Int(rows[i]) * width
            kernels.affine(row, row, scale: decay, offset: 0, width)
            kernels.addScaled(row, update, scale: weights[i], width)
        }
        let (chosen, shares) = (readRows.integers + place * reads, readWeights.floats + place * reads)
        kernels.fill(out, 0, width)
        for j in 0..<reads { kernels.addScaled(out, memory + Int(chosen[j]) * width, scale: shares[j], width) }
    }
}
