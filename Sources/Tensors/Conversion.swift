// Between float32 and bfloat16.
//
// Legend: n elements.

import Kernels

/// out += x, in the type of `out`; both may be float32 or bfloat16.
func addElements(_ out: Tensor, _ x: Tensor) {
    parallelElements(out.count) { start, count in
        switch (out.dataType, x.dataType) {
        case (.float32, .float32): kernels.add(out.floats + start, out.floats + start, x.floats + start, count)
        case (.float32, _): kernels.add(out.floats + start, out.floats + start, x.bfloats + start, count)
        case (_, .float32): kernels.add(out.bfloats + start, out.bfloats + start, x.floats + start, count)
        default: kernels.add(out.bfloats + start, out.bfloats + start, x.bfloats + start, count)
        }
    }
}

/// out = a + b; out float32, the others float32 or bfloat16.
func addElements(_ out: Tensor, _ a: Tensor, _ b: Tensor) {
    parallelElements(out.count) { start, count in
        switch (a.dataType, b.dataType) {
        case (.float32, .float32): kernels.add(out.floats + start, a.floats + start, b.floats + start, count)
        case (.float32, _): kernels.add(out.floats + start, a.floats + start, b.bfloats + start, count)
        case (_, .float32): kernels.add(out.floats + start, b.floats + start, a.bfloats + start, count)
        default: kernels.add(out.floats + start, a.bfloats + start, b.bfloats + start, count)
        }
    }
}

extension Tensor {
    /// The same values in another floating type, off the tape. Cost: one pass; none when the type is the same already.
    public func converted(to type: DataType) -> Tensor {
        if type == dataType { return stopGradient() }
        let result = Tensor(uninitialized: shape, type)
        parallelElements(count) { start, count in
            if type == .bfloat16 {
                kernels.toBFloat16(result.bfloats + start, floats + start, count)
            } else {
                kernels.fromBFloat16(result.floats + start, bfloats + start, count)
            }
        }
        return result
    }

    /// Writes the values to `memory` as float32.
    func convert(to memory: UnsafeMutablePointer<Float>) {
        parallelElements(count) { start, count in
            if dataType == .float32 {
                (memory + start).update(from: floats + start, count: count)
            } else {
                kernels.fromBFloat16(memory + start, bfloats + start, count)
            }
        }
    }
}

/// x in another floating type, on the tape. The gradient is converted back.
public func convert(_ x: Tensor, to type: DataType) -> Tensor {
    if type == x.dataType { return x }
    return Operation("convert").record(x.converted(to: type), from: x) { gradient in x.node?.accumulate(gradient) }
}
