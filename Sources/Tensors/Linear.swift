// Matrix products on the tape.
//
// Legend: R rows (all leading axes together), I input width, O output width, M N K the extents of a matrix product.

import Diagnostics
import Kernels

/// y = x W^T + b, the layer of a fully connected network.
///
/// - Parameters:
///   - x: [..., I], float32 or bfloat16.
///   - weight: [O, I], as PyTorch lays it out, of x's type. The gradient of a parameter is float32 all the same.
///   - bias: [O], float32.
///   - outputType: of y; `nil` is x's.
///   - packed: of the weight, without a tape; `nil` for weights that change.
/// - Returns: [..., O].
/// - Complexity: 2 R I O flops forward, 4 R I O backward.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor? = nil, outputType: DataType? = nil, packed: PackedOperand? = nil) -> Tensor {
    checkLinear(x, weight, bias)
    let y = Tensor(uninitialized: x.shape.replacingColumns(weight.shape[0]), outputType ?? x.dataType)
    multiply(into: y, x, weight, bias: bias, packed)
    let backward = { (gradient: Tensor) in
        let gradient = gradient.converted(to: x.dataType)
        linearGradient(gradient, x: x, weight: weight)
        if let node = bias?.node { accumulateColumnSums(gradient, into: node) }
    }
    guard let bias else { return Operation("linear").record(y, from: x, weight, backward: backward) }
    return Operation("linear").record(y, from: [x, weight, bias], backward: backward)
}

/// y = x W^T + bias.
private func multiply(into y: Tensor, _ x: Tensor, _ weight: Tensor, bias: Tensor?, _ packed: PackedOperand?) {
    let bias = bias.map { UnsafePointer($0.floats) }
    if packed?.multiply(into: y, x, bias: bias) == true { return }
    multiplyMatrices(
        into: MatrixOperand(y), MatrixOperand(x), MatrixOperand(weight, .transposed), m: x.shape.rows, n: weight.shape[0], k: weight.shape[1],
        bias: bias)
}

private func checkLinear(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?) {
    require(weight.shape.rank == 2 && x.shape.columns == weight.shape[1], "linear: input \(x.shape) does not fit weight \(weight.shape)")
    if let bias { require(bias.count == weight.shape[0], "linear: bias \(bias.shape) does not fit weight \(weight.shape)") }
}

/// Adds the gradients of x W^T to the nodes of x and W.
private func linearGradient(_ gradient: Tensor, x: Tensor, weight: Tensor) {
    let rows = x.shape.rows
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    x.node?.withGradientTensor { target, accumulate in
        multiplyMatrices(
            into: MatrixOperand(target, leading: inputs), MatrixOperand(gradient), MatrixOperand(weight), m: rows, n: inputs, k: outputs,
            beta: accumulate ? 1 : 0)
    }
    weight.node?.withGradientTensor { target, accumulate in
        multiplyMatrices(
            into: MatrixOperand(target, leading: inputs), MatrixOperand(gradient, .transposed), MatrixOperand(x), m: outputs, n: inputs, k: rows,
            beta: accumulate ? 1 : 0)
    }
}

/// Adds the sums over all rows to a bias's gradient.
func accumulateColumnSums(_ gradient: Tensor, into node: Node) {
    let columns = gradient.shape.columns
    node.withZeroedGradient { target in
        parallelRowSums(gradient.shape.rows, columns: columns, into: target, count: columns) { first, rows, sums in
            kernels.accumulateColumnSums(sums, gradient.elements + first * columns, rows: rows, columns: columns)
        }
    }
}

/// The non-linearity that a fused linear layer ends with.
public enum LinearActivation: Sendable {
    /// GELU in its tanh approximation.
    case gelu
    /// max(0, x).
    case rectifier
}

/// activation(x W^T + b) in one operation: the first half of a feed-forward block.
///
/// - Parameters: as `linear`.
/// - Returns: [..., O] of x's type. Keeps the product before the bias for the gradient of GELU, only the result for the rectifier.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor, activation: LinearActivation, packed: PackedOperand? = nil) -> Tensor {
    checkLinear(x, weight, bias)
    let product = Tensor(uninitialized: x.shape.replacingColumns(weight.shape[0]), x.dataType)
    multiply(into: product, x, weight, bias: nil, packed)
    let y = activation == .gelu ? Tensor(uninitialized: product.shape, x.dataType) : product
    addBiasAndActivate(y, product, bias: bias, activation)
    return Operation("activated linear").record(y, from: [x, weight, bias]) { gradient in
        let inner = activationGradient(gradient, product: product, bias: bias, activation)
        linearGradient(inner, x: x, weight: weight)
        if let node = bias.node { accumulateColumnSums(inner, into: node) }
    }
}

/// y = activation(product + bias); y may be the product for the rectifier.
private func addBiasAndActivate(_ y: Tensor, _ product: Tensor, bias: Tensor, _ activation: LinearActivation) {
    let (columns, row) = (y.shape.columns, bias.floats)
    parallelRows(y.shape.rows, columns: columns) { first, rows in
        let start = first * columns
        switch activation {
        case .gelu: kernels.addRowGELU(y.elements + start, product.elements + start, row: row, rows: rows, columns: columns)
        case .rectifier: kernels.addRowRectifier(y.elements + start, product.elements + start, row: row, rows: rows, columns: columns)
        }
    }
}

/// The gradient before the non-linearity. `product`: before the bias for GELU, the result for the rectifier.
private func activationGradient(_ gradient: Tensor, product: Tensor, bias: Tensor, _ activation: LinearActivation) -> Tensor {
    let result = Tensor(uninitialized: product.shape, product.dataType)
    let (columns, row) = (product.shape.columns, bias.floats)
    parallelRows(product.shape.rows, columns: columns) { first, rows in
        let start = first * columns
        switch activation {
        case .gelu:
            kernels.addRowGELUGradient(
                result.elements + start, outputGradient: gradient.elements + start, product.elements + start, row: row, rows: rows, columns: columns)
        case .rectifier:
            kernels.rectifierGradient(
                result.elements + start, outputGradient: gradient.elements + start, output: product.elements + start, rows * columns)
        }
    }
    return result
}

/// The product of two matrices, or of two equally long stacks of matrices.
///
/// - Parameters:
///   - a: [M, K] or [..., M, K]; [.., K, M] when `transposeA`.
///   - b: [K, N] or [..., K, N]; [.., N, K] when `transposeB`. A single matrix serves every matrix of a stack `a`.
/// - Returns: [..., M, N].
/// - Complexity: 2 M N K flops a matrix forward, twice that backward.
public func matmul(_ a: Tensor, _ b: Tensor, transposeA: Bool = false, transposeB: Bool = false) -> Tensor {
    require(a.shape.rank >= 2 && b.shape.rank >= 2, "matmul: \(a.shape) and \(b.shape) are not both matrices")
    let (m, k) = transposeA ? (a.shape[-1], a.shape[-2]) : (a.shape[-2], a.shape[-1])
    let (k2, n) = transposeB ? (b.shape[-1], b.shape[-2]) : (b.shape[-2], b.shape[-1])
    let batches = a.shape.count(from: 0, to: a.shape.rank - 2)
    let batchesB = b.shape.count(from: 0, to: b.shape.rank - 2)
    require(k == k2 && (batchesB == batches || batchesB == 1), "matmul: \(a.shape) and \(b.shape) do not fit")
    var shape = a.shape
    shape[-2] = m
    shape[-1] = n
    let (stepA, stepB, stepC) = (m * k, batchesB == 1 ? 0 : k * n, m * n)
    let (leadingA, leadingB) = (a.shape[-1], b.shape[-1])
    let (opA, opB): (Transposition, Transposition) = (transposeA ? .transposed : .none, transposeB ? .transposed : .none)
    let c = Tensor(uninitialized: shape)
    for i in 0..<batches {
        multiplyMatrices(
            c.floats + i * stepC, leadingC: n, a.floats + i * stepA, opA, leadingA: leadingA, b.floats + i * stepB, opB, leadingB: leadingB, m: m,
            n: n, k: k)
    }
    return Operation("matmul").record(c, from: a, b) { gradient in
        a.node?.withGradient { target, accumulate in
            let beta: Float = accumulate ? 1 : 0
            for i in 0..<batches {
                let (g, bi) = (gradient.floats + i * stepC, b.floats + i * stepB)
                if transposeA {  // dA^T = B G^T
                    multiplyMatrices(
                        target + i * stepA, leadingC: leadingA, bi, transposeB ? .transposed : .none, leadingA: leadingB, g, .transposed, leadingB: n,
                        m: k, n: m, k: n, beta: beta)
                } else {
                    multiplyMatrices(
                        target + i * stepA, leadingC: leadingA, g, leadingA: n, bi, transposeB ? .none : .transposed, leadingB: leadingB, m: m, n: k,
                        k: n, beta: beta)
                }
            }
        }
        b.node?.withGradient { target, accumulate in
            for i in 0..<batches {
                let beta: Float = accumulate || (batchesB == 1 && i > 0) ? 1 : 0
                let (g, ai) = (gradient.floats + i * stepC, a.floats + i * stepA)
                if transposeB {  // dB^T = G^T A
                    multiplyMatrices(
                        target + i * stepB, leadingC: leadingB, g, .transposed, leadingA: n, ai, opA, leadingB: leadingA, m: n, n: k, k: m,
                        beta: beta)
                } else {
                    multiplyMatrices(
                        target + i * stepB, leadingC: leadingB, ai, transposeA ? .none : .transposed, leadingA: leadingA, g, leadingB: n, m: k, n: n,
                        k: m, beta: beta)
                }
            }
        }
    }
}
