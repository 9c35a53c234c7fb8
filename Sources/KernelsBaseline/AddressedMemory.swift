// Passes over a memory that is read and written by weights over its rows.
//
// Legend: N rows of the memory, W their width, S the stride of what belongs to rows, K vectors over rows or over columns.
// A memory is stored by columns, [W, S], S a multiple of 16: no pass has a remainder.

import KernelTypes

// MARK: products of vectors with rows

/// What a pass of products takes beside the vectors. Values of its flags are written out where it is used, so that each makes code of its own.
private struct ProductPass {
    let memory: FloatInput
    let width: Int
    let stride: Int
    let isSquared: Bool
    let hasNorms: Bool
    let accumulate: Bool

    @_transparent
    func element(_ p: FloatInput) -> Vector {
        let m = load(p)
        return isSquared ? m * m : m
    }

    @_transparent
    func put(_ out: FloatOutput, _ sum: Vector) { store(out, accumulate ? load(UnsafePointer(out)) + sum : sum) }
}

/// Products of two vectors with four vectors of rows from row i on, and the norms of those rows.
@inline(__always)
private func productsOfTwo(_ out: FloatOutput, _ norms: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ i: Int, _ pass: ProductPass) {
    var (a0, a1, a2, a3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (b0, b1, b2, b3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (n0, n1, n2, n3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var p = pass.memory + i
    for w in 0..<pass.width {
        let (x0, x1) = (pass.element(p), pass.element(p + laneCount))
        let (x2, x3) = (pass.element(p + 2 &* laneCount), pass.element(p + 3 &* laneCount))
        let (va, vb) = (splat(a[w]), splat(b[w]))
        a0 = multiplyAdd(va, x0, a0)
        a1 = multiplyAdd(va, x1, a1)
        a2 = multiplyAdd(va, x2, a2)
        a3 = multiplyAdd(va, x3, a3)
        b0 = multiplyAdd(vb, x0, b0)
        b1 = multiplyAdd(vb, x1, b1)
        b2 = multiplyAdd(vb, x2, b2)
        b3 = multiplyAdd(vb, x3, b3)
        if pass.hasNorms {
            n0 = multiplyAdd(x0, x0, n0)
            n1 = multiplyAdd(x1, x1, n1)
            n2 = multiplyAdd(x2, x2, n2)
            n3 = multiplyAdd(x3, x3, n3)
        }
        p += pass.stride
    }
    putFour(out + i, a0, a1, a2, a3, pass)
    putFour(out + (pass.stride &+ i), b0, b1, b2, b3, pass)
    if pass.hasNorms { putNorms(norms + i, n0, n1, n2, n3) }
}

/// The same of one vector.
@inline(__always)
private func productsOfOne(_ out: FloatOutput, _ norms: FloatOutput, _ a: FloatInput, _ i: Int, _ pass: ProductPass) {
    var (a0, a1, a2, a3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (n0, n1, n2, n3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var p = pass.memory + i
    for w in 0..<pass.width {
        let (x0, x1) = (pass.element(p), pass.element(p + laneCount))
        let (x2, x3) = (pass.element(p + 2 &* laneCount), pass.element(p + 3 &* laneCount))
        let va = splat(a[w])
        a0 = multiplyAdd(va, x0, a0)
        a1 = multiplyAdd(va, x1, a1)
        a2 = multiplyAdd(va, x2, a2)
        a3 = multiplyAdd(va, x3, a3)
        if pass.hasNorms {
            n0 = multiplyAdd(x0, x0, n0)
            n1 = multiplyAdd(x1, x1, n1)
            n2 = multiplyAdd(x2, x2, n2)
            n3 = multiplyAdd(x3, x3, n3)
        }
        p += pass.stride
    }
    putFour(out + i, a0, a1, a2, a3, pass)
    if pass.hasNorms { putNorms(norms + i, n0, n1, n2, n3) }
}

@inline(__always)
private func putFour(_ out: FloatOutput, _ s0: Vector, _ s1: Vector, _ s2: Vector, _ s3: Vector, _ pass: ProductPass) {
    pass.put(out, s0)
    pass.put(out + laneCount, s1)
    pass.put(out + 2 &* laneCount, s2)
    pass.put(out + 3 &* laneCount, s3)
}

@inline(__always)
private func putNorms(_ norms: FloatOutput, _ n0: Vector, _ n1: Vector, _ n2: Vector, _ n3: Vector) {
    store(norms, n0.squareRoot())
    store(norms + laneCount, n1.squareRoot())
    store(norms + 2 &* laneCount, n2.squareRoot())
    store(norms + 3 &* laneCount, n3.squareRoot())
}

/// Products of at most four vectors with one vector of rows from row i on, and the norms of those rows.
@inline(__always)
private func productsOfRows(
    _ out: FloatOutput, _ norms: FloatOutput, _ vectors: FloatInput, _ vectorStride: Int, _ count: Int, _ i: Int, _ pass: ProductPass
) {
    let (o1, o2, o3) = (count > 1 ? vectorStride : 0, count > 2 ? 2 &* vectorStride : 0, count > 3 ? 3 &* vectorStride : 0)
    var (s0, s1, s2, s3, n) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (p, v) = (pass.memory + i, vectors)
    for _ in 0..<pass.width {
        let x = pass.element(p)
        s0 = multiplyAdd(splat(v.pointee), x, s0)
        if count > 1 { s1 = multiplyAdd(splat(v[o1]), x, s1) }
        if count > 2 { s2 = multiplyAdd(splat(v[o2]), x, s2) }
        if count > 3 { s3 = multiplyAdd(splat(v[o3]), x, s3) }
        if pass.hasNorms { n = multiplyAdd(x, x, n) }
        p += pass.stride
        v += 1
    }
    pass.put(out + i, s0)
    if count > 1 { pass.put(out + (pass.stride &+ i), s1) }
    if count > 2 { pass.put(out + (2 &* pass.stride &+ i), s2) }
    if count > 3 { pass.put(out + (3 &* pass.stride &+ i), s3) }
    if pass.hasNorms { store(norms + i, n.squareRoot()) }
}

/// Products of all vectors.
@inline(__always)
private func productsOfAll(
    _ out: FloatOutput, _ norms: FloatOutput, _ vectors: FloatInput, _ vectorStride: Int, _ count: Int, _ pass: ProductPass
) {
    // Four vectors of rows at a time, two vectors at a time: as many sums as hide the time that one takes.
    let tiled = pass.stride / (4 &* laneCount) &* 4 &* laneCount
    var k = 0
    while k &+ 1 < count {
        var i = 0
        while i < tiled {
            let a = vectors + k &* vectorStride
            productsOfTwo(out + k &* pass.stride, norms, a, a + vectorStride, i, pass)
            i &+= 4 &* laneCount
        }
        k &+= 2
    }
    if k < count {
        var i = 0
        while i < tiled {
            productsOfOne(out + k &* pass.stride, norms, vectors + k &* vectorStride, i, pass)
            i &+= 4 &* laneCount
        }
    }
    // The rows that are left: up to four vectors at a time.
    k = 0
    while k < count, tiled < pass.stride {
        let (o, v) = (out + k &* pass.stride, vectors + k &* vectorStride)
        var i = tiled
        while i < pass.stride {
            switch count &- k {
            case 1: productsOfRows(o, norms, v, vectorStride, 1, i, pass)
            case 2: productsOfRows(o, norms, v, vectorStride, 2, i, pass)
            case 3: productsOfRows(o, norms, v, vectorStride, 3, i, pass)
            default: productsOfRows(o, norms, v, vectorStride, 4, i, pass)
            }
            i &+= laneCount
        }
        k &+= 4
    }
}

@inline(never)
private func plainProducts(
    _ out: FloatOutput, _ memory: FloatInput, _ vectors: FloatInput, _ vectorStride: Int, _ count: Int, _ accumulate: Bool,
    _ shape: AddressedMemoryShape
) {
    let pass = ProductPass(
        memory: memory, width: shape.width, stride: shape.stride, isSquared: false, hasNorms: false, accumulate: accumulate)
    productsOfAll(out, out, vectors, vectorStride, count, pass)
}

@inline(never)
private func squaredProducts(
    _ out: FloatOutput, _ memory: FloatInput, _ vectors: FloatInput, _ vectorStride: Int, _ count: Int, _ accumulate: Bool,
    _ shape: AddressedMemoryShape
) {
    let pass = ProductPass(
        memory: memory, width: shape.width, stride: shape.stride, isSquared: true, hasNorms: false, accumulate: accumulate)
    productsOfAll(out, out, vectors, vectorStride, count, pass)
}

@inline(never)
private func productsWithNorms(
    _ out: FloatOutput, _ norms: FloatOutput, _ memory: FloatInput, _ vectors: FloatInput, _ vectorStride: Int, _ count: Int, _ accumulate: Bool,
    _ shape: AddressedMemoryShape
) {
    let pass = ProductPass(
        memory: memory, width: shape.width, stride: shape.stride, isSquared: false, hasNorms: true, accumulate: accumulate)
    productsOfAll(out, norms, vectors, vectorStride, count, pass)
}

// MARK: sums of rows

/// sums[k, w] = sum over i of weights[k, i] * m[w, i] for at most four vectors of weights.
@inline(__always)
private func sumsOfFew(
    _ sums: FloatOutput, _ outStride: Int, _ weights: FloatInput, _ memory: FloatInput, _ count: Int, isSquared: Bool, _ shape: AddressedMemoryShape
) {
    let stride = shape.stride
    for w in 0..<shape.width {
        let m = memory + w &* stride
        var (s0, s1, s2, s3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        var i = 0
        while i < stride {
            var x = load(m + i)
            if isSquared { x *= x }
            s0 = multiplyAdd(load(weights + i), x, s0)
            if count > 1 { s1 = multiplyAdd(load(weights + (i &+ stride)), x, s1) }
            if count > 2 { s2 = multiplyAdd(load(weights + (i &+ 2 &* stride)), x, s2) }
            if count > 3 { s3 = multiplyAdd(load(weights + (i &+ 3 &* stride)), x, s3) }
            i &+= laneCount
        }
        sums[w] = laneSum(s0)
        if count > 1 { sums[w &+ outStride] = laneSum(s1) }
        if count > 2 { sums[w &+ 2 &* outStride] = laneSum(s2) }
        if count > 3 { sums[w &+ 3 &* outStride] = laneSum(s3) }
    }
}

@inline(__always)
private func sumsOfAll(
    _ sums: FloatOutput, _ outStride: Int, _ weights: FloatInput, _ memory: FloatInput, _ count: Int, isSquared: Bool, _ shape: AddressedMemoryShape
) {
    var k = 0
    while k < count {
        let (s, w) = (sums + k &* outStride, weights + k &* shape.stride)
        switch count &- k {
        case 1: sumsOfFew(s, outStride, w, memory, 1, isSquared: isSquared, shape)
        case 2: sumsOfFew(s, outStride, w, memory, 2, isSquared: isSquared, shape)
        case 3: sumsOfFew(s, outStride, w, memory, 3, isSquared: isSquared, shape)
        default: sumsOfFew(s, outStride, w, memory, 4, isSquared: isSquared, shape)
        }
        k &+= 4
    }
}

// MARK: writes

/// The product over k != `except` of 1 - weights[k, i] * erase[k, w] for a vector of rows.
@inline(__always)
private func kept(_ weights: FloatInput, _ erase: FloatInput, _ count: Int, except: Int, _ shape: AddressedMemoryShape) -> Vector {
    var factor: Vector = splat(1)
    for k in 0..<count where k != except {
        factor *= splat(1) - load(weights + k &* shape.stride) * splat(erase[k &* shape.width])
    }
    return factor
}

/// What is written into a vector of rows of one column, by one write (`isSingle`) or by K. Pointers are those of this vector and column.
@inline(__always)
private func written(
    _ memory: FloatInput, _ weights: FloatInput, _ erase: FloatInput, _ add: FloatInput, _ retained: Vector, _ count: Int, isSingle: Bool,
    _ shape: AddressedMemoryShape
) -> Vector {
    if isSingle {
        // In this form a weight of 1 that erases all leaves the value itself, without rounding.
        let v = load(weights)
        return multiplyAdd(load(memory), multiplySubtract(splat(erase[0]), retained * v, from: retained), splat(add[0]) * v)
    }
    var m = load(memory) * retained * kept(weights, erase, count, except: -1, shape)
    for k in 0..<count { m = multiplyAdd(load(weights + k &* shape.stride), splat(add[k &* shape.width]), m) }
    return m
}

/// One column after the other: memory is read and written in order.
@inline(__always)
private func writeColumns(
    _ next: FloatOutput, _ memory: FloatInput, _ weights: FloatInput, _ erase: FloatInput, _ add: FloatInput, _ count: Int, isSingle: Bool,
    _ shape: AddressedMemoryShape
) {
    for w in 0..<shape.width {
        let (column, target) = (memory + w &* shape.stride, next + w &* shape.stride)
        for i in Blocks(from: 0, to: shape.stride).full {
            let m = written(column + i.offset, weights + i.offset, erase + w, add + w, splat(1), count, isSingle: isSingle, shape)
            store(target, i, m)
        }
    }
}

/// One vector of rows after the other, with their inverse norms.
@inline(__always)
private func writeByRows(
    _ next: FloatOutput, _ inverseNorms: FloatOutput?, _ memory: FloatInput, _ weights: FloatInput, _ erase: FloatInput, _ add: FloatInput,
    _ retention: FloatInput?, _ epsilon: Float, _ count: Int, isSingle: Bool, _ shape: AddressedMemoryShape
) {
    for i in Blocks(from: 0, to: shape.stride).full {
        var retained: Vector = splat(1)
        if let retention { retained = load(retention, i) }
        var squares: Vector = splat(epsilon)
        for w in 0..<shape.width {
            let place = w &* shape.stride &+ i.offset
            let m = written(memory + place, weights + i.offset, erase + w, add + w, retained, count, isSingle: isSingle, shape)
            store(next + place, m)
            squares = multiplyAdd(m, m, squares)
        }
        if let inverseNorms { store(inverseNorms, i, splat(1) / squares.squareRoot()) }
    }
}

/// The gradient of one column of one write, or of K (of which the last one takes the gradient of the memory back).
@inline(__always)
private func columnGradient(
    _ gradient: FloatOutput, _ weightGradient: FloatOutput, _ eraseGradient: FloatOutput, _ addGradient: FloatOutput,
    _ retentionGradient: FloatOutput?, _ memory: FloatInput, _ weights: FloatInput, _ erase: FloatInput, _ add: FloatInput, _ retention: FloatInput?,
    _ count: Int, isSingle: Bool, _ shape: AddressedMemoryShape
) {
    for k in 0..<count {
        let (e, a) = (splat(erase[k &* shape.width]), splat(add[k &* shape.width]))
        let (own, ownGradient) = (weights + k &* shape.stride, weightGradient + k &* shape.stride)
        var (erased, added) = (Vector.zero, Vector.zero)
        for i in Blocks(from: 0, to: shape.stride).full {
            let (d, v) = (load(UnsafePointer(gradient), i), load(own, i))
            var retained: Vector = splat(1)
            if let retention { retained = load(retention, i) }
            if !isSingle { retained *= kept(weights + i.offset, erase, count, except: k, shape) }
            let product = d * load(memory, i)
            let ofKept = product * retained
            added = multiplyAdd(d, v, added)
            erased = multiplySubtract(ofKept, v, from: erased)
            store(ownGradient, i, multiplyAdd(d, a, multiplySubtract(ofKept, e, from: load(UnsafePointer(ownGradient), i))))
            if k &+ 1 == count {
                let factor = multiplySubtract(e, v, from: splat(1))
                if let retentionGradient {
                    var others = factor
                    if !isSingle { others *= kept(weights + i.offset, erase, count, except: k, shape) }
                    store(retentionGradient, i, multiplyAdd(product, others, load(UnsafePointer(retentionGradient), i)))
                }
                store(gradient, i, d * retained * factor)
            }
        }
        eraseGradient[k &* shape.width] = laneSum(erased)
        addGradient[k &* shape.width] = laneSum(added)
    }
}

extension VariantKernels {
    public func rowProducts(
        _ out: FloatOutput, norms: FloatOutput?, memory: FloatInput, vectors: FloatInput, vectorStride: Int, count: Int, isSquared: Bool,
        accumulate: Bool, _ shape: AddressedMemoryShape
    ) {
        if isSquared { return squaredProducts(out, memory, vectors, vectorStride, count, accumulate, shape) }
        // Norms take part in the products of the first two vectors.
        let first = norms == nil ? 0 : min(count, 2)
        if let norms { productsWithNorms(out, norms, memory, vectors, vectorStride, first, accumulate, shape) }
        if first < count {
            plainProducts(out + first &* shape.stride, memory, vectors + first &* vectorStride, vectorStride, count &- first, accumulate, shape)
        }
    }

    public func rowSums(
        _ out: FloatOutput, outStride: Int, memory: FloatInput, weights: FloatInput, count: Int, isSquared: Bool, _ shape: AddressedMemoryShape
    ) {
        if isSquared {
            sumsOfAll(out, outStride, weights, memory, count, isSquared: true, shape)
        } else {
            sumsOfAll(out, outStride, weights, memory, count, isSquared: false, shape)
        }
    }

    public func writeRows(
        _ next: FloatOutput, inverseNorms: FloatOutput?, epsilon: Float, memory: FloatInput, weights: FloatInput, erase: FloatInput, add: FloatInput,
        count: Int, retention: FloatInput?, _ shape: AddressedMemoryShape
    ) {
        switch (count == 1, inverseNorms == nil && retention == nil) {
        case (true, true): writeColumns(next, memory, weights, erase, add, count, isSingle: true, shape)
        case (false, true): writeColumns(next, memory, weights, erase, add, count, isSingle: false, shape)
        case (true, false): writeByRows(next, inverseNorms, memory, weights, erase, add, retention, epsilon, count, isSingle: true, shape)
        case (false, false): writeByRows(next, inverseNorms, memory, weights, erase, add, retention, epsilon, count, isSingle: false, shape)
        }
    }

    public func writeRowsGradient(
        _ gradient: FloatOutput, weightGradient: FloatOutput, eraseGradient: FloatOutput, addGradient: FloatOutput, retentionGradient: FloatOutput?,
        memory: FloatInput, weights: FloatInput, erase: FloatInput, add: FloatInput, count: Int, retention: FloatInput?, _ shape: AddressedMemoryShape
    ) {
        for w in 0..<shape.width {
            let (g, m) = (gradient + w &* shape.stride, memory + w &* shape.stride)
            let (de, da, e, a) = (eraseGradient + w, addGradient + w, erase + w, add + w)
            if count == 1 {
                columnGradient(g, weightGradient, de, da, retentionGradient, m, weights, e, a, retention, count, isSingle: true, shape)
            } else {
                columnGradient(g, weightGradient, de, da, retentionGradient, m, weights, e, a, retention, count, isSingle: false, shape)
            }
        }
    }

    public func addOuterProducts(
        _ gradient: FloatOutput, memory: FloatInput, rowScale: FloatInput?, _ first: OuterProducts, _ second: OuterProducts?,
        _ shape: AddressedMemoryShape
    ) {
        let seconds = second?.count ?? 0
        for w in 0..<shape.width {
            let (column, slope) = (memory + w &* shape.stride, gradient + w &* shape.stride)
            for i in Blocks(from: 0, to: shape.stride).full {
                var g = load(UnsafePointer(slope), i)
                if let rowScale { g = multiplyAdd(load(column, i), load(rowScale, i), g) }
                for j in 0..<first.count {
                    g = multiplyAdd(splat(first.left[j &* first.leftStride &+ w]), load(first.right + j &* shape.stride, i), g)
                }
                if let second {
                    for j in 0..<seconds {
                        g = multiplyAdd(splat(second.left[j &* second.leftStride &+ w]), load(second.right + j &* shape.stride, i), g)
                    }
                }
                store(slope, i, g)
            }
        }
    }

    public func addScaledOuterProducts(_ gradient: FloatOutput, memory: FloatInput, _ products: OuterProducts, _ shape: AddressedMemoryShape) {
        for w in 0..<shape.width {
            let (column, slope) = (memory + w &* shape.stride, gradient + w &* shape.stride)
            for i in Blocks(from: 0, to: shape.stride).full {
                var sum = Vector.zero
                for j in 0..<products.count {
                    sum = multiplyAdd(splat(products.left[j &* products.leftStride &+ w]), load(products.right + j &* shape.stride, i), sum)
                }
                store(slope, i, multiplyAdd(load(column, i), sum, load(UnsafePointer(slope), i)))
            }
        }
    }
}
