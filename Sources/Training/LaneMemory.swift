// What lanes remember between batches, for the lanes of one rank.
//
// Legend: L lanes of the run, K of them owned here, B of a micro-batch.

import Checkpoints
import Diagnostics
import Models
import NeuralNetworks
import Tensors

/// The memory of lifetime `lane` of the lanes that a rank owns: given to each micro-batch, kept from it, saved and restored. What a micro-batch leaves
/// is what it is given the next time: nothing is copied but into checkpoints and out of them.
final class LaneMemory: RunState {
    let stateName = "memory"

    /// One declaration with its values.
    private struct Bank {
        let declaration: MemoryDeclaration
        /// Of each micro-batch, [B, shape...].
        var values: [Tensor]
    }

    private let laneCount: Int
    /// The lanes of each micro-batch.
    private let microBatches: [[Int]]
    /// The owned lanes, ascending.
    private let lanes: [Int]
    private var banks: [Bank] = []

    /// - Parameters:
    ///   - model: whose declarations count. Its parameters are allocated.
    ///   - laneCount: L.
    ///   - microBatches: the lanes of each micro-batch of this rank.
    init(_ model: any TrainableModel, laneCount: Int, microBatches: [[Int]]) {
        (self.laneCount, self.microBatches) = (laneCount, microBatches)
        lanes = microBatches.flatMap { $0 }.sorted()
        banks = model.memory.filter { $0.lifetime == .lane }.map { declaration in
            let initial = Tensor(declaration.initial.values(declaration.shape, model.store), declaration.shape)
            return Bank(
                declaration: declaration,
                values: microBatches.map { lanes in
                    let values = Tensor(uninitialized: Self.shape(lanes.count, declaration))
                    for row in lanes.indices { (values.floats + row * initial.count).update(from: initial.floats, count: initial.count) }
                    return values
                })
        }
    }

    /// Bytes that a lane remembers between batches.
    static func bytesPerLane(of model: any TrainableModel) -> Int {
        model.memory.filter { $0.lifetime == .lane }.reduce(0) { $0 + 4 * $1.shape.count }
    }

    private static func shape(_ lanes: Int, _ declaration: MemoryDeclaration) -> Shape { Shape([lanes] + declaration.shape.array) }

    /// Whether there is anything to carry.
    var isEmpty: Bool { banks.isEmpty }

    /// What the lanes of a micro-batch remember; `nil` when the model carries nothing.
    func carried(_ microBatch: Int) -> CarriedMemory? {
        if isEmpty { return nil }
        return CarriedMemory(Dictionary(uniqueKeysWithValues: banks.map { ($0.declaration.name, $0.values[microBatch]) }))
    }

    /// Keeps what a micro-batch has left.
    func keep(_ carried: CarriedMemory?, _ microBatch: Int) {
        guard let after = carried?.after else { return }
        for index in banks.indices {
            let declaration = banks[index].declaration
            let expected = Self.shape(microBatches[microBatch].count, declaration)
            guard let values = after[declaration.name] else { preconditionFailure("the model kept no \(declaration.name)") }
            require(values.shape == expected, "\(declaration.name): \(values.shape) is not \(expected)")
            banks[index].values[microBatch] = values
        }
    }

    /// The number of the last micro-batch.
    var lastMicroBatch: Int { microBatches.count - 1 }

    /// What the lanes of the last micro-batch remember.
    var lastValues: [(MemoryDeclaration, Tensor)] { banks.map { ($0.declaration, $0.values[lastMicroBatch]) } }

    /// What all lanes remember now, to come back to. Costs nothing: micro-batches bring new tensors.
    var moment: [[Tensor]] { banks.map(\.values) }

    /// Goes back to a moment.
    func goBack(to moment: [[Tensor]]) {
        for index in banks.indices { banks[index].values = moment[index] }
    }

    // MARK: Checkpoints

    /// The name of a memory in checkpoints.
    static func itemName(_ declaration: MemoryDeclaration) -> String { "memory/\(declaration.name)" }

    private func name(_ bank: Bank) -> String { Self.itemName(bank.declaration) }
    private func shape(_ bank: Bank) -> [Int] { [laneCount] + bank.declaration.shape.array }

    /// Consecutive owned lanes.
    private var ranges: [Range<Int>] {
        lanes.reduce(into: []) { ranges, lane in
            if let last = ranges.last, last.upperBound == lane {
                ranges[ranges.count - 1] = last.lowerBound..<lane + 1
            } else {
                ranges.append(lane..<lane + 1)
            }
        }
    }

    /// The owned lanes' memory, as [L, shape...] over all ranks.
    var stateItems: [StateItem] {
        banks.map { bank in
            let count = bank.declaration.shape.count
            return StateItem(name(bank), .float32, shape: shape(bank), placement: .rows(ranges)) { [self] in
                var values = [Float](repeating: 0, count: lanes.count * count)
                values.withUnsafeMutableBufferPointer { values in
                    guard let base = values.baseAddress else { return }
                    forEachLane(of: bank.declaration) { lane, row, count in (base + row * count).update(from: lane, count: count) }
                }
                return values
            } restore: { [self] (values: [Float]) in
                values.withUnsafeBufferPointer { values in
                    guard let base = values.baseAddress else { return }
                    forEachLane(of: bank.declaration) { lane, row, count in lane.update(from: base + row * count, count: count) }
                }
            }
        }
    }

    /// Calls `body` with the values of each owned lane, its row among the owned lanes, and the number of values.
    private func forEachLane(of declaration: MemoryDeclaration, _ body: (UnsafeMutablePointer<Float>, _ row: Int, _ count: Int) -> Void) {
        guard let bank = banks.first(where: { $0.declaration.name == declaration.name }) else { return }
        let (rows, count) = (Dictionary(uniqueKeysWithValues: lanes.enumerated().map { ($1, $0) }), bank.declaration.shape.count)
        for (values, lanes) in zip(bank.values, microBatches) {
            for (index, lane) in lanes.enumerated() { body(values.floats + index * count, rows[lane, default: 0], count) }
        }
    }
}
