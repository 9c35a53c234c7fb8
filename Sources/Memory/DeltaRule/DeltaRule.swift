// The gated delta rule over a sequence, one operation on the tape (Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks", equation 10).
//
// Legend: B sequences, T steps, H heads, K width of a key, V width of a value, C steps of a chunk, N chunks.

import Diagnostics
import Kernels
import Tensors

/// The extents of H matrices that associate keys of K elements with values of V, and how they are written.
public struct DeltaRuleShape: Sendable, Equatable {
    /// H.
    public var heads: Int
    /// K.
    public var keyWidth: Int
    /// V.
    public var valueWidth: Int
    /// Whether a write takes away what was stored under its key: the delta rule. Without it values add up: gated linear attention.
    public var erases = true

    /// H matrices of K x V, all positive.
    public init(heads: Int, keyWidth: Int, valueWidth: Int, erases: Bool = true) {
        require(heads > 0 && keyWidth > 0 && valueWidth > 0, "delta rule: \(heads) heads of \(keyWidth) x \(valueWidth)")
        (self.heads, self.keyWidth, self.valueWidth, self.erases) = (heads, keyWidth, valueWidth, erases)
    }

    /// H (2 K + V): the queries, keys and values of a step.
    public var associationWidth: Int { heads * (2 * keyWidth + valueWidth) }
}

private let operation = Operation("delta rule")

/// Writes and reads H matrices S [K, V] step by step. With q and k brought to length 1, g the logarithm of the decay and b the strength, a step is,
/// for each head,
///
///     S = exp(g) S;  u = b (v - S^T k);  S = S + k u^T;  o = S^T q / sqrt(K)
///
/// What was stored under k is replaced by v as far as b says; where the shape says that nothing is erased, u = b v.
///
/// Works in chunks of C steps: within one, u of all steps solves a triangular system (the WY form; Yang et al. 2024, "Parallelizing linear
/// transformers with the delta rule over sequence length", section 3), and the matrix is read and written by products. The state of each chunk's
/// start is kept for the gradient, everything else is computed again. No result depends on threads. Few steps are taken one by one
/// (`DeltaRuleStep`).
///
/// - Parameters:
///   - associations: float32 [B, T, H (2 K + V)]: queries [H, K], keys [H, K] and values [H, V].
///   - strengths: float32 [B, T, H], b.
///   - logDecays: float32 [B, T, H], g, at most 0.
///   - state: float32 [B, H K, V] before the first step; `nil` is zeros.
///   - chunk: C; `nil` is 64, or steps one by one where there are no more than 8.
/// - Returns: o, [B, T, H V], and the state after the last step, [B, H K, V].
/// - Complexity: a chunk and head cost 2 C^2 (2 K + 2 V) + 6 C K V flops forward, about three times that backward; keeps B H N K V numbers.
public func deltaRule(
    _ associations: Tensor, strengths: Tensor, logDecays: Tensor, from state: Tensor?, _ shape: DeltaRuleShape, chunk: Int? = nil
) -> (outputs: Tensor, state: Tensor) {
    operation.require(
        associations.shape.rank == 3 && associations.shape[2] == shape.associationWidth,
        "associations \(associations.shape), not [B, T, \(shape.associationWidth)]")
    let (batch, steps) = (associations.shape[0], associations.shape[1])
    let rows: Shape = [batch, steps, shape.heads]
    operation.require(strengths.shape == rows && logDecays.shape == rows, "strengths \(strengths.shape) and decays \(logDecays.shape), not \(rows)")
    let stateShape: Shape = [batch, shape.heads * shape.keyWidth, shape.valueWidth]
    operation.require(state.map { $0.shape == stateShape } ?? true, "a state \(state?.shape ?? stateShape), not \(stateShape)")
    operation.require(chunk ?? 1 > 0, "chunks of \(chunk ?? 0) steps")
    if chunk == nil, steps <= DeltaRuleComputation.singleSteps {
        let (outputs, last) = scan(
            FrameScan(
                DeltaRuleStep(shape), concatenate([associations, strengths, logDecays], axis: 2), from: state.map { ["memory": $0] } ?? [:],
                [associations, strengths, logDecays, state].contains { $0?.requiresGradient == true } ? .all : .none,
                operationsPerStep: 8 * shape.heads * shape.keyWidth * shape.valueWidth))
        return (outputs, last["memory"] ?? Tensor(zeros: stateShape))
    }
    let computation = DeltaRuleComputation(
        associations, strengths, logDecays, state, shape, chunk: min(chunk ?? DeltaRuleComputation.standardChunk, max(steps, 1)))
    let inputs = [associations, strengths, logDecays] + (state.map { [$0] } ?? [])
    let wantsGradient = inputs.contains { $0.requiresGradient }
    let outputs = Tensor(uninitialized: [batch, steps, shape.heads * shape.valueWidth])
    let last = state?.copied() ?? Tensor(zeros: stateShape)
    let starts = computation.forward(last, outputs, keepsStarts: wantsGradient)
    guard let starts else { return (outputs, last) }
    let results = operation.record([outputs, last], from: inputs) { gradients in
        let found = computation.backward(gradients[0], gradients[1], starts: starts)
        for (input, gradient) in zip(inputs, [found.associations, found.strengths, found.logDecays, found.state]) { input.node?.accumulate(gradient) }
    }
    return (results[0], results[1])
}

/// The inputs of one call, and its work by chunks.
struct DeltaRuleComputation {
    let associations: Tensor
    let strengths: Tensor
    let logDecays: Tensor
    let state: Tensor?
    let shape: DeltaRuleShape
    /// C.
    let chunk: Int
    let (batch, steps): (Int, Int)

    /// Steps of a chunk.
    static let standardChunk = 64
    /// The most steps that are taken one by one: so few are not worth a chunk's products.
    static let singleSteps = 8
    /// Rows of the triangular system that are solved one by one; what they give to later rows is one product.
    static let solvedRows = 16

    init(_ associations: Tensor, _ strengths: Tensor, _ logDecays: Tensor, _ state: Tensor?, _ shape: DeltaRuleShape, chunk: Int) {
        (self.associations, self.strengths, self.logDecays) = (associations.stopGradient(), strengths.stopGradient(), logDecays.stopGradient())
        (self.state, self.shape, self.chunk) = (state?.stopGradient(), shape, chunk)
        (batch, steps) = (associations.shape[0], associations.shape[1])
    }

    /// N.
    var chunks: Int { (steps + chunk - 1) / chunk }
    /// K V.
    var matrixCount: Int { shape.keyWidth * shape.valueWidth }
    /// 1 / sqrt(K).
    var scale: Float { 1 / Float(shape.keyWidth).squareRoot() }

    // MARK: places

    /// Where the queries, keys and values of a step begin among its associations.
    func queryPlace(_ head: Int) -> Int { head * shape.keyWidth }
    func keyPlace(_ head: Int) -> Int { (shape.heads + head) * shape.keyWidth }
    func valuePlace(_ head: Int) -> Int { 2 * shape.heads * shape.keyWidth + head * shape.valueWidth }

    /// The memory of one thread for one chunk of c steps.
    struct Work {
        /// [2 c, K]: queries of length 1, then keys.
        let units: UnsafeMutablePointer<Float>
        /// [2 c]: 1 / length.
        let inverseLengths: UnsafeMutablePointer<Float>
        /// [c]: the sum of g from the chunk's first step on, and its exponential.
        let logSums: UnsafeMutablePointer<Float>
        let decays: UnsafeMutablePointer<Float>
        /// [c]: b.
        let strengths: UnsafeMutablePointer<Float>
        /// [c, c]: exp of the sum of g behind step i up to step t, 0 above the diagonal.
        let ratios: UnsafeMutablePointer<Float>
        /// [2 c, c]: ratios times the products of queries, then of keys, with keys: the latter strictly below the diagonal.
        let products: UnsafeMutablePointer<Float>
        /// [2 c, V]: the start of the chunk read by queries, then by keys.
        let reads: UnsafeMutablePointer<Float>
        /// [c, V] each: v - S^T k, and u.
        let errors: UnsafeMutablePointer<Float>
        let updates: UnsafeMutablePointer<Float>
        /// What the gradient needs besides.
        let more: UnsafeMutablePointer<Float>

        static func count(_ c: Int, _ shape: DeltaRuleShape) -> Int {
            2 * c * shape.keyWidth + 5 * c + 3 * c * c + 4 * c * shape.valueWidth
        }

        init(_ memory: UnsafeMutablePointer<Float>, _ c: Int, _ shape: DeltaRuleShape) {
            units = memory
            inverseLengths = units + 2 * c * shape.keyWidth
            logSums = inverseLengths + 2 * c
            decays = logSums + c
            strengths = decays + c
            ratios = strengths + c
            products = ratios + c * c
            reads = products + 2 * c * c
            errors = reads + 2 * c * shape.valueWidth
            updates = errors + c * shape.valueWidth
            more = updates + c * shape.valueWidth
        }
    }

    /// Memory of its own for each thread, [threads, elements].
    func scratch(_ elements: Int) -> Tensor { Tensor(uninitialized: [Workers.count, (elements + 15) & ~15]) }

    // MARK: forward

    /// Goes through all chunks. `last` [B, H K, V] holds the state before the first step and gets that after the last one.
    /// - Returns: [B, H, N, K V], the state at the start of each chunk, when it is wanted.
    func forward(_ last: Tensor, _ outputs: Tensor, keepsStarts: Bool) -> Tensor? {
        let starts = keepsStarts ? Tensor(uninitialized: [batch, shape.heads, chunks, matrixCount]) : nil
        let memory = scratch(Work.count(chunk, shape))
        Workers.forEach(tasks: batch * shape.heads) { task in
            let matrix = last.floats + task * matrixCount
            for number in 0..<chunks {
                if let starts { (starts.floats + (task * chunks + number) * matrixCount).update(from: matrix, count: matrixCount) }
                let count = min(chunk, steps - number * chunk)
                let work = Work(memory.floats + Workers.index * memory.shape[1], count, shape)
                let (b, head) = (task / shape.heads, task % shape.heads)
                prepare(work, matrix, sequence: b, head: head, first: number * chunk, count: count)
                finish(work, matrix, outputs, sequence: b, head: head, first: number * chunk, count: count)
            }
        }
        return starts
    }

    /// Computes all of a chunk but its outputs and its last state.
    func prepare(_ work: Work, _ matrix: UnsafePointer<Float>, sequence: Int, head: Int, first: Int, count: Int) {
        let (keyWidth, valueWidth) = (shape.keyWidth, shape.valueWidth)
        let keys = work.units + count * keyWidth
        var sum: Float = 0
        for t in 0..<count {
            let row = sequence * steps + first + t
            let step = associations.floats + row * shape.associationWidth
            storeUnit(work.units + t * keyWidth, step + queryPlace(head), work.inverseLengths + t)
            storeUnit(keys + t * keyWidth, step + keyPlace(head), work.inverseLengths + count + t)
            (work.errors + t * valueWidth).update(from: step + valuePlace(head), count: valueWidth)
            work.strengths[t] = strengths.floats[row * shape.heads + head]
            sum += logDecays.floats[row * shape.heads + head]
            work.logSums[t] = sum
        }
        kernels.unary(.exponential, work.decays, work.logSums, count)
        for t in 0..<count {
            let row = work.ratios + t * count
            kernels.affine(row, work.logSums, scale: -1, offset: work.logSums[t], t + 1)
            kernels.unary(.exponential, row, row, t + 1)
            kernels.fill(row + t + 1, 0, count - t - 1)
        }
        let rows = shape.erases ? 2 * count : count
        multiplyMatrices(
            work.products, leadingC: count, work.units, leadingA: keyWidth, keys, .transposed, leadingB: keyWidth, m: rows, n: count, k: keyWidth)
        multiplyMatrices(
            work.reads, leadingC: valueWidth, work.units, leadingA: keyWidth, matrix, leadingB: valueWidth, m: rows, n: valueWidth, k: keyWidth)
        kernels.multiply(work.products, work.products, work.ratios, count * count)
        guard shape.erases else {
            for t in 0..<count { scaleRow(work.updates, work.errors, t, by: work.strengths[t]) }
            return
        }
        let between = work.products + count * count
        kernels.multiply(between, between, work.ratios, count * count)
        for t in 0..<count {
            between[t * count + t] = 0
            kernels.addScaled(work.errors + t * valueWidth, work.reads + (count + t) * valueWidth, scale: -work.decays[t], valueWidth)
        }
        // Forward substitution: an error is what the updates before it have left of it.
        for block in stride(from: 0, to: count, by: Self.solvedRows) {
            let rows = min(Self.solvedRows, count - block)
            if block > 0 {
                multiplyMatrices(
                    work.errors + block * valueWidth, leadingC: valueWidth, between + block * count, leadingA: count, work.updates,
                    leadingB: valueWidth, m: rows, n: valueWidth, k: block, alpha: -1, beta: 1)
            }
            for t in block..<block + rows {
                for i in block..<t {
                    kernels.addScaled(
                        work.errors + t * valueWidth, work.updates + i * valueWidth, scale: -between[t * count + i], valueWidth)
                }
                scaleRow(work.updates, work.errors, t, by: work.strengths[t])
            }
        }
    }

    private func scaleRow(_ out: UnsafeMutablePointer<Float>, _ rows: UnsafePointer<Float>, _ t: Int, by scale: Float) {
        kernels.affine(out + t * shape.valueWidth, rows + t * shape.valueWidth, scale: scale, offset: 0, shape.valueWidth)
    }

    private func storeUnit(_ unit: UnsafeMutablePointer<Float>, _ vector: UnsafePointer<Float>, _ inverse: UnsafeMutablePointer<Float>) {
        inverse.pointee = 1 / (kernels.dot(vector, vector, shape.keyWidth) + DeltaRuleStep.epsilon).squareRoot()
        kernels.affine(unit, vector, scale: inverse.pointee, offset: 0, shape.keyWidth)
    }

    /// The outputs of a prepared chunk, and the state after it in place of that before it. Overwrites keys and reads.
    private func finish(
        _ work: Work, _ matrix: UnsafeMutablePointer<Float>, _ outputs: Tensor, sequence: Int, head: Int, first: Int, count: Int
    ) {
        let (keyWidth, valueWidth) = (shape.keyWidth, shape.valueWidth)
        for t in 0..<count { scaleRow(work.reads, work.reads, t, by: scale * work.decays[t]) }
        multiplyMatrices(
            work.reads, leadingC: valueWidth, work.products, leadingA: count, work.updates, leadingB: valueWidth, m: count, n: valueWidth, k: count,
            alpha: scale, beta: 1)
        for t in 0..<count {
            let place = ((sequence * steps + first + t) * shape.heads + head) * valueWidth
            (outputs.floats + place).update(from: work.reads + t * valueWidth, count: valueWidth)
        }
        let keys = work.units + count * keyWidth
        let behind = work.ratios + (count - 1) * count
        for t in 0..<count { kernels.affine(keys + t * keyWidth, keys + t * keyWidth, scale: behind[t], offset: 0, keyWidth) }
        kernels.affine(matrix, matrix, scale: work.decays[count - 1], offset: 0, matrixCount)
        multiplyMatrices(
            matrix, leadingC: valueWidth, keys, .transposed, leadingA: keyWidth, work.updates, leadingB: valueWidth, m: keyWidth, n: valueWidth,
            k: count, beta: 1)
    }
}
