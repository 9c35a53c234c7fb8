// Passes over a memory that is read and written by weights over its rows.
//
// Legend: N rows of the memory, W their width, S the stride of what belongs to rows, R reads, K writes.
// A memory is stored by columns, [W, S], S a multiple of 16: no pass has a remainder.

import KernelTypes

/// Products of two keys with four vectors of rows, and the sums of squares of those rows.
@inline(__always)
private func scoresOfFour(
    _ first: FloatOutput, _ second: FloatOutput, _ norms: FloatOutput?, _ memory: FloatInput, _ a: FloatInput, _ b: FloatInput, _ accumulate: Bool,
    _ width: Int, _ stride: Int, _ lanes: Int
) {
    var (a0, a1, a2, a3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (b0, b1, b2, b3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var (n0, n1, n2, n3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    var p = memory
    for w in 0..<width {
        let (x0, x1, x2, x3) = (load(p), load(p + lanes), load(p + 2 &* lanes), load(p + 3 &* lanes))
        let (ka, kb) = (splat(a[w]), splat(b[w]))
        a0 = multiplyAdd(ka, x0, a0)
        a1 = multiplyAdd(ka, x1, a1)
        a2 = multiplyAdd(ka, x2, a2)
        a3 = multiplyAdd(ka, x3, a3)
        b0 = multiplyAdd(kb, x0, b0)
        b1 = multiplyAdd(kb, x1, b1)
        b2 = multiplyAdd(kb, x2, b2)
        b3 = multiplyAdd(kb, x3, b3)
        n0 = multiplyAdd(x0, x0, n0)
        n1 = multiplyAdd(x1, x1, n1)
        n2 = multiplyAdd(x2, x2, n2)
        n3 = multiplyAdd(x3, x3, n3)
        p += stride
    }
    if accumulate {
        // The second key may be the first again: what is there is read before anything is stored.
        (a0, a1, a2, a3) = (a0 + load(first), a1 + load(first + lanes), a2 + load(first + 2 &* lanes), a3 + load(first + 3 &* lanes))
        (b0, b1, b2, b3) = (b0 + load(second), b1 + load(second + lanes), b2 + load(second + 2 &* lanes), b3 + load(second + 3 &* lanes))
    }
    store(first, a0)
    store(first + lanes, a1)
    store(first + 2 &* lanes, a2)
    store(first + 3 &* lanes, a3)
    store(second, b0)
    store(second + lanes, b1)
    store(second + 2 &* lanes, b2)
    store(second + 3 &* lanes, b3)
    if let norms {
        store(norms, n0.squareRoot())
        store(norms + lanes, n1.squareRoot())
        store(norms + 2 &* lanes, n2.squareRoot())
        store(norms + 3 &* lanes, n3.squareRoot())
    }
}

/// The same for one vector of rows.
@inline(__always)
private func scoresOfOne(
    _ first: FloatOutput, _ second: FloatOutput, _ norms: FloatOutput?, _ memory: FloatInput, _ a: FloatInput, _ b: FloatInput, _ accumulate: Bool,
    _ width: Int, _ stride: Int
) {
    var (a0, b0, n0) = (Vector.zero, Vector.zero, Vector.zero)
    var p = memory
    for w in 0..<width {
        let x = load(p)
        a0 = multiplyAdd(splat(a[w]), x, a0)
        b0 = multiplyAdd(splat(b[w]), x, b0)
        n0 = multiplyAdd(x, x, n0)
        p += stride
    }
    if accumulate { (a0, b0) = (a0 + load(first), b0 + load(second)) }
    store(first, a0)
    store(second, b0)
    if let norms { store(norms, n0.squareRoot()) }
}

/// Products of one key with four vectors of rows.
@inline(__always)
private func productsOfFour(
    _ out: FloatOutput, _ memory: FloatInput, _ a: FloatInput, _ accumulate: Bool, _ width: Int, _ stride: Int, _ lanes: Int
) {
    var (a0, a1, a2, a3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
    if accumulate { (a0, a1, a2, a3) = (load(out), load(out + lanes), load(out + 2 &* lanes), load(out + 3 &* lanes)) }
    var p = memory
    for w in 0..<width {
        let ka = splat(a[w])
        a0 = multiplyAdd(ka, load(p), a0)
        a1 = multiplyAdd(ka, load(p + lanes), a1)
        a2 = multiplyAdd(ka, load(p + 2 &* lanes), a2)
        a3 = multiplyAdd(ka, load(p + 3 &* lanes), a3)
        p += stride
    }
    store(out, a0)
    store(out + lanes, a1)
    store(out + 2 &* lanes, a2)
    store(out + 3 &* lanes, a3)
}

/// Products of one key with all rows.
@inline(never)
private func storeProducts(_ out: FloatOutput, _ memory: FloatInput, _ a: FloatInput, _ accumulate: Bool, _ shape: AddressedMemoryShape) {
    let (stride, lanes) = (shape.stride, width)
    var i = 0
    while i &+ 4 &* lanes <= stride {
        productsOfFour(out + i, memory + i, a, accumulate, shape.width, stride, lanes)
        i &+= 4 &* lanes
    }
    while i < stride {
        var sum = accumulate ? load(UnsafePointer(out) + i) : Vector.zero
        for w in 0..<shape.width { sum = multiplyAdd(splat(a[w]), load(memory + (w &* stride &+ i)), sum) }
        store(out + i, sum)
        i &+= lanes
    }
}

/// The sum of a[i] * b[i] over S elements.
@inline(__always)
private func product(_ a: FloatInput, _ b: FloatInput, _ stride: Int) -> Float {
    var (s0, s1) = (Vector.zero, Vector.zero)
    var i = 0
    while i &+ 2 &* width <= stride {
        s0 = multiplyAdd(load(a + i), load(b + i), s0)
        s1 = multiplyAdd(load(a + i + width), load(b + i + width), s1)
        i &+= 2 &* width
    }
    if i < stride { s0 = multiplyAdd(load(a + i), load(b + i), s0) }
    return Float(horizontalSum(s0 + s1))
}

/// The product over k != `except` of 1 - weights[k, i] * erase[k, w] for a vector of rows.
@inline(__always)
private func kept(_ weights: FloatInput, _ erase: FloatInput, _ count: Int, except: Int, _ shape: AddressedMemoryShape) -> Vector {
    var factor: Vector = splat(1)
    for k in 0..<count where k != except {
        factor *= splat(1) - load(weights + k &* shape.stride) * splat(erase[k &* shape.width])
    }
    return factor
}

extension VariantKernels {
    public func memoryScores(
        _ out: FloatOutput, norms: FloatOutput?, memory: FloatInput, keys: FloatInput, keyStride: Int, keyCount: Int, accumulate: Bool,
        _ shape: AddressedMemoryShape
    ) {
        let (stride, lanes) = (shape.stride, width)
        var key = 0
        while key < keyCount {
            let last = min(key &+ 1, keyCount &- 1)
            let (a, b) = (keys + key &* keyStride, keys + last &* keyStride)
            let (first, second) = (out + key &* stride, out + last &* stride)
            let norms = key == 0 ? norms : nil
            if last == key, norms == nil {
                storeProducts(first, memory, a, accumulate, shape)
                break
            }
            var i = 0
            while i &+ 4 &* lanes <= stride {
                scoresOfFour(first + i, second + i, norms.map { $0 + i }, memory + i, a, b, accumulate, shape.width, stride, lanes)
                i &+= 4 &* lanes
            }
            while i < stride {
                scoresOfOne(first + i, second + i, norms.map { $0 + i }, memory + i, a, b, accumulate, shape.width, stride)
                i &+= lanes
            }
            key &+= 2
        }
    }

    public func memoryReads(
        _ out: FloatOutput, outStride: Int, memory: FloatInput, weights: FloatInput, count: Int, _ shape: AddressedMemoryShape
    ) {
        for w in 0..<shape.width {
            let column = memory + w &* shape.stride
            for r in 0..<count { out[r &* outStride &+ w] = product(weights + r &* shape.stride, column, shape.stride) }
        }
    }

    public func memoryWrite(
        _ next: FloatOutput, memory: FloatInput, weights: FloatInput, erase: FloatInput, add: FloatInput, count: Int, _ shape: AddressedMemoryShape
    ) {
        for w in 0..<shape.width {
            let (column, target) = (memory + w &* shape.stride, next + w &* shape.stride)
            if count == 1 {
                let (e, a) = (splat(erase[w]), splat(add[w]))
                for i in Blocks(from: 0, to: shape.stride).full {
                    // In this form a weight of 1 that erases all leaves the value itself, without rounding.
                    let v = load(weights, i)
                    store(target, i, multiplyAdd(load(column, i), multiplySubtract(v, e, from: splat(1)), v * a))
                }
                continue
            }
            for i in Blocks(from: 0, to: shape.stride).full {
                var m = load(column, i) * kept(weights + i.offset, erase + w, count, except: -1, shape)
                for k in 0..<count { m = multiplyAdd(load(weights + k &* shape.stride, i), splat(add[k &* shape.width &+ w]), m) }
                store(target, i, m)
            }
        }
    }

    public func memoryWriteGradient(
        weightGradient: FloatOutput, eraseGradient: FloatOutput, addGradient: FloatOutput, gradient: FloatInput, memory: FloatInput,
        weights: FloatInput, erase: FloatInput, add: FloatInput, count: Int, _ shape: AddressedMemoryShape
    ) {
        for w in 0..<shape.width {
            let (column, slope) = (memory + w &* shape.stride, gradient + w &* shape.stride)
            for k in 0..<count {
                let (ownWeights, ownGradient) = (weights + k &* shape.stride, weightGradient + k &* shape.stride)
                let (e, a) = (splat(erase[k &* shape.width &+ w]), splat(add[k &* shape.width &+ w]))
                var (erased, added) = (Vector.zero, Vector.zero)
                for i in Blocks(from: 0, to: shape.stride).full {
                    let g = load(slope, i)
                    var m = load(column, i)
                    if count > 1 { m *= kept(weights + i.offset, erase + w, count, except: k, shape) }
                    let v = load(ownWeights, i)
                    store(ownGradient, i, multiplyAdd(g, multiplySubtract(m, e, from: a), load(ownGradient, i)))
                    let gv = g * v
                    erased = multiplyAdd(gv, m, erased)
                    added += gv
                }
                eraseGradient[k &* shape.width &+ w] = -Float(horizontalSum(erased))
                addGradient[k &* shape.width &+ w] = Float(horizontalSum(added))
            }
        }
    }

    public func memoryGradient(
        _ gradient: FloatOutput, memory: FloatInput, weights: FloatInput, erase: FloatInput, count: Int, decay: FloatInput?, _ first: OuterProducts,
        _ second: OuterProducts, _ shape: AddressedMemoryShape
    ) {
        for w in 0..<shape.width {
            let (column, slope) = (memory + w &* shape.stride, gradient + w &* shape.stride)
            let e = count == 1 ? splat(erase[w]) : Vector.zero
            for i in Blocks(from: 0, to: shape.stride).full {
                var g = load(slope, i)
                if count == 1 {
                    g = multiplySubtract(g * e, load(weights, i), from: g)
                } else if count > 1 {
                    g *= kept(weights + i.offset, erase + w, count, except: -1, shape)
                }
                if let decay { g = multiplySubtract(load(decay, i), load(column, i), from: g) }
                for j in 0..<first.count {
                    g = multiplyAdd(splat(first.left[j &* first.leftStride &+ w]), load(first.right + j &* shape.stride, i), g)
                }
                for j in 0..<second.count {
                    g = multiplyAdd(splat(second.left[j &* second.leftStride &+ w]), load(second.right + j &* shape.stride, i), g)
                }
                store(slope, i, g)
            }
        }
    }
}
