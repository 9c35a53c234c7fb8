// Sums, the largest element, and the search for NaN and infinity. The order of every reduction depends on n alone.
//
// Legend: n elements.

import KernelTypes

extension VariantKernels {
    public func sum(_ a: FloatInput, _ n: Int) -> Double {
        var total = 0.0
        for span in Spans(n) {
            var sum = VectorSum()
            for i in span.full { sum.add(load(a, i)) }
            if let i = span.rest { sum.add(load(a, i)) }
            total += sum.total
        }
        return total
    }

    public func sumOfSquares(_ a: FloatInput, _ n: Int) -> Double {
        dot64(a, a, n)
    }

    public func dot(_ a: FloatInput, _ b: FloatInput, _ n: Int) -> Float {
        Float(dot64(a, b, n))
    }

    /// The sum of a[i] * b[i] as the float64 that its blocks are combined in.
    func dot64(_ a: FloatInput, _ b: FloatInput, _ n: Int) -> Double {
        var total = 0.0
        for span in Spans(n) {
            var sum = VectorSum()
            for i in span.full { sum.add(load(a, i) * load(b, i)) }
            if let i = span.rest { sum.add(load(a, i) * load(b, i)) }
            total += sum.total
        }
        return total
    }

    public func maximum(_ a: FloatInput, _ n: Int) -> Float {
        var maximum = VectorMaximum()
        var unordered = IntegerVector.zero
        for i in blocks(n).full {
            let v = load(a, i)
            maximum.add(v)
            unordered |= integers(v .!= v)
        }
        if let i = blocks(n).rest {
            let v = load(a, i, padding: -.infinity)
            maximum.add(v)
            unordered |= integers(v .!= v)
        }
        return anyBit(unordered) ? .nan : maximum.largest
    }

    public func isFinite(_ a: FloatInput, _ n: Int) -> Bool {
        for span in Spans(n) {
            var bad = IntegerVector.zero
            for i in span {
                bad |= integers((bits(load(a, i)) & splat(0x7FFF_FFFF)) .>= splat(Int32(0x7F80_0000)))
            }
            if anyBit(bad) { return false }
        }
        return true
    }
}
