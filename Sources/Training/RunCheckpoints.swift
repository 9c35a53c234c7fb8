// What a run saves and how it comes back: parameters, optimizer state, the loader's position and the counters.

import Checkpoints
import Collectives
import Corpora
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
}

/// The checkpoints of one run, written behind the training loop. All members are collective.
///
/// Random numbers need no state of their own: they are functions of seed, step and lane.
final class RunCheckpoints {
    private enum Phase { case idle, writing, publishing }

    private let configuration: RunConfiguration
    private let communicator: any Communicator
    private let corpus: Corpus
    private let writer: CheckpointWriter
    private let store: CheckpointStore
    private var phase = Phase.idle

    init(_ configuration: RunConfiguration, communicator: any Communicator, corpus: Corpus, fresh: Bool) throws {
        self.configuration = configuration
        self.communicator = communicator
        self.corpus = corpus
        writer = CheckpointWriter(
            directory: configuration.directory, rank: communicator.rank, worldSize: communicator.size, keep: configuration.checkpointKeep)
        store = CheckpointStore(directory: configuration.directory)
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            try writer.prepare()
            if fresh { try removeEarlierSessions() }
        }
    }

    /// Writes `run.yaml`, and the tokenizer that the corpus was made with. Rank 0 only.
    func writeConfiguration() throws {
        let directory = configuration.directory
        try Self.write(Array(configuration.resolvedYAML.utf8), to: "\(directory)/run.yaml")
        try Self.write(corpus.tokenizer().modelBytes, to: "\(directory)/tokenizer.model")
    }

    private static func write(_ bytes: [UInt8], to path: String) throws {
        do { try Data(bytes).write(to: URL(fileURLWithPath: path), options: .atomic) } catch {
            throw UserError(.inputOutput, "cannot be written: \(error.localizedDescription)", at: path)
        }
    }

    private func removeEarlierSessions() throws {
        let directory = configuration.directory
        var doomed = ["metrics.jsonl", "log.txt", "matrix-products.json"].map { "\(directory)/\($0)" }.filter { FileManager.default.fileExists(atPath: $0) }
        doomed += try store.steps().map { store.directory(step: $0) }
        for path in doomed {
            do { try FileManager.default.removeItem(atPath: path) } catch {
                throw UserError(.inputOutput, "cannot be removed: \(error.localizedDescription)", at: path)
            }
        }
    }

    // MARK: Restoring

    /// Reads the newest checkpoint that verifies.
    /// - Returns: its counters (`nil` when there is none), and a line for each checkpoint that was passed over.
    func restore(model: any LanguageModel, optimizer: any Optimizer, source: BatchSource) throws -> (state: CheckpointState?, passedOver: [String]) {
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
            try check(reader, model)
            for parameter in model.store.parameters {
                let bytes = UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: parameter.value.floats, count: parameter.shape.count))
                try reader.read("parameters/\(parameter.name)", .float32, shape: parameter.shape.array, into: bytes)
                for slot in optimizer.slots {
                    let values = UnsafeMutableBufferPointer(rebasing: slot.buffer[parameter.offset..<parameter.offset + parameter.shape.count])
                    try reader.read(
                        "optimizer/\(slot.name)/\(parameter.name)", .float32, shape: parameter.shape.array, into: UnsafeMutableRawBufferPointer(values))
                }
            }
            try source.restore(try reader.elements("loader/position", as: Int64.self))
            guard case .integer(let tokens) = reader.attributes["tokens"], case .real(let seconds) = reader.attributes["seconds"] else {
                throw UserError(.badData, "it has no attributes 'tokens' and 'seconds'", at: reader.directory)
            }
            return CheckpointState(step: reader.step, tokens: Int(tokens), seconds: seconds)
        }
        return (state, passedOver)
    }

    private func check(_ reader: CheckpointReader, _ model: any LanguageModel) throws {
        func text(_ name: String) -> String? { if case .string(let value) = reader.attributes[name] { value } else { nil } }
        guard text("tokenizer_fingerprint") == corpus.tokenizerFingerprint else {
            throw UserError(
                .configuration, "its vocabulary is not that of \(configuration.corpus.shards): the tokenizers differ", at: reader.directory,
                advice: "shard the corpus with \(configuration.directory)/tokenizer.model, or start again with --fresh")
        }
        try reader.requireFit(
            model.store.parameters.map { ("parameters/\($0.name)", $0.shape.array) }, under: "parameters/")
        guard text("corpus_fingerprint") == corpus.manifest.fingerprint else {
            throw UserError(
                .configuration, "it was trained on another corpus than \(configuration.corpus.shards)", at: reader.directory,
                advice: "name the corpus of the run in corpus.shards, or start again with --fresh")
        }
    }

    // MARK: Saving

    /// Copies the state into memory and starts writing it. Waits only when the checkpoint before is still under way.
    func begin(_ state: CheckpointState, model: any LanguageModel, optimizer: any Optimizer, source: BatchSource) throws {
        try finish()
        var items: [CheckpointItem] = []
        for parameter in model.store.parameters {
            let values = UnsafeBufferPointer(start: parameter.value.floats, count: parameter.shape.count)
            items.append(CheckpointItem("parameters/\(parameter.name)", .float32, shape: parameter.shape.array, bytes: UnsafeRawBufferPointer(values)))
        }
        for slot in optimizer.slots {
            for parameter in model.store.parameters {
                let values = UnsafeBufferPointer(rebasing: slot.buffer[parameter.offset..<parameter.offset + parameter.shape.count])
                items.append(
                    CheckpointItem(
                        "optimizer/\(slot.name)/\(parameter.name)", .float32, shape: parameter.shape.array, bytes: UnsafeRawBufferPointer(values)))
            }
        }
        items.append(CheckpointItem("loader/position", .int64, elements: try source.position(communicator)))
        writer.begin(
            step: state.step,
            attributes: [
                "tokens": .integer(Int64(state.tokens)), "seconds": .real(state.seconds), "configuration": .string(configuration.resolvedYAML),
                "seed": .integer(Int64(configuration.seed)), "model": .string(configuration.model.kind.rawValue),
                "vocabulary_size": .integer(Int64(corpus.vocabularySize)), "tokenizer_fingerprint": .string(corpus.tokenizerFingerprint),
                "corpus_fingerprint": .string(corpus.manifest.fingerprint), "mneme_version": .string(MnemeVersion.current),
            ], items: items)
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
