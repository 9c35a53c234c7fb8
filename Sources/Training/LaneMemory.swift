// What lanes remember between batches, for the lanes of one rank.
//
// Legend: L lanes of the run, K of them owned here, B of a micro-batch.

import Checkpoints
import Models
import NeuralNetworks
import Tensors

/// The memory of lifetime `lane` of the lanes that a rank owns: given to each micro-batch, kept from it, saved and restored.
final class LaneMemory {
    /// One declaration with its values.
    private struct Bank {
        let declaration: MemoryDeclaration
        /// [K, shape...], by ascending lane.
        let values: Tensor
    }

    private let laneCount: Int
    /// The owned lanes, ascending.
    private let lanes: [Int]
    private let rows: [Int: Int]
    private var banks: [Bank] = []

    /// - Parameters:
    ///   - model: whose declarations count. Its parameters are allocated.
    ///   - laneCount: L.
    ///   - owned: the lanes of this rank.
    init(_ model: any TrainableModel, laneCount: Int, owning owned: [Int]) {
        self.laneCount = laneCount
        lanes = owned.sorted()
        rows = Dictionary(uniqueKeysWithValues: lanes.enumerated().map { ($1, $0) })
        banks = model.memory.filter { $0.lifetime == .lane }.map { declaration in
            Bank(declaration: declaration, values: Tensor(zeros: Shape([lanes.count] + declaration.shape.array)))
        }
        for bank in banks { fillInitially(bank, model) }
    }

    /// Whether there is anything to carry.
    var isEmpty: Bool { banks.isEmpty }

    private func fillInitially(_ bank: Bank, _ model: any TrainableModel) {
        let values = bank.declaration.initial.values(bank.declaration.shape, model.store)
        for row in lanes.indices { (bank.values.floats + row * values.count).update(from: values, count: values.count) }
    }

    /// What some lanes remember; `nil` when the model carries nothing.
    func carried(_ lanes: [Int]) -> CarriedMemory? {
        guard !isEmpty else { return nil }
        var before: [String: Tensor] = [:]
        for bank in banks {
            let count = bank.declaration.shape.count
            let values = Tensor(uninitialized: Shape([lanes.count] + bank.declaration.shape.array))
            for (index, lane) in lanes.enumerated() {
                (values.floats + index * count).update(from: bank.values.floats + row(of: lane) * count, count: count)
            }
            before[bank.declaration.name] = values
        }
        return CarriedMemory(before)
    }

    /// Keeps what a batch of the same lanes has left.
    func keep(_ carried: CarriedMemory?, _ lanes: [Int]) {
        guard let carried else { return }
        for bank in banks {
            guard let values = carried.after[bank.declaration.name] else { preconditionFailure("the model kept no \(bank.declaration.name)") }
            let count = bank.declaration.shape.count
            precondition(
                values.count == lanes.count * count,
                "\(bank.declaration.name): \(values.shape) for \(lanes.count) lanes of \(bank.declaration.shape)")
            for (index, lane) in lanes.enumerated() {
                (bank.values.floats + row(of: lane) * count).update(from: values.floats + index * count, count: count)
            }
        }
    }

    private func row(of lane: Int) -> Int {
        guard let row = rows[lane] else { preconditionFailure("lane \(lane) is not owned here") }
        return row
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

    /// The owned lanes' memory, as [L, shape...] over all ranks. Borrows the values.
    var items: [CheckpointItem] {
        banks.map { bank in
            let values = UnsafeBufferPointer(start: bank.values.floats, count: bank.values.count)
            return CheckpointItem(name(bank), .float32, shape: shape(bank), placement: .rows(ranges), bytes: UnsafeRawBufferPointer(values))
        }
    }

    /// Reads the owned lanes from a checkpoint of any world size.
    func restore(_ reader: CheckpointReader) throws {
        for bank in banks {
            let count = bank.declaration.shape.count
            var row = 0
            for range in ranges {
                let values = UnsafeMutableBufferPointer(start: bank.values.floats + row * count, count: range.count * count)
                try reader.read(name(bank), .float32, shape: shape(bank), rows: range, into: UnsafeMutableRawBufferPointer(values))
                row += range.count
            }
        }
    }
}
