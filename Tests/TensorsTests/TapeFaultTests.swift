// What a tape must not do silently: train by a loss that nothing is trained by, mix parameters up, lose a gradient, run twice.

import TestSupport
import Tensors
import Testing

@Suite("A tape's silent faults")
struct TapeFaultTests {
    /// A store of one matrix.
    private func oneWeight(_ rows: Int, _ columns: Int) -> (ParameterStore, Parameter) {
        let store = ParameterStore()
        let weight = store.add("weight", [rows, columns], .normal(standardDeviation: 0.5))
        store.allocate(seed: 3)
        store.clearGradients()
        return (store, weight)
    }

    private let hidden = Tensor((0..<12).map { Float($0) * 0.1 - 0.5 }, [3, 4])
    private let targets = Tensor([1, 0, 4] as [Int32], [3])

    private func loss(_ x: Tensor, _ weight: Tensor) -> Tensor { linearCrossEntropy(x, weight: weight, targets: targets).loss }

    @Test("a loss within a recomputed part gives the weight's gradient once, whatever is made of the loss", arguments: [1, 3] as [Float])
    func recomputedLoss(factor: Float) {
        func gradient(_ body: (Tape, Tensor, Parameter) -> Tensor) -> [Float] {
            let (_, weight) = oneWeight(5, 4)
            let tape = Tape()
            tape.backward(from: body(tape, tape.variable(hidden), weight) * factor)
            return weight.gradient.array
        }
        let plain = gradient { tape, x, weight in loss(x, tape.parameter(weight)) }
        let again = gradient { tape, x, weight in recomputed([x], on: tape) { inputs, tape in loss(inputs[0], tape.parameter(weight)) } }
        #expect(again == plain)
        #expect(plain.contains { $0 != 0 })
    }

    @Test("a loss that is only computed trains nothing")
    func unusedLoss() {
        let (store, weight) = oneWeight(5, 4)
        let tape = Tape()
        let x = tape.variable(hidden)
        let logged = loss(x, tape.parameter(weight))
        tape.backward(from: x.sum())
        store.zeroMissingGradients()
        #expect(logged.scalar > 0)
        #expect(weight.gradient.array == [Float](repeating: 0, count: 20))
    }

    @Test("a loss before an error leaves no gradient behind")
    func abandonedLoss() {
        let (_, weight) = oneWeight(5, 4)
        do {
            let tape = Tape()
            _ = loss(tape.variable(hidden), tape.parameter(weight))
        }
        let tape = Tape()
        tape.backward(from: tape.parameter(weight).sum())
        #expect(weight.gradient.array == [Float](repeating: 1, count: 20))
    }

    @Test("a parameter that is used without reaching the loss is reported with a gradient of zero, not with the last step's")
    func completeMeansDefined() {
        let store = ParameterStore()
        let (first, second) = (store.add("first", [2, 2], .ones), store.add("second", [2, 2], .ones))
        store.allocate(seed: 1)
        let x = Tensor([1, 2] as [Float], [1, 2])
        var reported: [String: [Float]] = [:]
        for usesSecond in [true, false] {
            store.clearGradients()
            let tape = Tape()
            let (a, b) = (linear(x, weight: tape.parameter(first)), linear(x, weight: tape.parameter(second)))
            tape.onProgress = { if let parameter = $0 { reported[parameter.name] = parameter.gradient.array } }
            tape.backward(from: usesSecond ? a.sum() + b.sum() : a.sum())
        }
        #expect(reported["first"] == [1, 2, 1, 2])
        #expect(reported["second"] == [0, 0, 0, 0])
    }

    @Test("an input that stands in two places of a recomputed part gathers both gradients")
    func sameInputTwice() {
        func gradient(_ recomputes: Bool) -> [Float]? {
            let tape = Tape()
            let x = tape.variable(Tensor([3] as [Float], [1]))
            let y = recomputes ? recomputed([x, x], on: tape) { inputs, _ in inputs[0] * inputs[1] } : x * x
            tape.backward(from: y + x)
            return x.node?.gradient?.array
        }
        #expect(gradient(true) == [7])
        #expect(gradient(true) == gradient(false))
    }

    @Test("two stores on one tape keep their gradients apart")
    func twoStores() {
        let (_, teacher) = oneWeight(2, 3)
        let (_, student) = oneWeight(4, 2)
        let tape = Tape()
        let x = tape.variable(Tensor([1, 2, 3] as [Float], [1, 3]))
        tape.backward(from: linear(linear(x, weight: tape.parameter(teacher)), weight: tape.parameter(student)).sum())
        let middle = linear(x.stopGradient(), weight: teacher.value).array
        #expect(student.gradient.array == (0..<4).flatMap { _ in middle })
        let columns = (0..<2).map { column in (0..<4).reduce(0) { $0 + student.value.array[$1 * 2 + column] } }
        #expect(zip(teacher.gradient.array, columns.flatMap { [$0, 2 * $0, 3 * $0] }).allSatisfy { abs($0 - $1) < 1e-5 })
    }

    @Test("a tape that has run backwards is an error, for its values as for a second run")
    func usedTape() async {
        await #expect(processExitsWith: .failure) {
            let tape = Tape()
            let y = tape.variable(Tensor([3] as [Float], [1])) * 2
            tape.backward(from: y.sum())
            _ = y * 3
        }
        await #expect(processExitsWith: .failure) {
            let tape = Tape()
            let y = tape.variable(Tensor([3] as [Float], [1])) * 2
            let (first, second) = (y.sum(), (y * y).sum())
            tape.backward(from: first)
            tape.backward(from: second)
        }
    }
}
