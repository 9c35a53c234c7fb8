// Between float32 and bfloat16.
//
// Legend: n elements.

import Kernels

/// out += x, in the type of `out`; both may be float32 or bfloat16.
func addElements(_ out: Tensor, _ x: Tensor) {
    addElements(out, out, x)
}

/// out = a + b, each float32 or bfloat16; but not bfloat16 from two float32 tensors.
func addElements(_ out: Tensor, _ a: Tensor, _ b: Tensor) {
    parallelElements(out.count) { start, count in
        kernels.add(out.elements + start, a.elements + start, b.elements + start, count)
    }
}

extension Tensor {
    /// The same values in another floating type, off the tape. Cost: one pass; none when the type is the same already.
    public func converted(to type: DataType) -> Tensor {
        if type == dataType { return stopGradient() }
        let result = Tensor(uninitialized: shape, type)
        parallelElements(count) { start, count in kernels.convert(result.elements + start, elements + start, count) }
        return result
    }

    /// Writes the values to `memory` as float32.
    func convert(to memory: UnsafeMutablePointer<Float>) {
        parallelElements(count) { start, count in kernels.convert(Elements(memory + start), elements + start, count) }
    }
}

/// x in another floating type, on the tape. The gradient is converted back.
public func convert(_ x: Tensor, to type: DataType) -> Tensor {
    if type == x.dataType { return x }
    return Operation("convert").record(x.converted(to: type), from: x) { gradient in x.node?.accumulate(gradient) }
}
