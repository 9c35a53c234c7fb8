// Table lookups on the tape.
//
// Legend: V rows of the table (vocabulary), D width, n indices.

import Diagnostics
import Kernels

/// Rows of a table by index; the gradient is added to the rows that were read.
///
/// - Parameters:
///   - table: [V, D].
///   - indices: int32 of any shape, each in 0 ..< V.
///   - scale: multiplies every row (sqrt(D) in Vaswani et al. 2017, section 3.4).
/// - Returns: [indices..., D].
/// - Complexity: n D reads and writes; backward touches n rows (a dense gradient of the table is zeroed once a step; one of rows is not).
public func embedding(_ table: Tensor, _ indices: Tensor, scale: Float = 1) -> Tensor {
    require(table.shape.rank == 2, "embedding: the table has shape \(table.shape), not [V, D]")
    let (size, width, count) = (table.shape[0], table.shape[1], indices.count)
    let y = Tensor(uninitialized: indices.shape.inserting(width, at: indices.shape.rank))
    let (source, target, index) = (table.floats, y.floats, indices.integers)
    for i in 0..<count {
        let row = Int(index[i])
        require(row >= 0 && row < size, "embedding: index \(row) of a table of \(size) rows")
        if scale == 1 {
            (target + i * width).update(from: source + row * width, count: width)
        } else {
            kernels.affine(target + i * width, source + row * width, scale: scale, offset: 0, width)
        }
    }
    return Operation("embedding").record(y, from: table) { gradient in
        table.node?.withGradientRows { rows in
            for i in 0..<count { kernels.addScaled(rows[Int(indices.integers[i])], gradient.floats + i * width, scale: scale, width) }
        }
    }
}

/// Adds row t of a table to position t of every sequence: learned positions (GPT-2), or fixed ones.
///
/// - Parameters:
///   - x: [B, T, D].
///   - table: [at least first + T, D].
///   - first: the position of the first element, for decoding with a cache.
/// - Returns: [B, T, D].
public func addPositions(_ x: Tensor, _ table: Tensor, first: Int = 0) -> Tensor {
    require(x.shape.rank == 3 && table.shape.rank == 2 && x.shape[2] == table.shape[1], "addPositions: \(x.shape) and \(table.shape)")
    let (batch, length, width) = (x.shape[0], x.shape[1], x.shape[2])
    require(first + length <= table.shape[0], "addPositions: position \(first + length - 1) of a table of \(table.shape[0])")
    let y = Tensor(uninitialized: x.shape)
    let block = length * width
    for b in 0..<batch { kernels.add(y.floats + b * block, x.floats + b * block, table.floats + first * width, block) }
    return Operation("add positions").record(y, from: x, table) { gradient in
        x.node?.accumulate(gradient)
        table.node?.withZeroedGradient { target in
            for b in 0..<batch { kernels.add(target + first * width, target + first * width, gradient.floats + b * block, block) }
        }
    }
}
