// A row vector added to every row of a matrix, with GELU or the rectifier, and the sums down the columns.
//
// Legend: R rows, C columns.

import KernelTypes

/// Rows whose column sums are kept apart, so that the rounding error grows with R / 64 rather than with R.
private let columnSumBlock = 64

/// row[c] += sum over r of a[r, c]
@inline(__always)
private func addColumnSums<Element: VectorElement>(_ row: FloatOutput, _ a: UnsafePointer<Element>, _ rows: Int, _ columns: Int) {
    var start = 0
    while start < rows {
        let end = min(start &+ columnSumBlock, rows)
        var c = 0
        // Four vectors of columns at once stay in registers down the rows.
        while c &+ 4 &* width <= columns {
            var s0 = Vector.zero
            var s1 = Vector.zero
            var s2 = Vector.zero
            var s3 = Vector.zero
            var p = a + start &* columns + c
            for _ in start..<end {
                s0 += load(p)
                s1 += load(p + width)
                s2 += load(p + 2 &* width)
                s3 += load(p + 3 &* width)
                p += columns
            }
            store(row + c, load(row + c) + s0)
            store(row + c + width, load(row + c + width) + s1)
            store(row + c + 2 &* width, load(row + c + 2 &* width) + s2)
            store(row + c + 3 &* width, load(row + c + 3 &* width) + s3)
            c &+= 4 &* width
        }
        for i in Blocks(from: c, to: columns) {
            var s = Vector.zero
            var p = a + start &* columns
            for _ in start..<end {
                s += load(p, i)
                p += columns
            }
            store(row, i, load(row, i) + s)
        }
        start = end
    }
}

/// out = geluTanh(a + row), one row.
@inline(__always)
private func geluRow<Element: VectorElement>(_ out: UnsafeMutablePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ n: Int) {
    for i in blocks(n).full { store(out, i, geluTanh(load(a, i) + load(row, i))) }
    if let i = blocks(n).rest { store(out, i, geluTanh(load(a, i) + load(row, i))) }
}

/// gradient = outputGradient * geluTanh'(a + row), one row.
@inline(__always)
private func geluGradientRow<Element: VectorElement>(
    _ gradient: UnsafeMutablePointer<Element>, _ outputGradient: UnsafePointer<Element>, _ a: UnsafePointer<Element>, _ row: FloatInput, _ n: Int
) {
    for i in blocks(n).full { store(gradient, i, load(outputGradient, i) * geluTanhDerivative(load(a, i) + load(row, i))) }
    if let i = blocks(n).rest { store(gradient, i, load(outputGradient, i) * geluTanhDerivative(load(a, i) + load(row, i))) }
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
        for r in 0..<rows { geluRow(out + r &* columns, a + r &* columns, row, columns) }
    }

    public func addRowGELUGradient(_ gradient: FloatOutput, outputGradient: FloatInput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows {
            geluGradientRow(gradient + r &* columns, outputGradient + r &* columns, a + r &* columns, row, columns)
        }
    }

    public func addRowGELUGradient(
        _ gradient: BFloatOutput, outputGradient: BFloatInput, _ a: BFloatInput, row: FloatInput, rows: Int, columns: Int
    ) {
        for r in 0..<rows {
            geluGradientRow(gradient + r &* columns, outputGradient + r &* columns, a + r &* columns, row, columns)
        }
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
