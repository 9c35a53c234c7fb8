// Arithmetic on one element at a time.
//
// Legend: n elements.

import KernelTypes

/// out = a + b
@inline(never)
private func addArrays<Out: VectorElement, A: VectorElement, B: VectorElement>(
    _ out: UnsafeMutablePointer<Out>, _ a: UnsafePointer<A>, _ b: UnsafePointer<B>, _ n: Int
) {
    for i in blocks(n) { store(out, i, load(a, i) + load(b, i)) }
}

extension VariantKernels {
    public func fill(_ out: FloatOutput, _ value: Float, _ n: Int) {
        let v = splat(value)
        for i in blocks(n) { store(out, i, v) }
    }

    public func add(_ out: Elements, _ a: Elements, _ b: Elements, _ n: Int) {
        switch (out.type, a.type, b.type) {
        case (.float32, .float32, .float32): addArrays(out.floats, a.floats, b.floats, n)
        case (.float32, .float32, .bfloat16): addArrays(out.floats, a.floats, b.bfloats, n)
        case (.float32, .bfloat16, .float32): addArrays(out.floats, b.floats, a.bfloats, n)
        case (.float32, .bfloat16, .bfloat16): addArrays(out.floats, a.bfloats, b.bfloats, n)
        case (.bfloat16, .bfloat16, .bfloat16): addArrays(out.bfloats, a.bfloats, b.bfloats, n)
        case (.bfloat16, .bfloat16, .float32): addArrays(out.bfloats, a.bfloats, b.floats, n)
        case (.bfloat16, .float32, .bfloat16): addArrays(out.bfloats, b.bfloats, a.floats, n)
        default: refuseTypes("add", out.type, a.type, b.type)
        }
    }

    public func subtract(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        for i in blocks(n) { store(out, i, load(a, i) - load(b, i)) }
    }

    public func multiply(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        for i in blocks(n) { store(out, i, load(a, i) * load(b, i)) }
    }

    public func divide(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        for i in blocks(n) { store(out, i, load(a, i) / load(b, i)) }
    }

    public func addProduct(_ out: FloatOutput, _ a: FloatInput, _ b: FloatInput, _ n: Int) {
        for i in blocks(n) { store(out, i, multiplyAdd(load(a, i), load(b, i), load(out, i))) }
    }

    public func affine(_ out: FloatOutput, _ a: FloatInput, scale: Float, offset: Float, _ n: Int) {
        let s = splat(scale)
        let o = splat(offset)
        for i in blocks(n) { store(out, i, multiplyAdd(s, load(a, i), o)) }
    }

    public func addScaled(_ out: FloatOutput, _ a: FloatInput, scale: Float, _ n: Int) {
        let s = splat(scale)
        for i in blocks(n) { store(out, i, multiplyAdd(s, load(a, i), load(out, i))) }
    }

    public func clamp(_ out: FloatOutput, _ a: FloatInput, lower: Float, upper: Float, _ n: Int) {
        for i in blocks(n) { store(out, i, atMost(atLeast(load(a, i), lower), upper)) }
    }
}
