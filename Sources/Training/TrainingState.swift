// What a training run saves, each part declared once: parameters, optimizer state, the loader's position, lane memory, counters, the schedule.

import Checkpoints
import Collectives
import Corpora
import Diagnostics
import Foundation
import Models
import Optimizers
import Tensors

/// The parameters of a model.
struct ParameterState: RunState {
    let store: ParameterStore
    let stateName = "parameters"

    var stateItems: [StateItem] {
        store.parameters.map { parameter in
            let values = UnsafeMutableBufferPointer(start: parameter.value.floats, count: parameter.shape.count)
            return StateItem(
                "parameters/\(parameter.name)", .float32, shape: parameter.shape.array, memory: UnsafeMutableRawBufferPointer(values))
        }
    }

    func wasRestored() { store.refreshOperands() }
}

/// What an optimizer keeps of each parameter.
struct OptimizerState: RunState {
    let optimizer: any Optimizer
    let store: ParameterStore
    let partition: ParameterPartition
    let stateName = "optimizer"

    var stateItems: [StateItem] {
        optimizer.slots.flatMap { slot in
            store.parameters.map { parameter in
                let (elements, rows) = partition.state(of: parameter)
                return StateItem(
                    "optimizer/\(slot.name)/\(parameter.name)", .float32, shape: parameter.shape.array,
                    placement: rows.map { .rows($0) } ?? .replicated,
                    memory: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(rebasing: slot.buffer[elements])))
            }
        }
    }
}

/// What rounding has left of each group's gradient, where it is added to the group's next one.
struct ResidualState: RunState {
    let residuals: GradientResiduals
    private let store: ParameterStore
    /// G.
    private let groupCount: Int
    /// The rank's groups, as places in the tree's order: another number of ranks cuts the same rows otherwise.
    private let places: Range<Int>
    let stateName = "residuals"

    /// `nil` where nothing is left over.
    init?(_ format: GradientFormat, store: ParameterStore, tree: ReproducibleTree?, rank: Int) {
        guard let tree, format.hasFeedback else { return nil }
        (self.store, groupCount, places) = (store, tree.groupCount, tree.places(ofRank: rank))
        residuals = GradientResiduals(groupCount: places.count, parameters: store.parameters.map { $0.offset..<$0.offset + $0.shape.count })
    }

    var stateItems: [StateItem] {
        store.parameters.map { parameter in
            StateItem(
                "residuals/\(parameter.name)", .float32, shape: [groupCount] + parameter.shape.array, placement: .rows([places]),
                memory: UnsafeMutableRawBufferPointer(residuals.memory(ofParameter: parameter.index)),
                // A run that sent whole gradients before has nothing left over.
                ifAbsent: {})
        }
    }
}

/// The parameters that a rank updates, where ranks share the updates out: not part of a run's state beside ``ParameterState``, but what is lost with a
/// rank that has not handed them on.
struct SharedParameters {
    let store: ParameterStore
    let partition: ParameterPartition

    /// The rows that this rank updates, under the names of ``ParameterState``; empty where every rank updates all.
    var items: [StateItem] {
        guard partition.isShared else { return [] }
        return store.parameters.map { parameter in
            let rows = partition.state(of: parameter).rows ?? []
            let width = parameter.shape.count / max(1, parameter.shape.array.first ?? 1)
            return StateItem(
                "parameters/\(parameter.name)", .float32, shape: parameter.shape.array, placement: .rows(rows),
                save: { rows.flatMap { Array(UnsafeBufferPointer(start: parameter.value.floats + $0.lowerBound * width, count: $0.count * width)) } },
                restore: { (_: [Float]) in })
        }
    }
}

/// Where the loader stands.
struct LoaderState: RunState {
    let loader: TaskLoader
    let communicator: any Communicator
    let stateName = "loader"
    static let itemName = "loader/position"

    var stateItems: [StateItem] {
        [
            StateItem(Self.itemName, .int64, save: { try loader.encodedPosition(communicator) }) { (numbers: [Int64]) in
                guard let position = LoaderPosition(encoded: numbers) else {
                    throw UserError(.badData, "the loader's position cannot be read", at: "loader/position", advice: "use an earlier checkpoint")
                }
                try loader.seek(to: position)
            }
        ]
    }
}

/// The counters of a run, and what a schedule of kind plateau knows.
final class CounterState: RunState {
    let stateName = "schedule"
    /// Predicted tokens so far.
    var tokens = 0
    /// Seconds of training so far, over all sessions, as of the last checkpoint or step.
    var seconds = 0.0
    /// `nil` for every other kind of schedule.
    var plateau: PlateauState?

    var stateItems: [StateItem] {
        guard plateau != nil else { return [] }
        // A run that had another kind of schedule before knows nothing yet.
        return [
            StateItem("schedule/plateau", .float64, shape: [4], ifAbsent: {}, save: { [self] in plateau?.encoded ?? [] }) { [self] (numbers: [Double]) in
                guard let state = PlateauState(encoded: numbers) else {
                    throw UserError(.badData, "'schedule/plateau' cannot be read", advice: "use an earlier checkpoint")
                }
                plateau = state
            }
        ]
    }

    var stateAttributes: [StateAttribute] {
        [
            StateAttribute("tokens", save: { [self] in .integer(Int64(tokens)) }) { [self] value in
                guard case .integer(let number) = value, number >= 0 else { return false }
                tokens = Int(number)
                return true
            },
            StateAttribute("seconds", save: { [self] in .real(seconds) }) { [self] value in
                guard case .real(let number) = value, number.isFinite else { return false }
                seconds = number
                return true
            },
        ]
    }
}

/// What checkpoints say about the run that they are of.
struct IdentityState: RunState {
    let configuration: RunConfiguration
    let task: any LearningTask
    let stateName = "identity"

    var stateAttributes: [StateAttribute] {
        var values: [(String, CheckpointAttribute)] = [
            ("configuration", .string(configuration.resolvedYAML)), ("seed", .integer(Int64(configuration.seed))),
            ("model", .string(configuration.task.modelKind)), ("mneme_version", .string(MnemeVersion.current)),
        ]
        values += task.identity.map { ($0.name, .string($0.value)) }
        values += task.attributes.map { ($0.key, $0.value) }
        return values.map { name, value in StateAttribute(name, value) }
    }
}

extension CheckpointReader {
    /// Makes sure that the checkpoint is one of this task.
    /// - Throws: `UserError` (.configuration) that says how they differ.
    func check(_ task: any LearningTask) throws {
        for (name, value) in task.identity {
            guard case .string(value) = attributes[name] else { throw task.mismatch(of: name, at: directory) }
        }
    }
}
