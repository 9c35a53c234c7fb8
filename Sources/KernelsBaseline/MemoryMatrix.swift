// The matrix of an external memory for one sequence, stored by columns so that one instruction works on many rows: products, reads, erase and add.
//
// Legend: N memory rows; S elements of a vector over memory rows, a multiple of 16, padded with 0; W memory width; H heads. The matrix is [W, S].

import KernelTypes

/// The matrix element, or its square.
@_transparent
private func element(_ m: Vector, isSquared: Bool) -> Vector { isSquared ? m * m : m }

/// products[h, n] (+)= sum over w of vectors[h, w] * m[w, n] for heads h ..< h + count, count at most 4.
@inline(__always)
private func productsOfHeads(
    _ products: FloatOutput, _ vectors: FloatInput, _ memory: FloatInput, _ count: Int, _ columns: Int, _ stride: Int, isSquared: Bool,
    accumulates: Bool
) {
    let (o1, o2, o3) = (count > 1 ? columns : 0, count > 2 ? 2 &* columns : 0, count > 3 ? 3 &* columns : 0)
    var j = 0
    while j < stride {
        var (s0, s1, s2, s3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        var m = memory + j
        var v = vectors
        for _ in 0..<columns {
            let x = element(load(m), isSquared: isSquared)
            s0 = multiplyAdd(splat(v.pointee), x, s0)
            if count > 1 { s1 = multiplyAdd(splat(v[o1]), x, s1) }
            if count > 2 { s2 = multiplyAdd(splat(v[o2]), x, s2) }
            if count > 3 { s3 = multiplyAdd(splat(v[o3]), x, s3) }
            m += stride
            v += 1
        }
        let p = products + j
        store(p, accumulates ? load(UnsafePointer(p)) + s0 : s0)
        if count > 1 { store(p + stride, accumulates ? load(UnsafePointer(p + stride)) + s1 : s1) }
        if count > 2 { store(p + 2 &* stride, accumulates ? load(UnsafePointer(p + 2 &* stride)) + s2 : s2) }
        if count > 3 { store(p + 3 &* stride, accumulates ? load(UnsafePointer(p + 3 &* stride)) + s3 : s3) }
        j &+= width
    }
}

@inline(__always)
private func productsOfAllHeads(
    _ products: FloatOutput, _ vectors: FloatInput, _ memory: FloatInput, _ heads: Int, _ columns: Int, _ stride: Int, isSquared: Bool,
    accumulates: Bool
) {
    var h = 0
    while h < heads {
        let (p, v) = (products + h &* stride, vectors + h &* columns)
        switch heads &- h {
        case 1: productsOfHeads(p, v, memory, 1, columns, stride, isSquared: isSquared, accumulates: accumulates)
        case 2: productsOfHeads(p, v, memory, 2, columns, stride, isSquared: isSquared, accumulates: accumulates)
        case 3: productsOfHeads(p, v, memory, 3, columns, stride, isSquared: isSquared, accumulates: accumulates)
        default: productsOfHeads(p, v, memory, 4, columns, stride, isSquared: isSquared, accumulates: accumulates)
        }
        h &+= 4
    }
}

/// sums[h, w] = sum over n of weights[h, n] * m[w, n] for heads h ..< h + count, count at most 4.
@inline(__always)
private func sumsOfHeads(
    _ sums: FloatOutput, _ weights: FloatInput, _ memory: FloatInput, _ count: Int, _ columns: Int, _ stride: Int, isSquared: Bool
) {
    for w in 0..<columns {
        let m = memory + w &* stride
        var (s0, s1, s2, s3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        var j = 0
        while j < stride {
            let x = element(load(m + j), isSquared: isSquared)
            s0 = multiplyAdd(load(weights + j), x, s0)
            if count > 1 { s1 = multiplyAdd(load(weights + (j &+ stride)), x, s1) }
            if count > 2 { s2 = multiplyAdd(load(weights + (j &+ 2 &* stride)), x, s2) }
            if count > 3 { s3 = multiplyAdd(load(weights + (j &+ 3 &* stride)), x, s3) }
            j &+= width
        }
        sums[w] = laneSum(s0)
        if count > 1 { sums[w &+ columns] = laneSum(s1) }
        if count > 2 { sums[w &+ 2 &* columns] = laneSum(s2) }
        if count > 3 { sums[w &+ 3 &* columns] = laneSum(s3) }
    }
}

@inline(__always)
private func sumsOfAllHeads(
    _ sums: FloatOutput, _ weights: FloatInput, _ memory: FloatInput, _ heads: Int, _ columns: Int, _ stride: Int, isSquared: Bool
) {
    var h = 0
    while h < heads {
        let (s, w) = (sums + h &* columns, weights + h &* stride)
        switch heads &- h {
        case 1: sumsOfHeads(s, w, memory, 1, columns, stride, isSquared: isSquared)
        case 2: sumsOfHeads(s, w, memory, 2, columns, stride, isSquared: isSquared)
        case 3: sumsOfHeads(s, w, memory, 3, columns, stride, isSquared: isSquared)
        default: sumsOfHeads(s, w, memory, 4, columns, stride, isSquared: isSquared)
        }
        h &+= 4
    }
}

extension VariantKernels {
    public func memoryProducts(
        _ products: FloatOutput, vectors: FloatInput, memory: FloatInput, heads: Int, width columns: Int, stride: Int, isSquared: Bool,
        accumulates: Bool
    ) {
        if isSquared {
            productsOfAllHeads(products, vectors, memory, heads, columns, stride, isSquared: true, accumulates: accumulates)
        } else {
            productsOfAllHeads(products, vectors, memory, heads, columns, stride, isSquared: false, accumulates: accumulates)
        }
    }

    public func memorySums(
        _ sums: FloatOutput, weights: FloatInput, memory: FloatInput, heads: Int, width columns: Int, stride: Int, isSquared: Bool
    ) {
        if isSquared {
            sumsOfAllHeads(sums, weights, memory, heads, columns, stride, isSquared: true)
        } else {
            sumsOfAllHeads(sums, weights, memory, heads, columns, stride, isSquared: false)
        }
    }

    public func addMemoryGradient(
        _ memoryGradient: FloatOutput, vectors: FloatInput, weights: FloatInput, heads: Int, memory: FloatInput, scale: FloatInput,
        width columns: Int,
        stride: Int
    ) {
        for w in 0..<columns {
            let (g, m) = (memoryGradient + w &* stride, memory + w &* stride)
            var j = 0
            while j < stride {
                var sum = multiplyAdd(load(m + j), load(scale + j), load(UnsafePointer(g) + j))
                for h in 0..<heads { sum = multiplyAdd(splat(vectors[h &* columns &+ w]), load(weights + (h &* stride &+ j)), sum) }
                store(g + j, sum)
                j &+= width
            }
        }
    }

    public func addScaledMemoryGradient(
        _ memoryGradient: FloatOutput, vectors: FloatInput, weights: FloatInput, heads: Int, memory: FloatInput, width columns: Int, stride: Int
    ) {
        for w in 0..<columns {
            let (g, m) = (memoryGradient + w &* stride, memory + w &* stride)
            var j = 0
            while j < stride {
                var sum = Vector.zero
                for h in 0..<heads { sum = multiplyAdd(splat(vectors[h &* columns &+ w]), load(weights + (h &* stride &+ j)), sum) }
                store(g + j, multiplyAdd(load(m + j), sum, load(UnsafePointer(g) + j)))
                j &+= width
            }
        }
    }

    public func inverseRoots(_ out: FloatOutput, _ a: FloatInput, epsilon: Float, _ n: Int) {
        for i in blocks(n) { store(out, i, splat(1) / (load(a, i) + splat(epsilon)).squareRoot()) }
    }

    public func writeMemory(
        _ memory: FloatOutput, inverseNorms: FloatOutput, previous: FloatInput, weights: FloatInput, erase: FloatInput, vector: FloatInput,
        retention: FloatInput?, epsilon: Float, width columns: Int, stride: Int
    ) {
        var j = 0
        while j < stride {
            let weight = load(weights + j)
            var kept: Vector = splat(1)
            if let retention { kept = load(retention + j) }
            let erased = kept * weight
            var squares: Vector = splat(epsilon)
            var (p, m) = (previous + j, memory + j)
            for w in 0..<columns {
                let factor = multiplySubtract(splat(erase[w]), erased, from: kept)
                let value = multiplyAdd(load(p), factor, splat(vector[w]) * weight)
                store(m, value)
                squares = multiplyAdd(value, value, squares)
                p += stride
                m += stride
            }
            store(inverseNorms + j, splat(1) / squares.squareRoot())
            j &+= width
        }
    }

    public func writeMemoryGradient(
        _ memoryGradient: FloatOutput, weightGradient: FloatOutput, eraseGradient: FloatOutput, vectorGradient: FloatOutput,
        retentionGradient: FloatOutput?,
        previous: FloatInput, weights: FloatInput, erase: FloatInput, vector: FloatInput, retention: FloatInput?, width columns: Int, stride: Int
    ) {
        for w in 0..<columns {
            let (g, p) = (memoryGradient + w &* stride, previous + w &* stride)
            let (e, v) = (splat(erase[w]), splat(vector[w]))
            var (ofErase, ofVector) = (Vector.zero, Vector.zero)
            var j = 0
            while j < stride {
                let (d, m, weight) = (load(UnsafePointer(g) + j), load(p + j), load(weights + j))
                var kept: Vector = splat(1)
                if let retention { kept = load(retention + j) }
                let product = d * m
                let ofKept = product * kept
                ofVector = multiplyAdd(d, weight, ofVector)
                ofErase = multiplySubtract(ofKept, weight, from: ofErase)
                let target = weightGradient + j
                store(target, multiplyAdd(d, v, multiplySubtract(ofKept, e, from: load(UnsafePointer(target)))))
                let factor = multiplySubtract(e, weight, from: splat(1))
                if let retentionGradient {
                    store(retentionGradient + j, multiplyAdd(product, factor, load(UnsafePointer(retentionGradient) + j)))
                }
                store(g + j, d * kept * factor)
                j &+= width
            }
            eraseGradient[w] = laneSum(ofErase)
            vectorGradient[w] = laneSum(ofVector)
        }
    }
}
