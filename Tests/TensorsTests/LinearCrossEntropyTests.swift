// The loss over a vocabulary in chunks: the same whatever the chunk, and right for any gradient that arrives.

import Tensors
import TestSupport
import Testing

@Suite("Linear cross-entropy")
struct LinearCrossEntropyTests {
    private static let (rows, width, classes) = (37, 12, 19)
    /// Every fifth position has no target.
    private static var targets: Tensor { Tensor((0..<rows).map { $0 % 5 == 4 ? -1 : Int32($0 * 7 % classes) }, [rows]) }

    private struct Outcome {
        var loss: Float
        var negativeLogLikelihood: Double
        var gradients: [[Float]]
    }

    /// The fused loss, or the same from logits; `factor` multiplies the loss before the backward pass.
    private func run(chunk: Int?, isFused: Bool = true, targets: Tensor? = nil, factor: Float = 1, labelSmoothing: Float = 0.1) -> Outcome {
        let tape = Tape()
        let inputs = [
            tape.variable(randomTensor("h", [Self.rows, Self.width])), tape.variable(randomTensor("w", [Self.classes, Self.width])),
            tape.variable(randomTensor("b", [Self.classes])),
        ]
        let result =
            isFused
            ? linearCrossEntropy(
                inputs[0], weight: inputs[1], bias: inputs[2], targets: targets ?? Self.targets, labelSmoothing: labelSmoothing, chunk: chunk)
            : crossEntropy(linear(inputs[0], weight: inputs[1], bias: inputs[2]), targets: targets ?? Self.targets, labelSmoothing: labelSmoothing)
        tape.backward(from: factor == 1 ? result.loss : result.loss * factor)
        return Outcome(
            loss: result.loss.scalar, negativeLogLikelihood: result.negativeLogLikelihood, gradients: inputs.map { $0.node?.gradient?.array ?? [] })
    }

    private func expectClose(_ a: Outcome, _ b: Outcome, _ tolerance: Float = 2e-5) {
        #expect(abs(a.loss - b.loss) <= tolerance * abs(b.loss))
        #expect(abs(a.negativeLogLikelihood - b.negativeLogLikelihood) <= Double(tolerance) * abs(b.negativeLogLikelihood))
        for (x, y) in zip(a.gradients, b.gradients) {
            #expect(x.count == y.count && !x.isEmpty)
            let largest = y.map(abs).max() ?? 0
            for (p, q) in zip(x, y) { #expect(abs(p - q) <= tolerance * max(largest, 0.1)) }
        }
    }

    @Test("any chunk gives what logits give", arguments: [1, 3, 16, 30, 1000])
    func chunks(_ chunk: Int) { expectClose(run(chunk: chunk), run(chunk: nil, isFused: false)) }

    @Test("a gradient other than 1", arguments: [2.5, -1, 0] as [Float])
    func scaled(_ factor: Float) { expectClose(run(chunk: 8, factor: factor), run(chunk: nil, isFused: false, factor: factor)) }

    @Test("no position has a target")
    func nothing() {
        let outcome = run(chunk: 4, targets: Tensor([Int32](repeating: -1, count: Self.rows), [Self.rows]))
        #expect(outcome.loss == 0 && outcome.negativeLogLikelihood == 0)
        #expect(outcome.gradients.allSatisfy { gradient in gradient.allSatisfy { $0 == 0 } })
    }

    @Test("two losses of one output layer add up")
    func shared() {
        func gradient(_ count: Int) -> [Float] {
            let tape = Tape()
            let (h, w) = (tape.variable(randomTensor("h", [Self.rows, Self.width])), tape.variable(randomTensor("w", [Self.classes, Self.width])))
            var loss = linearCrossEntropy(h, weight: w, targets: Self.targets, chunk: 8).loss
            for _ in 1..<count { loss = loss + linearCrossEntropy(h, weight: w, targets: Self.targets, chunk: 8).loss }
            tape.backward(from: loss)
            return w.node?.gradient?.array ?? []
        }
        for (twice, once) in zip(gradient(2), gradient(1)) { #expect(abs(twice - 2 * once) < 1e-4) }
    }

    @Test("bfloat16 hidden states: float32 losses, gradients of the hidden states' type")
    func bfloat16() {
        let reference = run(chunk: nil, labelSmoothing: 0)
        let tape = Tape()
        let h = tape.variable(randomTensor("h", [Self.rows, Self.width]).converted(to: .bfloat16))
        let w = tape.variable(randomTensor("w", [Self.classes, Self.width]).converted(to: .bfloat16))
        let result = linearCrossEntropy(h, weight: w, bias: randomTensor("b", [Self.classes]), targets: Self.targets, chunk: 8)
        tape.backward(from: result.loss)
        #expect(abs(result.loss.scalar - reference.loss) < 5e-3 * reference.loss)
        #expect(h.node?.gradient?.dataType == .bfloat16)
        let gradient = h.node?.gradient?.converted(to: .float32).array ?? []
        let largest = reference.gradients[0].map(abs).max() ?? 0
        #expect(gradient.count == reference.gradients[0].count)
        for (p, q) in zip(gradient, reference.gradients[0]) { #expect(abs(p - q) < 3e-2 * largest) }
    }
}
