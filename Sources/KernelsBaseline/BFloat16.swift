// float32 to bfloat16 and back.
//
// Legend: n elements.

import KernelTypes

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

@inline(never)
private func narrow(_ out: BFloatOutput, _ a: FloatInput, _ n: Int) {
    narrowRow(out, a, n)
}

@inline(never)
private func widen(_ out: FloatOutput, _ a: BFloatInput, _ n: Int) {
    for i in blocks(n) { store(out, i, load(a, i)) }
}

extension VariantKernels {
    public func convert(_ out: Elements, _ a: Elements, _ n: Int) {
        switch (out.type, a.type) {
        case (.bfloat16, .float32): narrow(out.bfloats, a.floats, n)
        case (.float32, .bfloat16): widen(out.floats, a.bfloats, n)
        case (.float32, .float32), (.bfloat16, .bfloat16):
            if out.address != a.address { memcpy(out.address, a.address, n &* a.type.byteCount) }
        default: refuseTypes("convert", out.type, a.type)
        }
    }
}
