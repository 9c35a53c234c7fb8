// What a run saves and how it comes back: parameters, optimizer state, the loader's position and the counters.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import Models
import Optimizers
import Tensors

/// The counters of a run at a step.
public struct CheckpointState: Sendable, Equatable {
    /// Optimizer steps done.
    public var step: Int
    /// Predicted tokens so far.
    public var tokens: Int
    /// Seconds of training so far, over all sessions.
    public var seconds: Double
    /// What a schedule of kind plateau knows; `nil` for the others.
    public var plateau: PlateauState?
}

/// The checkpoints of one run, written behind the training loop. All members are collective.
///
/// Random numbers need no state of their own: they are functions of seed, step and lane.
final class RunCheckpoints {
    private enum Phase { case idle, writing, publishing }

    private let configuration: RunConfiguration
    private let communicator: any Communicator
    private let task: any LearningTask
    private let writer: CheckpointWriter
    private let store: CheckpointStore
    private var phase = Phase.idle

    init(_ configuration: RunConfiguration, communicator: any Communicator, task: any LearningTask, fresh: Bool) throws {
        self.configuration = configuration
        self.communicator = communicator
        self.task = task
        writer = CheckpointWriter(
            directory: configuration.directory, rank: communicator.rank, worldSize: communicator.size, keep: configuration.checkpointKeep)
        store = CheckpointStore(directory: configuration.directory)
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            try writer.prepare()
            if fresh { try removeEarlierSessions() }
        }
    }

    /// Writes `run.yaml` and the files of the task. Rank 0 only.
    /// - Parameter resuming: the session goes on with a run: files that people change stay as they are.
    func writeConfiguration(resuming: Bool) throws {
        let directory = configuration.directory
        try Self.write(Array(configuration.resolvedYAML.utf8), to: "\(directory)/run.yaml")
        for file in task.files where !(resuming && file.isChangedByUsers && FileManager.default.fileExists(atPath: "\(directory)/\(file.name)")) {
            try Self.write(file.bytes, to: "\(directory)/\(file.name)")
        }
    }

    private static func write(_ bytes: [UInt8], to path: String) throws {
        do { try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw UserError(.inputOutput, "cannot be written: \(systemReason(of: error))", at: path)
        }
    }

    private func removeEarlierSessions() throws {
        let directory = configuration.directory
        var doomed = ["metrics.jsonl", "log.txt", "matrix-products.json"].map { "\(directory)/\($0)" }.filter {
            FileManager.default.fileExists(atPath: $0)
        }
        doomed += try store.steps().map { store.directory(step: $0) }
        for path in doomed {
            do { try FileManager.default.removeItem(atPath: path) } catch {
                throw UserError(.inputOutput, "cannot be removed: \(systemReason(of: error))", at: path)
            }
        }
    }

    // MARK: Restoring

    /// Reads the newest checkpoint that verifies.
    /// - Returns: its counters (`nil` when there is none), and lines for the user: checkpoints that were passed over, and how the configuration
    ///   has changed.
    func restore(optimizer: any Optimizer, loader: TaskLoader, memory: LaneMemory) throws -> (state: CheckpointState?, passedOver: [String]) {
        var passedOver: [String] = []
        let found = try communicator.onEveryRank { () -> Int in
            guard communicator.rank == 0 else { return -1 }
            let search = try store.newestVerified()
            defer { try? search.reader?.close() }
            passedOver = search.passedOver.map { "passing over \(store.directory(step: $0.step)): \($0.reason)" }
            if search.reader == nil, let newest = search.passedOver.first {
                throw UserError(
                    .badData, "no checkpoint verifies: \(newest.reason)", at: configuration.directory,
                    advice: "restore a good copy, or start again with --fresh")
            }
            return search.reader?.step ?? -1
        }
        let step = try communicator.allReduced(found, .maximum)
        guard step >= 0 else { return (nil, passedOver) }
        let state = try communicator.onEveryRank {
            let reader = try CheckpointReader(directory: store.directory(step: step))
            defer { try? reader.close() }
            passedOver += try ResumeComparison(reader, configuration).lines
            try reader.check(task)
            try reader.readParameters(task.model.store)
            for parameter in task.model.store.parameters {
                for slot in optimizer.slots {
                    let values = UnsafeMutableBufferPointer(rebasing: slot.buffer[parameter.offset..<parameter.offset + parameter.shape.count])
                    try reader.read(
                        "optimizer/\(slot.name)/\(parameter.name)", .float32, shape: parameter.shape.array,
                        into: UnsafeMutableRawBufferPointer(values))
                }
            }
            try loader.restore(try reader.elements("loader/position", as: Int64.self), from: reader.directory)
            try memory.restore(reader)
            guard case .integer(let tokens) = reader.attributes["tokens"], case .real(let seconds) = reader.attributes["seconds"] else {
                throw UserError(.badData, "it has no attributes 'tokens' and 'seconds'", at: reader.directory)
            }
            return CheckpointState(step: reader.step, tokens: Int(tokens), seconds: seconds, plateau: try plateau(reader))
        }
        return (state, passedOver)
    }

    /// What the schedule knew; anew where the run had another kind of schedule.
    private func plateau(_ reader: CheckpointReader) throws -> PlateauState? {
        guard configuration.schedule.kind == .plateau else { return nil }
        guard reader.item(Self.plateauItem) != nil else { return PlateauState() }
        guard let state = PlateauState(encoded: try reader.elements(Self.plateauItem, as: Double.self)) else {
            throw UserError(.badData, "'\(Self.plateauItem)' cannot be read", at: reader.directory, advice: "use an earlier checkpoint")
        }
        return state
    }

    private static let plateauItem = "schedule/plateau"

    // MARK: Saving

    /// Copies the state into memory and starts writing it. Waits only when the checkpoint before is still under way.
    func begin(_ state: CheckpointState, optimizer: any Optimizer, loader: TaskLoader, memory: LaneMemory) throws {
        try finish()
        let model = task.model
        var items: [CheckpointItem] = []
        for parameter in model.store.parameters {
            let values = UnsafeBufferPointer(start: parameter.value.floats, count: parameter.shape.count)
            items.append(
                CheckpointItem("parameters/\(parameter.name)", .float32, shape: parameter.shape.array, bytes: UnsafeRawBufferPointer(values)))
        }
        for slot in optimizer.slots {
            for parameter in model.store.parameters {
                let values = UnsafeBufferPointer(rebasing: slot.buffer[parameter.offset..<parameter.offset + parameter.shape.count])
                items.append(
                    CheckpointItem(
                        "optimizer/\(slot.name)/\(parameter.name)", .float32, shape: parameter.shape.array, bytes: UnsafeRawBufferPointer(values)))
            }
        }
        items.append(CheckpointItem("loader/position", .int64, elements: try loader.encodedPosition(communicator)))
        items += memory.items()
        if let plateau = state.plateau { items.append(CheckpointItem(Self.plateauItem, .float64, elements: plateau.encoded)) }
        var attributes: [String: CheckpointAttribute] = [
            "tokens": .integer(Int64(state.tokens)), "seconds": .real(state.seconds), "configuration": .string(configuration.resolvedYAML),
            "seed": .integer(Int64(configuration.seed)), "model": .string(configuration.task.modelKind),
            "mneme_version": .string(MnemeVersion.current)
        ]
        for (name, value) in task.identity { attributes[name] = .string(value) }
        attributes.merge(task.attributes) { mine, _ in mine }
        writer.begin(step: state.step, attributes: attributes, items: items)
        phase = .writing
    }

    /// Moves a checkpoint under way on, without waiting. Called at every step boundary; costs one small all-reduce while one is under way.
    func poll() throws {
        switch phase {
        case .idle: return
        case .writing:
            guard try communicator.allReduced(writer.isShardWritten ? 1 : 0, .minimum) == 1 else { return }
            try publish()
        case .publishing:
            let isDone = communicator.rank != 0 || writer.isPublished
            guard try communicator.allReduced(isDone ? 1 : 0, .minimum) == 1 else { return }
            try endPublication()
        }
    }

    /// Waits until the checkpoint under way, if any, is published.
    func finish() throws {
        if phase == .writing { try publish() }
        if phase == .publishing { try endPublication() }
    }

    private func publish() throws {
        do { try communicator.onEveryRank { try writer.waitForShard() } } catch {
            writer.abandon()
            phase = .idle
            throw error
        }
        if communicator.rank == 0 { writer.startPublishing() }
        phase = .publishing
    }

    private func endPublication() throws {
        phase = .idle
        try communicator.onEveryRank { if communicator.rank == 0 { try writer.waitForPublication() } }
    }
}

extension CheckpointReader {
    /// Makes sure that the checkpoint is of this task and of its model.
    /// - Throws: `UserError` (.configuration) that says how they differ.
    func check(_ task: any LearningTask) throws {
        for (name, value) in task.identity {
            guard case .string(value) = attributes[name] else { throw task.mismatch(of: name, at: directory) }
        }
        try requireFit(task.model.store.parameters.map { ("parameters/\($0.name)", $0.shape.array) }, under: "parameters/")
    }

    /// Reads the values of all parameters, which are allocated.
    func readParameters(_ store: ParameterStore) throws {
        for parameter in store.parameters {
            let values = UnsafeMutableBufferPointer(start: parameter.value.floats, count: parameter.shape.count)
            try read("parameters/\(parameter.name)", .float32, shape: parameter.shape.array, into: UnsafeMutableRawBufferPointer(values))
        }
    }
}
