// Cores with a memory inside a sequence model: every kind learns, in both precisions.

import Foundation
import Memory
import Models
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Sequence models with a memory")
struct MemoryCoreTests {
    /// Every kind with a small memory, its controller of 16 units.
    private static func cores(_ kind: ControllerConfiguration.Kind) -> [any SequenceCoreConfiguration] {
        let controller = ControllerConfiguration(kind, width: 16)
        let machine = changed(NeuralTuringMachineConfiguration()) { ($0.rows, $0.width, $0.controller) = (12, 6, controller) }
        let computer = DifferentiableNeuralComputerConfiguration(rows: 12, width: 6, readHeads: 2, controller: controller)
        return [machine, computer, EraseAddConfiguration(rows: 12, width: 6, units: 16)]
    }

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

    private func makeModel(_ core: any SequenceCoreConfiguration, _ type: DataType) -> SequenceModel {
        let model = SequenceModel(SequenceModelConfiguration(core: core), SequenceModelForm(input: .vectors(3), output: .bits(2)))
        model.store.allocate(seed: 3, activations: type)
        return model
    }

    @Test("bfloat16 activations give the loss and the gradients of float32 but for rounding", arguments: cores(.lstm))
    func precisions(_ core: any SequenceCoreConfiguration) {
        let (whole, half) = (makeModel(core, .float32), makeModel(core, .bfloat16))
        let losses = [whole, half].map { model in
            let tape = Tape()
            model.store.clearGradients()
            let loss = model.loss(batch(5), ForwardPass(tape: tape))
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

    /// The mean loss of a bit for the best network without a memory: where it answers it reads zeros, so that its answers are always the same.
    private func memorylessLoss(_ batch: SequenceBatch) -> Double {
        guard case .bits(let bits) = batch.targets else { return 0 }
        let losses = (0..<2).map { channel in
            let ones = batch.answeredRows.reduce(0.0) { $0 + Double(bits.floats[$1 * 2 + channel]) } / Double(batch.answeredRows.count)
            return -(ones * log(ones) + (1 - ones) * log(1 - ones))
        }
        return (losses[0] + losses[1]) / 2
    }

    /// Cuts off what is read: the columns of the controller and of the output layer that take it become zero.
    private func cutReads(_ model: SequenceModel, units: Int) throws {
        let reads = model.core.outputWidth - units
        let (controller, output) = (try #require(model.store["core.controller.0.recurrentWeight"]), try #require(model.store["output.weight"]))
        for index in 0..<controller.shape.count where index % controller.shape.columns < reads { controller.value.floats[index] = 0 }
        for index in 0..<output.shape.count where index % output.shape.columns >= units { output.value.floats[index] = 0 }
    }

    @Test("what is learned comes out of the memory: a memory that does nothing would fail", arguments: cores(.feedForward))
    func learns(_ core: any SequenceCoreConfiguration) throws {
        let (model, batch) = (makeModel(core, .float32), batch(8))
        func loss(_ tape: Tape? = nil) -> SummedLoss { model.loss(batch, ForwardPass(tape: tape)) }
        for step in 0..<400 {
            let tape = Tape()
            model.store.clearGradients()
            tape.backward(from: loss(tape).loss)
            model.store.zeroMissingGradients()
            let norm = model.store.gradients.reduce(0) { $0 + $1 * $1 }.squareRoot()
            let length: Float = step < 300 ? 0.1 : 0.03
            for index in model.store.values.indices { model.store.values[index] -= length / norm * model.store.gradients[index] }
        }
        let learned = loss().negativeLogLikelihood / Double(loss().count)
        try cutReads(model, units: core.units)
        let withoutReads = loss().negativeLogLikelihood / Double(loss().count)
        let bound = memorylessLoss(batch)
        print("\(core.kind): \(learned) nats a bit, without reads \(withoutReads), without a memory \(bound) at best")
        #expect(learned < 0.9 * bound, "no better than a network without a memory")
        #expect(withoutReads > 1.3 * learned, "what is read does not matter")
    }

    @Test("what is declared is what the state holds, and its names are unique", arguments: cores(.lstm))
    func declarations(_ core: any SequenceCoreConfiguration) {
        let model = makeModel(core, .float32)
        let state = model.core(Tensor(zeros: [3, 2, 3]), from: nil, ForwardPass()).state
        #expect(state.tensors.map(\.shape.array) == model.memory.map { [3] + $0.shape.array })
        #expect(Set(model.memory.map(\.name)).count == model.memory.count)
        #expect(model.memory.allSatisfy { $0.lifetime == .sequence })
    }
}
