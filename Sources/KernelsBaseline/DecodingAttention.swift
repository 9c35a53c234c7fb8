// Attention of one query: a step of decoding, where a matrix product would have one row.
//
// Legend: n keys, K head size.

import KernelTypes

/// scratch[j] = the product of the query with key j, j < n; scratch[n...] becomes the query as float32.
@inline(never)
private func storeScores<Element: VectorElement>(
    _ scratch: FloatOutput, _ query: UnsafePointer<Element>, _ keys: UnsafePointer<Element>, _ keyStride: Int, _ n: Int, _ headSize: Int
) {
    let q = scratch + n
    for i in blocks(headSize) { store(q, i, Element.vector(query, i, padding: 0)) }
    for j in 0..<n {
        let key = keys + j &* keyStride
        var sum = Vector.zero
        for i in blocks(headSize).full { sum = multiplyAdd(load(q, i), Element.vector(key + i.offset), sum) }
        if let i = blocks(headSize).rest { sum += load(q, i) * Element.vector(key, i, padding: 0) }
        scratch[j] = laneSum(sum)
    }
}

/// out = the sum of weights[j] * row j of values, j < n.
@inline(never)
private func storeWeightedSum<Element: VectorElement>(
    _ out: UnsafeMutablePointer<Element>, _ weights: FloatInput, _ values: UnsafePointer<Element>, _ valueStride: Int, _ n: Int, _ headSize: Int
) {
    var first = 0
    while first &+ 4 &* width <= headSize {
        var (s0, s1, s2, s3) = (Vector.zero, Vector.zero, Vector.zero, Vector.zero)
        var value = values + first
        for j in 0..<n {
            let p = splat(weights[j])
            s0 = multiplyAdd(p, Element.vector(value), s0)
            s1 = multiplyAdd(p, Element.vector(value + width), s1)
            s2 = multiplyAdd(p, Element.vector(value + (2 &* width)), s2)
            s3 = multiplyAdd(p, Element.vector(value + (3 &* width)), s3)
            value += valueStride
        }
        Element.put(out + first, s0)
        Element.put(out + (first &+ width), s1)
        Element.put(out + (first &+ 2 &* width), s2)
        Element.put(out + (first &+ 3 &* width), s3)
        first &+= 4 &* width
    }
    for i in Blocks(from: first, to: headSize) {
        var sum = Vector.zero
        for j in 0..<n { sum = multiplyAdd(splat(weights[j]), Element.vector(values + j &* valueStride, i, padding: 0), sum) }
        Element.put(out, i, sum)
    }
}

extension VariantKernels {
    public func attendRow(
        _ out: Elements, query: Elements, keys: Elements, keyStride: Int, values: Elements, valueStride: Int, scale: Float,
        scratch: FloatOutput, keyCount n: Int, headSize: Int
    ) {
        let type = floatingType("attendRow", out, query, keys)
        _ = floatingType("attendRow", out, values)
        switch type {
        case .float32: storeScores(scratch, query.floats, keys.floats, keyStride, n, headSize)
        case .bfloat16: storeScores(scratch, query.bfloats, keys.bfloats, keyStride, n, headSize)
        }
        softmax(scratch, scratch, scale: scale, n)
        switch type {
        case .float32: storeWeightedSum(out.floats, scratch, values.floats, valueStride, n, headSize)
        case .bfloat16: storeWeightedSum(out.bfloats, scratch, values.bfloats, valueStride, n, headSize)
        }
    }
}
