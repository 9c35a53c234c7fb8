// What a run file's section `task` says about questions over a knowledge base.

import Configuration
import Corpora
import Diagnostics
import Models

/// The section `task` of kind `knowledge`, with the section `model` of kind `key-value-memory-network`.
public struct KnowledgeTaskSettings: TaskSettings {
    /// Where facts and questions come from.
    public enum Source: String, Sendable, CaseIterable {
        /// A directory of triples of numbers with texts for the numbers, and a file of questions.
        case metaqa
        /// Numbered lines of facts, and a file of questions.
        case wikimovies
        /// `subject|relation|object` lines, and a file of questions.
        case lines
        /// Films and questions made from a seed.
        case generated
    }

    /// What the data look like.
    public var source: Source
    /// The directory or the file of facts; empty where they are generated.
    public var data: String
    /// The training questions; and, where `validation` and `test` are not given, those too, by `split`.
    public var questions: String
    /// The kind of each question, line by line.
    public var kinds: String?
    /// The validation questions; `nil` takes a part of `questions`.
    public var validation: String?
    /// The test questions; `nil` takes a part of `questions`.
    public var test: String?
    /// The shares of training, validation and test, of entities asked about.
    public var split: [Double]
    /// Generated: how many films.
    public var films: Int
    /// Generated: the share of (film, relation) pairs that are held out.
    public var heldOut: Double
    /// What split and generated facts are a function of.
    public var seed: UInt64?
    /// What makes entries out of facts.
    public var rules: MemoryRules
    /// Symbols in so many keys, or more, find nothing.
    public var frequencyLimit: Int
    /// The most entries of one question.
    public var memorySize: Int
    /// Which entities may be answered.
    public var candidates: CandidateRule
    /// Whether names that differ in case alone are one.
    public var foldsCase: Bool
    /// Places for entities that are put into the memory later.
    public var spareSymbols: Int
    /// The most wrong lines of a file that are passed over.
    public var skipLimit: Int
    public var model: KeyValueMemoryConfiguration

    public var modelKind: String { Self.modelName }
    static let modelName = "key-value-memory-network"

    /// Reads the sections.
    /// - Throws: `UserError` (.configuration).
    init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        source = try section.choice("source")
        if source == .generated {
            (data, questions, kinds, validation, test, split) = ("", "", nil, nil, nil, [])
            films = try section.int("films", default: 1000, in: 10...)
            heldOut = try section.double("heldOut", default: 0.2, in: 0.001...0.9)
        } else {
            data = try section.path("data")
            questions = try section.optionalPath("questions") ?? (source == .metaqa ? "\(data)/1-hop/dev.txt" : section.path("questions"))
            kinds = try section.optionalPath("kinds")
            validation = try section.optionalPath("validation")
            test = try section.optionalPath("test")
            split = try section.doubles("split", default: [0.8, 0.1, 0.1], count: 3, in: 0.0...1.0)
            guard split[0] > 0, abs(split.reduce(0, +) - 1) < 1e-6 else {
                throw section.error("split", "is \(split), which does not add up to 1", advice: "give the shares of training, validation and test")
            }
            (films, heldOut) = (0, 0)
        }
        seed = try section.optionalInt("seed", in: 0...).map(UInt64.init)
        rules = MemoryRules(
            layout: try section.choice("layout", default: .triple), window: try section.int("window", default: 7, in: 1...),
            encodesCentre: try section.bool("encodeCentre", default: false), weighting: try section.choice("weighting", default: .inverseFrequency))
        guard !rules.encodesCentre || rules.layout == .window || rules.layout == .windowAndTitle else {
            throw section.error("encodeCentre", "goes with the layouts window and window-and-title, not with \(rules.layout.rawValue)")
        }
        frequencyLimit = try section.int("frequencyLimit", default: 1000, in: 1...)
        memorySize = try section.int("memorySize", default: 1000, in: 1...)
        let word = try section.choice("candidates", default: "entities", of: ["entities", "sampled", "memory"])
        candidates = word == "memory" ? .memory : word == "entities" ? .entities : .sampled(try section.int("negatives", default: 1000, in: 1...))
        foldsCase = try section.choice("case", default: "exact", of: ["exact", "folded"]) == "folded"
        spareSymbols = try section.int("spareSymbols", default: 256, in: 0...)
        skipLimit = try section.int("skipLimit", default: 100, in: 0...)
        _ = try model.choice("kind", of: [Self.modelName])
        self.model = try KeyValueMemoryConfiguration(model)
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try KnowledgeTask(configuration, self, savedIn: directory)
    }
}
