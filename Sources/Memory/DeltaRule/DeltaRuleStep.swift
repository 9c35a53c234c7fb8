// The delta rule with a decay: one step of one sequence, and its gradient (Yang, Kautz and Hatamizadeh 2024, "Gated Delta Networks", equation 10).
//
// Legend: H heads, K width of a key, V width of a value, P = H (2 K + V + 2) numbers of a step.

import Kernels
import Tensors

/// The step of `deltaRule`, as its equations read. The numbers of a step are the queries [H, K], the keys [H, K], the values [H, V], the strengths
/// [H] and the logarithms of the decays [H].
struct DeltaRuleStep: FrameCell {
    let operation = Operation("delta rule")
    let layout: FrameLayout
    private let heads: Int
    private let keyWidth: Int
    private let valueWidth: Int
    private let erases: Bool

    // Places in a frame.
    /// [H, K, V].
    private let memory: Int
    /// [2 H, K]: queries and keys of length 1.
    private let units: Int
    /// [2 H]: 1 / length.
    private let inverseLengths: Int
    /// [H]: the decays.
    private let decays: Int
    /// [H, V] each: v - S^T k, and u.
    private let errors: Int
    private let updates: Int

    /// Added to the square of a length.
    static let epsilon: Float = 1e-6

    init(_ shape: DeltaRuleShape) {
        (heads, keyWidth, valueWidth, erases) = (shape.heads, shape.keyWidth, shape.valueWidth, shape.erases)
        var layout = FrameLayout()
        memory = layout.place("memory", rows: heads * keyWidth, valueWidth, stride: valueWidth)
        layout.endState()
        units = layout.place(2 * heads * keyWidth)
        inverseLengths = layout.place(2 * heads)
        decays = layout.place(heads)
        errors = layout.place(heads * valueWidth)
        updates = layout.place(heads * valueWidth)
        self.layout = layout
    }

    var inputWidth: Int { heads * (2 * keyWidth + valueWidth + 2) }
    var outputWidth: Int { heads * valueWidth }
    var readHeads: Int { heads }
    var scratchCount: Int { 2 * valueWidth + 2 * keyWidth }

    /// Where the values stand among the numbers, and the strengths (the logarithms of the decays behind them).
    private var values: Int { 2 * heads * keyWidth }
    private var strengths: Int { values + heads * valueWidth }

    func step(
        _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>, _ input: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        for row in 0..<2 * heads {
            let (source, unit) = (input + row * keyWidth, next + units + row * keyWidth)
            let inverse = 1 / (kernels.dot(source, source, keyWidth) + Self.epsilon).squareRoot()
            next[inverseLengths + row] = inverse
            kernels.affine(unit, source, scale: inverse, offset: 0, keyWidth)
        }
        kernels.unary(.exponential, next + decays, input + strengths + heads, heads)
        for head in 0..<heads {
            let (query, key) = (next + units + head * keyWidth, next + units + (heads + head) * keyWidth)
            let (error, update) = (next + errors + head * valueWidth, next + updates + head * valueWidth)
            let (matrix, out) = (next + memory + head * keyWidth * valueWidth, output + head * valueWidth)
            kernels.affine(
                matrix, previous + memory + head * keyWidth * valueWidth, scale: next[decays + head], offset: 0, keyWidth * valueWidth)
            error.update(from: input + values + head * valueWidth, count: valueWidth)
            if erases { for i in 0..<keyWidth { kernels.addScaled(error, matrix + i * valueWidth, scale: -key[i], valueWidth) } }
            kernels.affine(update, error, scale: input[strengths + head], offset: 0, valueWidth)
            out.update(repeating: 0, count: valueWidth)
            let scale = 1 / Float(keyWidth).squareRoot()
            for i in 0..<keyWidth {
                kernels.addScaled(matrix + i * valueWidth, update, scale: key[i], valueWidth)
                kernels.addScaled(out, matrix + i * valueWidth, scale: query[i] * scale, valueWidth)
            }
        }
    }

    func stepGradient(
        _ gradient: UnsafeMutablePointer<Float>, _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>,
        _ input: UnsafeMutablePointer<Float>, outputGradient: UnsafePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let scale = 1 / Float(keyWidth).squareRoot()
        let (updateGradient, errorGradient) = (scratch, scratch + valueWidth)
        let (queryGradient, keyGradient) = (scratch + 2 * valueWidth, scratch + 2 * valueWidth + keyWidth)
        for head in 0..<heads {
            let (query, key) = (next + units + head * keyWidth, next + units + (heads + head) * keyWidth)
            let (error, update) = (next + errors + head * valueWidth, next + updates + head * valueWidth)
            let (strength, decay) = (input[strengths + head], next[decays + head])
            let place = memory + head * keyWidth * valueWidth
            let (matrix, before, matrixGradient) = (next + place, previous + place, gradient + place)
            let out = outputGradient + head * valueWidth
            // o = S^T q / sqrt(K), then S = S + k u^T.
            updateGradient.update(repeating: 0, count: valueWidth)
            for i in 0..<keyWidth {
                let row = i * valueWidth
                queryGradient[i] = scale * kernels.dot(matrix + row, out, valueWidth)
                kernels.addScaled(matrixGradient + row, out, scale: scale * query[i], valueWidth)
                keyGradient[i] = kernels.dot(matrixGradient + row, update, valueWidth)
                kernels.addScaled(updateGradient, matrixGradient + row, scale: key[i], valueWidth)
            }
            // u = b (v - S^T k), S = exp(g) S.
            let strengthGradient = kernels.dot(updateGradient, error, valueWidth)
            kernels.affine(errorGradient, updateGradient, scale: strength, offset: 0, valueWidth)
            var decayGradient: Float = 0
            for i in 0..<keyWidth {
                let row = i * valueWidth
                if erases {
                    keyGradient[i] -= decay * kernels.dot(before + row, errorGradient, valueWidth)
                    kernels.addScaled(matrixGradient + row, errorGradient, scale: -key[i], valueWidth)
                }
                decayGradient += kernels.dot(matrixGradient + row, before + row, valueWidth)
                kernels.affine(matrixGradient + row, matrixGradient + row, scale: decay, offset: 0, valueWidth)
            }
            storeUnit(input + head * keyWidth, queryGradient, unit: query, next[inverseLengths + head])
            storeUnit(input + (heads + head) * keyWidth, keyGradient, unit: key, next[inverseLengths + heads + head])
            (input + values + head * valueWidth).update(from: errorGradient, count: valueWidth)
            input[strengths + head] = strengthGradient
            input[strengths + heads + head] = decayGradient * decay
        }
    }

    /// The gradient of a vector before it was brought to length 1.
    private func storeUnit(
        _ target: UnsafeMutablePointer<Float>, _ gradient: UnsafePointer<Float>, unit: UnsafePointer<Float>, _ inverseLength: Float
    ) {
        let along = kernels.dot(gradient, unit, keyWidth)
        for i in 0..<keyWidth { target[i] = inverseLength * (gradient[i] - along * unit[i]) }
    }
}
