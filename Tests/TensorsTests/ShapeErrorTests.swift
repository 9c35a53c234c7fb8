// Shapes that do not fit end the program with a message that holds both.

import Tensors
import TestSupport
import Testing

@Suite("Shapes that do not fit")
struct ShapeErrorTests {
    @Test("a linear layer says both shapes")
    func linearLayer() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            _ = linear(Tensor(zeros: [2, 5]), weight: Tensor(zeros: [4, 6]))
        }
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains("[2, 5]") && text.contains("[4, 6]"), "\(text.prefix(300))")
    }

    @Test("a sum says both shapes")
    func sum() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            _ = Tensor(zeros: [2, 5]) + Tensor(zeros: [3, 5])
        }
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains("[2, 5]") && text.contains("[3, 5]"), "\(text.prefix(300))")
    }
}
