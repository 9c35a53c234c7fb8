// Reading and adding by int32 indices, on the tape. Indices carry no gradient; an index out of range traps.
//
// Legend: R rows (all leading axes together), C columns (last axis), N rows of a table, W what one row of a table holds.

import Diagnostics
import Kernels

/// y[r, k] = x[r, indices[r, k]]: picks along the last axis, such as the probability of each target.
///
/// - Parameters:
///   - x: [..., C].
///   - indices: int32 [..., K], the same leading extents, each in 0 ..< C.
/// - Returns: [..., K]. The gradient is added to the elements that were read.
public func takeAlongLastAxis(_ x: Tensor, _ indices: Tensor) -> Tensor {
    let (rows, columns, taken) = (x.shape.rows, x.shape.columns, indices.shape.columns)
    require(indices.shape.rows == rows, "takeAlongLastAxis: indices \(indices.shape) for \(x.shape)")
    let y = Tensor(uninitialized: x.shape.replacingColumns(taken))
    let (input, output, index) = (x.floats, y.floats, indices.integers)
    for row in 0..<rows {
        for k in row * taken..<(row + 1) * taken {
            let column = Int(index[k])
            require(column >= 0 && column < columns, "takeAlongLastAxis: index \(column) of \(columns)")
            output[k] = input[row * columns + column]
        }
    }
    return Operation("take along axis").record(y, from: x) { [node = x.node] gradient in
        node?.withZeroedGradient { target in
            for row in 0..<rows {
                for k in row * taken..<(row + 1) * taken { target[row * columns + Int(indices.integers[k])] += gradient.floats[k] }
            }
        }
    }
}

/// y[r, ...] = base[r, ...], with values[r, k] added at column indices[r, k]: the copy distribution of a pointer-generator.
///
/// - Parameters:
///   - base: [..., C].
///   - values: [..., K], the same leading extents.
///   - indices: int32, the shape of `values`, each in 0 ..< C; an index may occur more than once.
/// - Returns: [..., C].
public func scatterAddAlongLastAxis(_ base: Tensor, _ values: Tensor, at indices: Tensor) -> Tensor {
    let (rows, columns, added) = (base.shape.rows, base.shape.columns, values.shape.columns)
    require(
        values.shape.rows == rows && indices.count == values.count, "scatterAddAlongLastAxis: \(values.shape) at \(indices.shape) to \(base.shape)")
    let y = base.copied()
    let (source, output, index) = (values.floats, y.floats, indices.integers)
    for row in 0..<rows {
        for k in row * added..<(row + 1) * added {
            let column = Int(index[k])
            require(column >= 0 && column < columns, "scatterAddAlongLastAxis: index \(column) of \(columns)")
            output[row * columns + column] += source[k]
        }
    }
    return Operation("scatter along axis").record(y, from: base, values) { [baseNode = base.node, node = values.node] gradient in
        baseNode?.accumulate(gradient)
        node?.withZeroedGradient { target in
            for row in 0..<rows {
                for k in row * added..<(row + 1) * added { target[k] += gradient.floats[row * columns + Int(indices.integers[k])] }
            }
        }
    }
}

/// Rows of a table by index, or of a table of its own for each leading position: the slots that a search found.
///
/// - Parameters:
///   - table: [N, ...]; with `batched`, [B, N, ...].
///   - indices: int32 of any shape, each in 0 ..< N; with `batched`, [B, ...], the first axis choosing the table.
/// - Returns: the shape of `indices`, then that of one row. The gradient is added to the rows that were read.
public func gatherRows(_ table: Tensor, _ indices: Tensor, batched: Bool = false) -> Tensor {
    let rows = RowIndexing(table.shape, indices, batched: batched)
    var shape = indices.shape
    for axis in (batched ? 2 : 1)..<table.shape.rank { shape = shape.inserting(table.shape[axis], at: shape.rank) }
    let y = Tensor(uninitialized: shape)
    for i in 0..<indices.count { (y.floats + i * rows.width).update(from: table.floats + rows.offset(i), count: rows.width) }
    return Operation("take rows").record(y, from: table) { [node = table.node] gradient in
        node?.withZeroedGradient { target in
            for i in 0..<indices.count {
                let row = target + rows.offset(i)
                kernels.add(row, row, gradient.floats + i * rows.width, rows.width)
            }
        }
    }
}

/// base with each row of `values` added to the row that its index names: messages summed at the nodes of a graph.
///
/// - Parameters:
///   - base: [N, ...]; with `batched`, [B, N, ...].
///   - values: the shape of `indices`, then that of one row of `base`.
///   - indices: as `gatherRows`; an index may occur more than once, and additions happen in the order of the indices.
/// - Returns: the shape of `base`.
public func scatterAddRows(_ base: Tensor, _ values: Tensor, at indices: Tensor, batched: Bool = false) -> Tensor {
    let rows = RowIndexing(base.shape, indices, batched: batched)
    require(values.count == indices.count * rows.width, "scatterAddRows: \(values.shape) at \(indices.shape) to \(base.shape)")
    let y = base.copied()
    for i in 0..<indices.count {
        let row = y.floats + rows.offset(i)
        kernels.add(row, row, values.floats + i * rows.width, rows.width)
    }
    return Operation("scatter rows").record(y, from: base, values) { [baseNode = base.node, node = values.node] gradient in
        baseNode?.accumulate(gradient)
        node?.withGradient { target, accumulate in
            for i in 0..<indices.count {
                let (to, from) = (target + i * rows.width, gradient.floats + rows.offset(i))
                if accumulate { kernels.add(to, to, from, rows.width) } else { to.update(from: from, count: rows.width) }
            }
        }
    }
}

/// Where each index points in a table, checked once.
private struct RowIndexing {
    let width: Int
    private let indices: Tensor
    private let size: Int
    private let indicesPerTable: Int

    init(_ table: Shape, _ indices: Tensor, batched: Bool) {
        require(table.rank >= (batched ? 2 : 1), "rows of a table of shape \(table)")
        require(!batched || indices.shape.rank > 0 && indices.shape[0] == table[0], "indices \(indices.shape) for tables \(table)")
        self.indices = indices
        size = table[batched ? 1 : 0]
        width = table.count(from: batched ? 2 : 1, to: table.rank)
        indicesPerTable = batched && table[0] > 0 ? max(indices.count / table[0], 1) : max(indices.count, 1)
        for i in 0..<indices.count {
            let index = Int(indices.integers[i])
            require(index >= 0 && index < size, "index \(index) of a table of \(size) rows")
        }
    }

    /// The first element of the row that index `i` names.
    @inline(__always)
    func offset(_ i: Int) -> Int { (i / indicesPerTable * size + Int(indices.integers[i])) * width }
}

/// Vectors with a 1 at each index and 0 elsewhere. An index below 0 gives zeros. No gradient.
///
/// - Returns: [indices..., classes], float32.
public func oneHot(_ indices: Tensor, classes: Int) -> Tensor {
    let y = Tensor(zeros: indices.shape.inserting(classes, at: indices.shape.rank))
    for i in 0..<indices.count {
        let index = Int(indices.integers[i])
        require(index < classes, "oneHot: index \(index) of \(classes) classes")
        if index >= 0 { y.floats[i * classes + index] = 1 }
    }
    return y
}
