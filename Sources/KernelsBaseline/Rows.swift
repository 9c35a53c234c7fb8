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
@inline(__always)
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

/// out = geluTanh(a + row), one row.
@inline(__always)
private func geluRow<Element: VectorElement>(_ out: FloatOutput, _ a: UnsafePointer<Element>, _ row: FloatInput, _ n: Int) {
    for i in blocks(n).full { store(out, i, geluTanh(load(a, i) + load(row, i))) }
    if let i = blocks(n).rest { store(out, i, geluTanh(load(a, i) + load(row, i))) }
}

/// gradient = outputGradient * geluTanh'(a + row), one row.
@inline(__always)
private func geluGradientRow<Element: VectorElement>(
    _ gradient: FloatOutput, _ outputGradient: UnsafePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ n: Int
) {
    for i in blocks(n).full { store(gradient, i, load(outputGradient, i) * geluTanhDerivative(load(a, i) + load(row, i))) }
    if let i = blocks(n).rest { store(gradient, i, load(outputGradient, i) * geluTanhDerivative(load(a, i) + load(row, i))) }
}

/// `geluRow` into bfloat16 for all rows.
@inline(__always)
private func geluRows(_ out: BFloatOutput, _ a: BFloatInput, _ row: FloatInput, _ rows: Int, _ columns: Int, _ scratch: UnsafeMutableRawPointer) {
    let wide = scratch.assumingMemoryBound(to: Float.self)
    for r in 0..<rows {
        let first = r &* columns
        for run in ScratchRuns(columns) {
            geluRow(wide, a + first + run.start, row + run.start, run.count)
            narrowRow(out + first + run.start, wide, run.count)
        }
    }
}

/// `geluGradientRow` into bfloat16 for all rows.
@inline(__always)
private func geluGradientRows(
    _ gradient: BFloatOutput, _ outputGradient: BFloatInput, _ a: BFloatInput, _ row: FloatInput, _ rows: Int, _ columns: Int,
    _ scratch: UnsafeMutableRawPointer
) {
    let wide = scratch.assumingMemoryBound(to: Float.self)
    for r in 0..<rows {
        let first = r &* columns
        for run in ScratchRuns(columns) {
            geluGradientRow(wide, outputGradient + first + run.start, a + first + run.start, row + run.start, run.count)
            narrowRow(gradient + first + run.start, wide, run.count)
        }
    }
}

/// out = max(0, a + row), one row.
@inline(__always)
private func rectifierRow<Element: VectorElement>(_ out: UnsafeMutablePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, atLeast(load(a, i) + load(row, i), 0)) }
}

/// gradient = outputGradient where output > 0, else 0
@inline(__always)
private func maskGradient<Element: VectorElement>(
    _ gradient: UnsafeMutablePointer<Element>, _ outputGradient: UnsafePointer<Element>, _ output: UnsafePointer<Element>, _ n: Int
) {
    for i in blocks(n) { store(gradient, i, Vector.zero.replacing(with: load(outputGradient, i), where: load(output, i) .> splat(0))) }
}

extension VariantKernels {
    public func addRow(_ out: FloatOutput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows { add(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func addRow(_ out: BFloatOutput, _ a: BFloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows { add(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func accumulateColumnSums(_ row: FloatOutput, _ a: FloatInput, rows: Int, columns: Int) {
        addColumnSums(row, a, rows, columns)
    }

    public func accumulateColumnSums(_ row: FloatOutput, _ a: BFloatInput, rows: Int, columns: Int) {
        addColumnSums(row, a, rows, columns)
    }

    public func addRowGELU(_ out: FloatOutput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows { geluRow(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func addRowGELU(_ out: BFloatOutput, _ a: BFloatInput, row: FloatInput, rows: Int, columns: Int) {
        var scratch = Scratch()
        geluRows(out, a, row, rows, columns, &scratch)
    }

    public func addRowGELUGradient(_ gradient: FloatOutput, outputGradient: FloatInput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows {
            geluGradientRow(gradient + r &* columns, outputGradient + r &* columns, a + r &* columns, row, columns)
        }
    }

    public func addRowGELUGradient(
        _ gradient: BFloatOutput, outputGradient: BFloatInput, _ a: BFloatInput, row: FloatInput, rows: Int, columns: Int
    ) {
        var scratch = Scratch()
        geluGradientRows(gradient, outputGradient, a, row, rows, columns, &scratch)
    }

    public func addRowRectifier(_ out: FloatOutput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows { rectifierRow(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func addRowRectifier(_ out: BFloatOutput, _ a: BFloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows { rectifierRow(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func rectifierGradient(_ gradient: FloatOutput, outputGradient: FloatInput, output: FloatInput, _ n: Int) {
        maskGradient(gradient, outputGradient, output, n)
    }

    public func rectifierGradient(_ gradient: BFloatOutput, outputGradient: BFloatInput, output: BFloatInput, _ n: Int) {
        maskGradient(gradient, outputGradient, output, n)
    }
}
