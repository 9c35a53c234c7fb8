// Sums, the largest element, and the search for NaN and infinity. The order of every reduction depends on n alone.
//
// Legend: n elements.

import KernelTypes

extension VariantKernels {
    public func sum(_ a: FloatInput, _ n: Int) -> Double {
        sumOfVectors(n) { load(a + $0, count: $1) }
    }

    public func sumOfSquares(_ a: FloatInput, _ n: Int) -> Double {
        sumOfVectors(n) {
            let v = load(a + $0, count: $1)
            return v * v
        }
    }

    public func dot(_ a: FloatInput, _ b: FloatInput, _ n: Int) -> Float {
        Float(sumOfVectors(n) { load(a + $0, count: $1) * load(b + $0, count: $1) })
    }

    public func maximum(_ a: FloatInput, _ n: Int) -> Float {
        var m = splat(-Float.infinity)
        var unordered = IntegerVector.zero
        forEachVector(n) { i, count in
            let v = load(a + i, count: count, padding: -.infinity)
            m = larger(m, v)
            unordered |= integers(v .!= v)
        }
        return anyBit(unordered) ? .nan : horizontalMaximum(m)
    }

    public func isFinite(_ a: FloatInput, _ n: Int) -> Bool {
        var start = 0
        while start < n {
            let end = min(start &+ sumBlock, n)
            var bad = IntegerVector.zero
            forEachVector(end &- start) { i, count in
                bad |= integers((bits(load(a + start + i, count: count)) & splat(0x7FFF_FFFF)) .>= splat(Int32(0x7F80_0000)))
            }
            if anyBit(bad) { return false }
            start = end
        }
        return true
    }
}
