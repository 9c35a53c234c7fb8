// Rows of a table by index, and their gradient.
//
// Legend: D width of a row.

import KernelTypes

/// out[i] = scale * table[indices[i]], row by row.
@inline(__always)
private func gather<Element: VectorElement>(
    _ out: FloatOutput, _ table: UnsafePointer<Element>, _ indices: UnsafePointer<Int32>, _ count: Int, _ width: Int, _ scale: Float
) {
    let s = splat(scale)
    for i in 0..<count {
        let row = table + Int(indices[i]) &* width
        let y = out + i &* width
        for c in blocks(width) { store(y, c, load(row, c) * s) }
    }
}

extension VariantKernels {
    public func embeddingGather(_ out: FloatOutput, table: FloatInput, indices: UnsafePointer<Int32>, count: Int, width: Int, scale: Float) {
        gather(out, table, indices, count, width, scale)
    }

    public func embeddingGather(_ out: FloatOutput, table: BFloatInput, indices: UnsafePointer<Int32>, count: Int, width: Int, scale: Float) {
        gather(out, table, indices, count, width, scale)
    }

    public func embeddingScatter(
        _ tableGradient: FloatOutput, outputGradient: FloatInput, indices: UnsafePointer<Int32>, count: Int, width: Int, scale: Float
    ) {
        for i in 0..<count { addScaled(tableGradient + Int(indices[i]) &* width, outputGradient + i &* width, scale: scale, width) }
    }
}
