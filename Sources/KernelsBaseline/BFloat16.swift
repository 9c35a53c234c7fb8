// float32 to bfloat16 and back.
//
// Legend: n elements.

import KernelTypes

extension VariantKernels {
    public func toBFloat16(_ out: BFloatOutput, _ a: FloatInput, _ n: Int) {
        narrowRow(out, a, n)
    }

    public func fromBFloat16(_ out: FloatOutput, _ a: BFloatInput, _ n: Int) {
        for i in blocks(n) { store(out, i, load(a, i)) }
    }
}
