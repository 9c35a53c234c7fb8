// What a run file says about learning from a sharded corpus.

import Configuration
import Models

/// In which order a text corpus is read.
public enum TextOrder: String, Sendable, CaseIterable {
    /// Shuffled windows of `batch.length` tokens.
    case windows
    /// Documents one after the other, each lane its own stream: for models that remember across segments.
    case streams
}

/// The section `corpus`.
public struct CorpusSettings: Sendable {
    /// The corpus directory to train on.
    public var shards: String
    /// The corpus directory to evaluate on during training.
    public var validation: String?
    /// The order of a text corpus.
    public var order: TextOrder

    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection) throws {
        // Whether the data are the same is decided by their fingerprints: a corpus may move.
        shards = try section.string("shards", "The corpus directory to train on.", onResume: .noted)
        validation = try section.optionalString("validation", "The corpus directory that is evaluated during training.", onResume: .noted)
        order = try section.choice(
            "order", "Whether a text corpus is read in shuffled windows, or each lane reads documents one after the other.",
            default: TextOrder.windows)
    }
}

/// The sections `corpus` and `model` of a run over a sharded corpus.
public struct LanguageTaskSettings: TaskSettings {
    /// What is read.
    public var corpus: CorpusSettings
    /// What learns it.
    public var model: any ModelConfiguration

    public var modelKind: String { model.kind.rawValue }

    /// Reads the sections.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(corpus: ConfigurationSection, model: ConfigurationSection) throws {
        self.corpus = try CorpusSettings(corpus)
        self.model = try readModelConfiguration(model)
        if self.model.carriesMemory, self.corpus.order != .streams, !model.fillsIn {
            throw model.error(
                self.model.carryKey, "asks for corpus.order streams: shuffled windows do not continue each other",
                advice: "set corpus.order to streams")
        }
    }

    public func readLength(_ batch: ConfigurationSection) throws -> Int {
        let limit = model.maximumLength
        let length = try batch.int(
            "length", "Positions of a lane: the window of a text, the longest source and target of pairs.",
            default: min(limit ?? .max, 1024),
            defaultText: "1024, or model.context where that is less", in: SizeLimits.positions)
        if let limit, length > limit {
            throw batch.error("length", "is \(length), more than model.context, \(limit)", advice: "raise model.context or shorten the batch")
        }
        return length
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try LanguageTask(configuration, self, savedIn: directory)
    }
}
