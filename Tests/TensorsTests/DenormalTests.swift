// Denormal numbers do not depend on which thread a part of a tensor falls to.

import Kernels
import TestSupport
import Tensors
import Testing

#if arch(x86_64)
    @Suite("Denormals")
    struct DenormalTests {
        @Test("a gradient of denormals that is gathered in two parts is zero in both")
        func gathered() {
            withThreads(2) {
                let part = Tensor(repeating: 1e-40, [40_000])
                let x = Tape().variable(Tensor(zeros: [40_000]))
                x.node?.accumulate(part)
                x.node?.accumulate(part)
                let kept = (x.node?.gradient?.array ?? [1]).enumerated().filter { $0.element.bitPattern != 0 }
                #expect(kept.isEmpty, "\(kept.count) elements are not zero, the first at \(kept.first?.offset ?? -1)")
            }
        }
    }
#endif
