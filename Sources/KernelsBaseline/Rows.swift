// A row vector added to every row of a matrix, with GELU, and the sums down the columns.
//
// Legend: R rows, C columns.

import KernelTypes

/// Rows whose column sums are kept apart, so that the rounding error grows with R / 64 rather than with R.
private let columnSumBlock = 64

extension VariantKernels {
    public func addRow(_ out: FloatOutput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows {
            add(out + r &* columns, a + r &* columns, row, columns)
        }
    }

    public func accumulateColumnSums(_ row: FloatOutput, _ a: FloatInput, rows: Int, columns: Int) {
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

    public func addRowGELU(_ out: FloatOutput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows {
            let x = a + r &* columns
            let y = out + r &* columns
            for i in blocks(columns) { store(y, i, geluTanh(load(x, i) + load(row, i))) }
        }
    }

    public func addRowGELUGradient(_ gradient: FloatOutput, outputGradient: FloatInput, _ a: FloatInput, row: FloatInput, rows: Int, columns: Int) {
        for r in 0..<rows {
            let x = a + r &* columns
            let dy = outputGradient + r &* columns
            let dx = gradient + r &* columns
            for i in blocks(columns) { store(dx, i, load(dy, i) * geluTanhDerivative(load(x, i) + load(row, i))) }
        }
    }
}
