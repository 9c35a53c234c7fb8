// A row vector added to every row of a matrix, with GELU or the rectifier, and the sums down the columns.
//
// Legend: R rows, C columns.

import KernelTypes

/// The sum of eight rows in block i, as a tree.
@inline(__always)
private func sumOfEight<Element: VectorElement>(_ a: UnsafePointer<Element>, _ i: Block, _ columns: Int) -> Vector {
    let b = a + 4 &* columns
    let first = (load(a, i) + load(a + columns, i)) + (load(a + 2 &* columns, i) + load(a + 3 &* columns, i))
    let second = (load(b, i) + load(b + columns, i)) + (load(b + 2 &* columns, i) + load(b + 3 &* columns, i))
    return first + second
}

/// row[c] += sum over r of a[r, c]. Sixteen rows at a time are added as a tree before they are added to `row`: rows are read from end to end, which
/// memory likes, and the rounding error grows with R / 16 rather than with R.
@inline(never)
private func addColumnSums<Element: VectorElement>(_ row: FloatOutput, _ a: UnsafePointer<Element>, _ rows: Int, _ columns: Int) {
    var r = 0
    while r &+ 16 <= rows {
        let p = a + r &* columns
        let q = p + 8 &* columns
        for i in blocks(columns).full { store(row, i, load(row, i) + (sumOfEight(p, i, columns) + sumOfEight(q, i, columns))) }
        if let i = blocks(columns).rest { store(row, i, load(row, i) + (sumOfEight(p, i, columns) + sumOfEight(q, i, columns))) }
        r &+= 16
    }
    while r < rows {
        let p = a + r &* columns
        for i in blocks(columns) { store(row, i, load(row, i) + load(p, i)) }
        r &+= 1
    }
}

/// out = geluTanh(a + row), all rows.
@inline(never)
private func geluRows<Element: VectorElement>(
    _ out: UnsafeMutablePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ rows: Int, _ columns: Int,
    _ scratch: UnsafeMutableRawPointer
) {
    for r in 0..<rows {
        for run in ScratchRuns(columns) {
            let (x, bias) = (a + (r &* columns &+ run.start), row + run.start)
            let result = out + (r &* columns &+ run.start)
            let y = Element.workspace(result, or: scratch.assumingMemoryBound(to: Float.self))
            for i in blocks(run.count).full { store(y, i, geluTanh(load(x, i) + load(bias, i))) }
            if let i = blocks(run.count).rest { store(y, i, geluTanh(load(x, i) + load(bias, i))) }
            Element.finish(result, from: y, run.count)
        }
    }
}

/// gradient = outputGradient * geluTanh'(a + row), all rows.
@inline(never)
private func geluGradientRows<Element: VectorElement>(
    _ gradient: UnsafeMutablePointer<Element>, _ outputGradient: UnsafePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ rows: Int,
    _ columns: Int, _ scratch: UnsafeMutableRawPointer
) {
    for r in 0..<rows {
        for run in ScratchRuns(columns) {
            let first = r &* columns &+ run.start
            let (x, dy, bias) = (a + first, outputGradient + first, row + run.start)
            let g = Element.workspace(gradient + first, or: scratch.assumingMemoryBound(to: Float.self))
            for i in blocks(run.count).full { store(g, i, load(dy, i) * geluTanhDerivative(load(x, i) + load(bias, i))) }
            if let i = blocks(run.count).rest { store(g, i, load(dy, i) * geluTanhDerivative(load(x, i) + load(bias, i))) }
            Element.finish(gradient + first, from: g, run.count)
        }
    }
}

/// out = max(0, a + row), all rows.
@inline(never)
private func rectifierRows<Element: VectorElement>(
    _ out: UnsafeMutablePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ rows: Int, _ columns: Int
) {
    for r in 0..<rows {
        for i in blocks(columns) { store(out + r &* columns, i, atLeast(load(a + r &* columns, i) + load(row, i), 0)) }
    }
}

/// gradient = outputGradient where output > 0, else 0
@inline(never)
private func maskGradient<Element: VectorElement>(
    _ gradient: UnsafeMutablePointer<Element>, _ outputGradient: UnsafePointer<Element>, _ output: UnsafePointer<Element>, _ n: Int
) {
    for i in blocks(n) { store(gradient, i, Vector.zero.replacing(with: load(outputGradient, i), where: load(output, i) .> splat(0))) }
}

extension VariantKernels {
    public func accumulateColumnSums(_ row: FloatOutput, _ a: Elements, rows: Int, columns: Int) {
        switch floatingType("accumulateColumnSums", a) {
        case .float32: addColumnSums(row, a.floats, rows, columns)
        case .bfloat16: addColumnSums(row, a.bfloats, rows, columns)
        }
    }

    public func addRowGELU(_ out: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int) {
        var scratch = Scratch()
        switch floatingType("addRowGELU", out, a) {
        case .float32: geluRows(out.floats, a.floats, row, rows, columns, &scratch)
        case .bfloat16: geluRows(out.bfloats, a.bfloats, row, rows, columns, &scratch)
        }
    }

    public func addRowGELUGradient(_ gradient: Elements, outputGradient: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int) {
        var scratch = Scratch()
        switch floatingType("addRowGELUGradient", gradient, outputGradient, a) {
        case .float32: geluGradientRows(gradient.floats, outputGradient.floats, a.floats, row, rows, columns, &scratch)
        case .bfloat16: geluGradientRows(gradient.bfloats, outputGradient.bfloats, a.bfloats, row, rows, columns, &scratch)
        }
    }

    public func addRowRectifier(_ out: Elements, _ a: Elements, row: FloatInput, rows: Int, columns: Int) {
        switch floatingType("addRowRectifier", out, a) {
        case .float32: rectifierRows(out.floats, a.floats, row, rows, columns)
        case .bfloat16: rectifierRows(out.bfloats, a.bfloats, row, rows, columns)
        }
    }

    public func rectifierGradient(_ gradient: Elements, outputGradient: Elements, output: Elements, _ n: Int) {
        switch floatingType("rectifierGradient", gradient, outputGradient, output) {
        case .float32: maskGradient(gradient.floats, outputGradient.floats, output.floats, n)
        case .bfloat16: maskGradient(gradient.bfloats, outputGradient.bfloats, output.bfloats, n)
        }
    }
}
