// A trained run, opened for evaluation and use.

import Checkpoints
import Collectives
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Models
import NeuralNetworks
import Sharding
import Storage
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

    /// Loads a run. Collective: all ranks take the checkpoint that rank 0 chooses, also beside a session that trains.
    ///
    /// - Parameters:
    ///   - directory: a run directory.
    ///   - step: a certain checkpoint instead of the newest.
    /// - Throws: on every rank the same `UserError`: no checkpoint (.missingInput), none that is whole (.badData), files that are not the run's
    ///   (.configuration).
    public init(directory: String, step: Int? = nil, communicator: any Communicator = SingleProcess()) throws {
        self.directory = directory
        let checkpoints = CheckpointStore(directory: directory)
        let chosen = try Self.choose(checkpoints, step: step, communicator)
        // The model is made as the checkpoint says, and the checkpoint says it before it is read.
        let loaded = try communicator.onEveryRank {
            let reader = try CheckpointReader(directory: checkpoints.directory(step: chosen))
            defer { try? reader.close() }
            guard case .string(let yaml) = reader.attributes["configuration"] else {
                throw UserError(.badData, "lacks the attributes of a training run", at: reader.directory)
            }
            let configuration = try RunConfiguration(yaml: yaml, file: "\(reader.directory)/checkpoint.h5")
            let task = try configuration.task.makeTask(configuration, savedIn: directory)
            task.model.store.allocate(seed: nil, gradients: false, activations: configuration.precision.activations)
            return (configuration, task)
        }
        configuration = loaded.0
        let task = loaded.1
        self.task = task
        let memorized = MemorizedPairs(for: task.model)
        let states: [any RunState] = [ParameterState(store: task.model.store)] + [memorized].compactMap { $0 }
        let restored = try RunStateRegistry(states).restoreNewest(
            from: checkpoints, step: step, communicator: communicator
        ) { try $0.check(task) }
        guard let restored else { throw Self.noCheckpoint(directory) }
        self.step = restored.step
        passedOver = restored.passedOver
    }

    /// The step of a checkpoint whose configuration can be read: the newest on rank 0, or the one asked for. Collective.
    private static func choose(_ store: CheckpointStore, step: Int?, _ communicator: any Communicator) throws -> Int {
        let chosen = try communicator.onEveryRank { () -> Int in
            guard communicator.rank == 0 else { return 0 }
            try requireDirectory(store.directory)
            let steps = try store.steps()
            if steps.isEmpty { throw noCheckpoint(store.directory) }
            if let step {
                guard steps.contains(step) else {
                    throw UserError(
                        .missingInput, "holds no checkpoint of step \(step)", at: store.directory,
                        advice: "choose one of \(steps.map(String.init).joined(separator: ", "))")
                }
                return step
            }
            var reason = ""
            for step in steps.reversed() {
                do {
                    try CheckpointReader(directory: store.directory(step: step)).close()
                    return step
                } catch let error as UserError where error.exitCode == .badData || error.exitCode == .missingInput {
                    if reason.isEmpty { reason = error.description }
                }
            }
            throw UserError(.badData, "no checkpoint verifies: \(reason)", at: store.directory, advice: "restore a good copy")
        }
        return try communicator.allReduced(chosen, .maximum)
    }

    private static func noCheckpoint(_ directory: String) -> UserError {
        UserError(.missingInput, "holds no checkpoint", at: directory, advice: "name the directory of a run that has saved one")
    }

    /// Makes sure that a path is a directory's.
    /// - Throws: `UserError` (.missingInput).
    static func requireDirectory(_ path: String) throws {
        let entry = Directory.exists(path)
        guard entry == .directory else {
            throw UserError(
                .missingInput, entry != nil ? "is a file, not a run directory" : "no such directory", at: path,
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
        guard let task = task as? any GeneratingTask else {
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
    private let cleaning: CleaningRules?
    private let length: Int

    init(_ task: any GeneratingTask, _ configuration: RunConfiguration) {
        model = task.languageModel
        tokenizer = task.tokenizer
        cleaning = task.cleaning
        length = configuration.batch.length
    }

    /// What generates with this model.
    public var generator: Generator { Generator(model: model, endToken: tokenizer.endID, startToken: tokenizer.beginningID) }

    /// How the sources of a format become prompts.
    /// - Parameter request: whose `maximumTokens` a decoder-only model keeps free for its answer.
    public func promptFormat(_ profile: CorpusProfile, _ request: GenerationRequest) -> PromptFormat {
        PromptFormat(
            model: model, tokenizer: tokenizer, length: length, room: request.maximumTokens ?? profile.generation.room,
            truncatedSide: profile.truncatedSide)
    }

    /// A text as preparation would have made it: with its white space normalised where that of the training corpus was.
    /// - Parameters:
    ///   - profile: whose rules hold for a run that does not say by which ones its corpus was cleaned.
    ///   - isSource: of a pair; one of nothing but white space is empty then.
    public func cleaned(_ text: String, _ profile: CorpusProfile, isSource: Bool = true) -> String {
        var rules = cleaning ?? profile.cleaning
        if cleaning == nil { rules.whiteSpace = .ascii }
        let bytes = rules.cleaned(Array(text.utf8))
        return isSource && rules.isBlank(bytes) ? "" : String(decoding: bytes, as: UTF8.self)
    }

    /// Makes sure that a corpus was made with the run's tokenizer.
    /// - Throws: `UserError` (.configuration).
    public func requireFit(_ corpus: Corpus) throws {
        guard corpus.tokenizerFingerprint == tokenizer.fingerprint else {
            throw UserError(
                .configuration, "its vocabulary is not the run's: the tokenizers differ", at: corpus.directory,
                advice: "shard it with the tokenizer.model of the run directory")
        }
        try corpus.requireDescription(of: tokenizer)
    }
}
