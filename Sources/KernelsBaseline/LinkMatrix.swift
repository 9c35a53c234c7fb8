// The link matrix of a Differentiable Neural Computer (Graves et al. 2016, "Temporal memory linkage"): one pass over it a step, and one back.
//
// Legend: N memory rows, a multiple of 4; S the stride of a row, a multiple of 16; H read heads, a multiple of 4. Columns from N on hold zeros.
// A matrix has 4 N S bytes, and everything that a step does with an element is done while the element is in a register: the pass is bound by memory.

import KernelTypes

/// What a row of the new matrix is made of: links[i, j] = (1 - w[i] - w[j]) previous[i, j] + w[i] precedence[j].
private struct LinkRow {
    /// w[i] in every lane.
    let weight: Vector
    /// 1 - w[i].
    let kept: Vector

    @_transparent
    init(_ w: Float) {
        weight = splat(w)
        kept = splat(1 - w)
    }

    @_transparent
    func links(_ previous: Vector, _ w: Vector, _ precedence: Vector) -> Vector {
        multiplyAdd(kept - w, previous, weight * precedence)
    }
}

/// v with a zero in the lane of column i, where block j holds that column.
@_transparent
private func withoutDiagonal(_ v: Vector, _ i: Int, _ j: Int) -> Vector {
    v.replacing(with: Vector.zero, where: laneIndices .== splat(Int32(truncatingIfNeeded: i &- j)))
}

/// The sums of four heads over one row.
private struct HeadSums {
    var s0 = Vector.zero, s1 = Vector.zero, s2 = Vector.zero, s3 = Vector.zero

    @_transparent
    init() {}

    @_transparent
    mutating func add(_ v: Vector, _ r: HeadSums) {
        s0 = multiplyAdd(v, r.s0, s0)
        s1 = multiplyAdd(v, r.s1, s1)
        s2 = multiplyAdd(v, r.s2, s2)
        s3 = multiplyAdd(v, r.s3, s3)
    }

    /// Block j of four vectors S apart.
    @_transparent
    init(_ p: FloatInput, _ j: Int, _ stride: Int) {
        s0 = load(p + j)
        s1 = load(p + (j &+ stride))
        s2 = load(p + (j &+ 2 &* stride))
        s3 = load(p + (j &+ 3 &* stride))
    }

    /// Element i of four vectors S apart, in every lane.
    @_transparent
    init(every p: FloatInput, _ i: Int, _ stride: Int) {
        s0 = splat(p[i])
        s1 = splat(p[i &+ stride])
        s2 = splat(p[i &+ 2 &* stride])
        s3 = splat(p[i &+ 3 &* stride])
    }

    /// Block j of four vectors S apart.
    @_transparent
    func put(_ p: FloatOutput, _ j: Int, _ stride: Int) {
        store(p + j, s0)
        store(p + (j &+ stride), s1)
        store(p + (j &+ 2 &* stride), s2)
        store(p + (j &+ 3 &* stride), s3)
    }

    /// The sum over all lanes to element i of four vectors S apart.
    @_transparent
    func putTotals(_ p: FloatOutput, _ i: Int, _ stride: Int) {
        p[i] = laneSum(s0)
        p[i &+ stride] = laneSum(s1)
        p[i &+ 2 &* stride] = laneSum(s2)
        p[i &+ 3 &* stride] = laneSum(s3)
    }

    /// The same, added.
    @_transparent
    func addTotals(_ p: FloatOutput, _ i: Int, _ stride: Int) {
        p[i] += laneSum(s0)
        p[i &+ stride] += laneSum(s1)
        p[i &+ 2 &* stride] += laneSum(s2)
        p[i &+ 3 &* stride] += laneSum(s3)
    }

    /// The sum over the heads of this times other, added to v.
    @_transparent
    func products(_ other: HeadSums, plus v: Vector) -> Vector {
        let a = multiplyAdd(s0, other.s0, v)
        let b = multiplyAdd(s1, other.s1, a)
        let c = multiplyAdd(s2, other.s2, b)
        return multiplyAdd(s3, other.s3, c)
    }
}

/// Four rows from i on, for four heads. `isNew`: the rows are computed and stored; otherwise they are read.
@inline(__always)
private func linkRows(
    _ links: FloatOutput, _ forward: FloatOutput, _ backward: FloatOutput, _ previous: FloatInput, _ w: FloatInput, _ precedence: FloatInput,
    _ r: FloatInput, _ i: Int, _ stride: Int, isNew: Bool
) {
    let (l0, p0) = (links + i &* stride, previous + i &* stride)
    let (l1, p1) = (l0 + stride, p0 + stride)
    let (l2, p2) = (l1 + stride, p1 + stride)
    let (l3, p3) = (l2 + stride, p2 + stride)
    let (row0, row1, row2, row3) = (LinkRow(w[i]), LinkRow(w[i &+ 1]), LinkRow(w[i &+ 2]), LinkRow(w[i &+ 3]))
    let (r0, r1) = (HeadSums(every: r, i, stride), HeadSums(every: r, i &+ 1, stride))
    let (r2, r3) = (HeadSums(every: r, i &+ 2, stride), HeadSums(every: r, i &+ 3, stride))
    var (f0, f1, f2, f3) = (HeadSums(), HeadSums(), HeadSums(), HeadSums())
    var j = 0
    while j < stride {
        var (v0, v1, v2, v3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        if isNew {
            let (wj, pj) = (load(w + j), load(precedence + j))
            v0 = row0.links(load(p0 + j), wj, pj)
            v1 = row1.links(load(p1 + j), wj, pj)
            v2 = row2.links(load(p2 + j), wj, pj)
            v3 = row3.links(load(p3 + j), wj, pj)
            if i >= j, i < j &+ laneCount {
                v0 = withoutDiagonal(v0, i, j)
                v1 = withoutDiagonal(v1, i &+ 1, j)
                v2 = withoutDiagonal(v2, i &+ 2, j)
                v3 = withoutDiagonal(v3, i &+ 3, j)
            }
            store(l0 + j, v0)
            store(l1 + j, v1)
            store(l2 + j, v2)
            store(l3 + j, v3)
        } else {
            (v0, v1, v2, v3) = (load(UnsafePointer(l0) + j), load(UnsafePointer(l1) + j), load(UnsafePointer(l2) + j), load(UnsafePointer(l3) + j))
        }
        let rj = HeadSums(r, j, stride)
        f0.add(v0, rj)
        f1.add(v1, rj)
        f2.add(v2, rj)
        f3.add(v3, rj)
        var b = HeadSums(UnsafePointer(backward), j, stride)
        b.add(v0, r0)
        b.add(v1, r1)
        b.add(v2, r2)
        b.add(v3, r3)
        b.put(backward, j, stride)
        j &+= laneCount
    }
    f0.putTotals(forward, i, stride)
    f1.putTotals(forward, i &+ 1, stride)
    f2.putTotals(forward, i &+ 2, stride)
    f3.putTotals(forward, i &+ 3, stride)
}

/// What one row adds to gradients while its blocks are gone through.
private struct LinkRowGradient {
    let row: LinkRow
    /// forwardGradient[h, i] and r[h, i].
    let df: HeadSums
    let r: HeadSums
    /// Of r[h, i], through backward.
    var dr = HeadSums()
    /// Of w[i].
    var dw = Vector.zero

    @_transparent
    init(_ w: FloatInput, _ forwardGradient: FloatInput, _ readWeights: FloatInput, _ i: Int, _ stride: Int) {
        row = LinkRow(w[i])
        df = HeadSums(every: forwardGradient, i, stride)
        r = HeadSums(every: readWeights, i, stride)
    }
}

/// What the blocks of one column j gather from all rows.
private struct LinkColumnGradient {
    /// Of r[h, j], through forward.
    var dr: HeadSums
    /// Of w[j] and precedence[j].
    var dw: Vector
    var dp: Vector
}

/// One block of one row: `g` the gradient that came from later steps; returns that of `previous`, or, unless `isLast`, of the links.
@_transparent
private func linkBlockGradient(
    _ state: inout LinkRowGradient, _ column: inout LinkColumnGradient, _ g: Vector, _ previous: Vector, _ wj: Vector, _ pj: Vector, _ rj: HeadSums,
    _ dbj: HeadSums, _ i: Int, _ j: Int, isLast: Bool
) -> Vector {
    var links = state.row.links(previous, wj, pj)
    var gradient = state.r.products(dbj, plus: state.df.products(rj, plus: g))
    if i >= j, i < j &+ laneCount {
        links = withoutDiagonal(links, i, j)
        gradient = withoutDiagonal(gradient, i, j)
    }
    column.dr.add(links, state.df)
    state.dr.add(links, dbj)
    if !isLast { return gradient }
    let product = gradient * previous
    state.dw += multiplyAdd(gradient, pj, negated(product))
    column.dw -= product
    column.dp = multiplyAdd(gradient, state.row.weight, column.dp)
    return gradient * (state.row.kept - wj)
}

/// Two rows from i on, for four heads. `isLast`: these are the last heads, and the gradient of `links` becomes that of `previous`.
@inline(__always)
private func linkRowsGradient(
    _ linkGradient: FloatOutput, _ readGradient: FloatOutput, _ writeGradient: FloatOutput, _ precedenceGradient: FloatOutput,
    _ forwardGradient: FloatInput, _ backwardGradient: FloatInput, _ previous: FloatInput, _ w: FloatInput, _ precedence: FloatInput, _ r: FloatInput,
    _ i: Int, _ stride: Int, isLast: Bool
) {
    let (g0, p0) = (linkGradient + i &* stride, previous + i &* stride)
    let (g1, p1) = (g0 + stride, p0 + stride)
    var first = LinkRowGradient(w, forwardGradient, r, i, stride)
    var second = LinkRowGradient(w, forwardGradient, r, i &+ 1, stride)
    var j = 0
    while j < stride {
        let (wj, pj) = (load(w + j), load(precedence + j))
        let (rj, dbj) = (HeadSums(r, j, stride), HeadSums(backwardGradient, j, stride))
        var column = LinkColumnGradient(
            dr: HeadSums(UnsafePointer(readGradient), j, stride), dw: isLast ? load(UnsafePointer(writeGradient) + j) : Vector.zero,
            dp: isLast ? load(UnsafePointer(precedenceGradient) + j) : Vector.zero)
        store(g0 + j, linkBlockGradient(&first, &column, load(UnsafePointer(g0) + j), load(p0 + j), wj, pj, rj, dbj, i, j, isLast: isLast))
        store(g1 + j, linkBlockGradient(&second, &column, load(UnsafePointer(g1) + j), load(p1 + j), wj, pj, rj, dbj, i &+ 1, j, isLast: isLast))
        column.dr.put(readGradient, j, stride)
        if isLast {
            store(writeGradient + j, column.dw)
            store(precedenceGradient + j, column.dp)
        }
        j &+= laneCount
    }
    first.dr.addTotals(readGradient, i, stride)
    second.dr.addTotals(readGradient, i &+ 1, stride)
    if isLast {
        writeGradient[i] += laneSum(first.dw)
        writeGradient[i &+ 1] += laneSum(second.dw)
    }
}

extension VariantKernels {
    public func linkMemory(
        _ links: FloatOutput, forward: FloatOutput, backward: FloatOutput, previous: FloatInput, writeWeights: FloatInput, precedence: FloatInput,
        readWeights: FloatInput, heads: Int, rows: Int, stride: Int
    ) {
        fill(forward, 0, heads &* stride)
        fill(backward, 0, heads &* stride)
        var i = 0
        while i < rows {
            linkRows(links, forward, backward, previous, writeWeights, precedence, readWeights, i, stride, isNew: true)
            var first = 4 &* stride
            while first < heads &* stride {
                linkRows(links, forward + first, backward + first, previous, writeWeights, precedence, readWeights + first, i, stride, isNew: false)
                first &+= 4 &* stride
            }
            i &+= 4
        }
    }

    public func linkMemoryGradient(
        _ linkGradient: FloatOutput, readWeightGradient: FloatOutput, writeWeightGradient: FloatOutput, precedenceGradient: FloatOutput,
        forwardGradient: FloatInput, backwardGradient: FloatInput, previous: FloatInput, writeWeights: FloatInput, precedence: FloatInput,
        readWeights: FloatInput, heads: Int, rows: Int, stride: Int
    ) {
        let last = (heads &- 4) &* stride
        var i = 0
        while i < rows {
            var first = 0
            while first < last {
                linkRowsGradient(
                    linkGradient, readWeightGradient + first, writeWeightGradient, precedenceGradient, forwardGradient + first,
                    backwardGradient + first,
                    previous, writeWeights, precedence, readWeights + first, i, stride, isLast: false)
                first &+= 4 &* stride
            }
            linkRowsGradient(
                linkGradient, readWeightGradient + last, writeWeightGradient, precedenceGradient, forwardGradient + last, backwardGradient + last,
                previous, writeWeights, precedence, readWeights + last, i, stride, isLast: true)
            i &+= 2
        }
    }
}
