// float32 to bfloat16 and back. Plain loops: the compiler vectorises them at the width of the instruction set.
//
// Legend: n elements.

import KernelTypes

extension VariantKernels {
    public func toBFloat16(_ out: UnsafeMutablePointer<UInt16>, _ a: FloatInput, _ n: Int) {
        for i in 0..<n {
            let pattern = a[i].bitPattern
            // Adding 0x7FFF and the lowest kept bit carries exactly when the dropped half is above one half, or at one half with an odd rest.
            let rounded = (pattern &+ 0x7FFF &+ ((pattern &>> 16) & 1)) &>> 16
            // A quiet NaN keeps its sign and upper payload.
            let quiet = (pattern &>> 16) | 0x40
            out[i] = UInt16(truncatingIfNeeded: (pattern & 0x7FFF_FFFF) > 0x7F80_0000 ? quiet : rounded)
        }
    }

    public func fromBFloat16(_ out: FloatOutput, _ a: UnsafePointer<UInt16>, _ n: Int) {
        for i in 0..<n {
            out[i] = Float(bitPattern: UInt32(a[i]) &<< 16)
        }
    }
}
