// Operations of several outputs, their names, and who watches them.

import TestSupport
import Tensors
import Testing

@Suite("Operations")
struct OperationTests {
    /// (x + y, x * y) as one operation.
    private func sumAndProduct(_ x: Tensor, _ y: Tensor) -> [Tensor] {
        let values = [x.stopGradient() + y.stopGradient(), x.stopGradient() * y.stopGradient()]
        return Operation("sum and product").record(values, from: [x, y]) { gradients in
            if let sum = gradients[0] {
                x.node?.accumulate(sum)
                y.node?.accumulate(sum)
            }
            if let product = gradients[1] {
                x.node?.accumulate(product * y.stopGradient())
                y.node?.accumulate(product * x.stopGradient())
            }
        }
    }

    @Test("an operation of two outputs is one entry, and takes the gradients that have arrived")
    func severalOutputs() {
        func gradients(_ loss: ([Tensor]) -> Tensor) -> [[Float]?] {
            let tape = Tape()
            let (x, y) = (tape.variable(Tensor([2, 3] as [Float], [2])), tape.variable(Tensor([5, 7] as [Float], [2])))
            let outputs = sumAndProduct(x, y)
            #expect(tape.count == 1)
            tape.backward(from: loss(outputs))
            return [x.node?.gradient?.array, y.node?.gradient?.array]
        }
        #expect(gradients { $0[0].sum() } == [[1, 1], [1, 1]])
        #expect(gradients { $0[1].sum() } == [[5, 7], [2, 3]])
        #expect(gradients { ($0[0] + $0[1]).sum() } == [[6, 8], [3, 4]])
    }

    @Test("a tape runs backwards from several values")
    func severalRoots() {
        let tape = Tape()
        let x = tape.variable(Tensor([2, 3] as [Float], [2]))
        let (loss, state) = (x.squared().sum(), x * 10)
        tape.backward(from: [(loss, Tensor(1)), (state, Tensor([1, 2] as [Float], [2]))])
        #expect(x.node?.gradient?.array == [14, 26])
    }

    @Test("recomputed parts have several results, and adopt what they need of the outer tape")
    func recomputedOutputs() {
        func gradients(_ recomputes: Bool) -> [[Float]?] {
            let tape = Tape()
            let (x, memory) = (tape.variable(Tensor([2, 3] as [Float], [2])), tape.variable(Tensor([5, 7] as [Float], [2])))
            func body(_ x: Tensor, _ memory: Tensor) -> [Tensor] { [x * memory, memory.squared()] }
            let results = recomputes ? recomputed([x], on: tape) { body($0[0], $1.adopt(memory)) } : body(x, memory)
            tape.backward(from: (results[0] + results[1] * 2).sum())
            return [x.node?.gradient?.array, memory.node?.gradient?.array]
        }
        #expect(gradients(true) == [[5, 7], [22, 31]])
        #expect(gradients(true) == gradients(false))
    }

    @Test("whoever watches a tape hears every operation by name, forwards and backwards, those of recomputed parts too")
    func observer() {
        final class Log: OperationObserver {
            var lines: [String] = []
            func recorded(_ operation: Operation, _ outputs: [Tensor]) { lines.append("\(operation) \(outputs[0].shape)") }
            func startsBackward(_ operation: Operation) { lines.append("before \(operation)") }
            func finishedBackward(_ operation: Operation) { lines.append("after \(operation)") }
        }
        let (log, tape) = (Log(), Tape())
        tape.observer = log
        let x = tape.variable(Tensor([2, 3] as [Float], [2]))
        let y: Tensor = recomputed([x], on: tape) { inputs, _ in inputs[0].hyperbolicTangent() }
        tape.backward(from: y.sum())
        #expect(
            log.lines == [
                "tanh [2]", "recomputed [2]", "sum []", "before sum", "after sum", "before recomputed", "tanh [2]", "before tanh", "after tanh",
                "after recomputed",
            ])
    }

    @Test("an operation is known by its name")
    func names() {
        #expect(Operation("softmax").name == "softmax" && Operation("softmax") == Operation("softmax") && Operation("a") != Operation("b"))
    }

    @Test("inputs that do not fit end the program with the operation's name")
    func require() async {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            Operation("softmax").require(1 + 1 == 3, "two and two")
        }
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains("softmax: two and two"), "\(text.prefix(300))")
    }
}
