// A trained run, opened for evaluation and use.

import Checkpoints
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Models
import NeuralNetworks
import Tensors

/// The model of a run directory's newest checkpoint that verifies, with the task and the configuration it was trained with.
public final class LoadedRun {
    /// The run directory.
    public let directory: String
    /// The resolved configuration that the checkpoint holds.
    public let configuration: RunConfiguration
    /// What was learned; its model has its parameters loaded, without gradient memory.
    public let task: any LearningTask
    /// The checkpoint's step.
    public let step: Int
    /// Checkpoints that were newer and did not verify, with the reason.
    public let passedOver: [String]

    /// - Parameters:
    ///   - directory: a run directory.
    ///   - step: a certain checkpoint instead of the newest.
    /// - Throws: `UserError`: no checkpoint (.missingInput), none that verifies (.badData), files that are not the run's (.configuration).
    public init(directory: String, step: Int? = nil) throws {
        self.directory = directory
        let store = CheckpointStore(directory: directory)
        try Self.requireDirectory(directory)
        guard try !store.steps().isEmpty else {
            throw UserError(.missingInput, "holds no checkpoint", at: directory, advice: "name the directory of a run that has saved one")
        }
        let reader: CheckpointReader
        if let step {
            guard try store.steps().contains(step) else {
                throw UserError(
                    .missingInput, "holds no checkpoint of step \(step)", at: directory,
                    advice: "choose one of \(try store.steps().map(String.init).joined(separator: ", "))")
            }
            reader = try CheckpointReader(directory: store.directory(step: step))
            try reader.verify()
            passedOver = []
        } else {
            let search = try store.newestVerified()
            passedOver = search.passedOver.map { "passing over \(store.directory(step: $0.step)): \($0.reason)" }
            guard let newest = search.reader else {
                throw UserError(
                    .badData, "no checkpoint verifies: \(search.passedOver.first?.reason ?? "unknown")", at: directory, advice: "restore a good copy")
            }
            reader = newest
        }
        defer { try? reader.close() }
        self.step = reader.step
        guard case .string(let yaml) = reader.attributes["configuration"] else {
            throw UserError(.badData, "lacks the attributes of a training run", at: reader.directory)
        }
        configuration = try RunConfiguration(yaml: yaml, file: "\(reader.directory)/checkpoint.h5")
        task = try configuration.task.makeTask(configuration, savedIn: directory)
        try reader.check(task)
        task.model.store.allocate(seed: configuration.seed, gradients: false, activations: configuration.precision.activations)
        try reader.readParameters(task.model.store)
        task.model.store.refreshOperands()
    }

    /// Makes sure that a path is a directory's.
    /// - Throws: `UserError` (.missingInput).
    static func requireDirectory(_ path: String) throws {
        var isDirectory: ObjCBool = false
        let exists = FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
        guard exists, isDirectory.boolValue else {
            throw UserError(
                .missingInput, exists ? "is a file, not a run directory" : "no such directory", at: path,
                advice: "name the directory of a run, such as checkpoints/NAME")
        }
    }

    /// What the lanes remembered in the checkpoint: [L, shape...], row-major.
    public func laneMemory(_ declaration: MemoryDeclaration) throws -> [Float] {
        let reader = try CheckpointReader(directory: CheckpointStore(directory: directory).directory(step: step))
        defer { try? reader.close() }
        return try reader.elements(LaneMemory.itemName(declaration), as: Float.self)
    }

    /// The run as a language model.
    /// - Throws: `UserError` (.usage) when it is something else.
    public func languageRun() throws -> LanguageRun {
        guard let task = task as? LanguageTask else {
            throw UserError(
                .usage, "its model, \(configuration.task.modelKind), generates no text", at: directory,
                advice: "use mneme evaluate, answer or memory show")
        }
        return LanguageRun(task, configuration)
    }
}

/// A trained language model or encoder-decoder, ready to generate.
public struct LanguageRun {
    /// The model, parameters loaded, without gradient memory.
    public let model: any LanguageModel
    /// The tokenizer of the training corpus.
    public let tokenizer: SentencePieceTokenizer
    private let length: Int

    init(_ task: LanguageTask, _ configuration: RunConfiguration) {
        model = task.languageModel
        tokenizer = task.tokenizer
        length = configuration.batch.length
    }

    /// What generates with this model.
    public var generator: Generator { Generator(model: model, endToken: tokenizer.endID, startToken: tokenizer.beginningID) }

    /// How sources become prompts.
    /// - Parameters:
    ///   - room: tokens kept free for the answer.
    ///   - keepsEnd: long sources lose their beginning instead of their end.
    public func promptFormat(room: Int, keepsEnd: Bool) -> PromptFormat {
        PromptFormat(model: model, tokenizer: tokenizer, length: length, room: room, keepsEnd: keepsEnd)
    }

    /// Makes sure that a corpus was made with the run's tokenizer.
    /// - Throws: `UserError` (.configuration).
    public func requireFit(_ corpus: Corpus) throws {
        guard corpus.tokenizerFingerprint == tokenizer.fingerprint else {
            throw UserError(
                .configuration, "its vocabulary is not the run's: the tokenizers differ", at: corpus.directory,
                advice: "shard it with the tokenizer.model of the run directory")
        }
    }
}
