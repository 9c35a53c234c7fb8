// Cores with a memory inside a sequence model: every kind learns, in both precisions.

import Memory
import Models
import NeuralNetworks
import Tensors
import Testing

@Suite("Sequence models with a memory")
struct MemoryCoreTests {
    static let cores: [SequenceCoreConfiguration] = {
        var machine = NeuralTuringMachineConfiguration()
        (machine.rows, machine.width, machine.controller) = (12, 6, ControllerConfiguration(.lstm, width: 16))
        let computer = DifferentiableNeuralComputerConfiguration(
            rows: 12, width: 6, readHeads: 2, controller: ControllerConfiguration(.lstm, width: 16))
        return [.turingMachine(machine), .neuralComputer(computer), .eraseAdd(rows: 12, width: 6, units: 16)]
    }()

    /// Four vectors of two bits, a mark, and the vectors again.
    private func batch(_ lanes: Int) -> SequenceBatch {
        let (inputs, targets) = (Tensor(zeros: [lanes, 9, 3]), Tensor(zeros: [lanes, 9, 2]))
        var counts = [Bool](repeating: false, count: lanes * 9)
        for lane in 0..<lanes {
            var random = RandomStream(key: UInt64(lane))
            for step in 0..<4 {
                for bit in 0..<2 {
                    let value: Float = random.next() % 2 == 0 ? 0 : 1
                    inputs.floats[(lane * 9 + step) * 3 + bit] = value
                    targets.floats[(lane * 9 + 5 + step) * 2 + bit] = value
                }
                counts[lane * 9 + 5 + step] = true
            }
            inputs.floats[(lane * 9 + 4) * 3 + 2] = 1
        }
        return SequenceBatch(lanes: Array(0..<lanes), inputs: .vectors(inputs), targets: .bits(targets), counts: counts)
    }

    private func makeModel(_ core: SequenceCoreConfiguration, _ type: DataType) -> SequenceModel {
        let model = SequenceModel(SequenceModelConfiguration(core: core), SequenceModelForm(input: .vectors(3), output: .bits(2)))
        model.store.allocate(seed: 3, activations: type)
        return model
    }

    @Test("bfloat16 activations give the loss and the gradients of float32 but for rounding", arguments: cores)
    func precisions(_ core: SequenceCoreConfiguration) {
        let (whole, half) = (makeModel(core, .float32), makeModel(core, .bfloat16))
        let losses = [whole, half].map { model in
            let tape = Tape()
            model.store.clearGradients()
            let loss = model.loss(.sequences(batch(5)), ForwardPass(tape: tape))
            tape.backward(from: loss.loss)
            model.store.zeroMissingGradients()
            return loss.negativeLogLikelihood
        }
        #expect(abs(losses[1] / losses[0] - 1) < 0.01)
        for (exact, rounded) in zip(whole.store.parameters, half.store.parameters) {
            let norm = exact.gradient.array.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let difference = zip(exact.gradient.array, rounded.gradient.array).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
            #expect(difference <= 0.05 * norm + 1e-4, "\(exact.name): \(difference) of \(norm)")
        }
    }

    @Test("steps of one length down the gradient lower the loss", arguments: cores)
    func learns(_ core: SequenceCoreConfiguration) {
        let model = makeModel(core, .float32)
        var losses: [Double] = []
        for _ in 0..<100 {
            let tape = Tape()
            model.store.clearGradients()
            let loss = model.loss(.sequences(batch(8)), ForwardPass(tape: tape))
            tape.backward(from: loss.loss)
            losses.append(loss.negativeLogLikelihood / Double(loss.count))
            model.store.zeroMissingGradients()
            let norm = model.store.gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()
            for parameter in model.store.parameters {
                for index in 0..<parameter.shape.count { parameter.value.floats[index] -= 0.1 / norm * parameter.gradient.floats[index] }
            }
        }
        #expect(losses[99] < 0.9 * losses[0], "\(losses[0]) to \(losses[99])")
    }

    @Test("what is declared is what the state holds, and its names are unique", arguments: cores)
    func declarations(_ core: SequenceCoreConfiguration) {
        let model = makeModel(core, .float32)
        let state = model.core(Tensor(zeros: [3, 2, 3]), from: nil, ForwardPass()).state
        #expect(state.tensors.map(\.shape.array) == model.memory.map { [3] + $0.shape.array })
        #expect(Set(model.memory.map(\.name)).count == model.memory.count)
        #expect(model.memory.allSatisfy { $0.lifetime == .sequence })
    }
}
