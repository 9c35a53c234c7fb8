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
    /// WikiMovies: a list of names, for those that hold commas and are no film's.
    public var entities: String?
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
        source = try section.choice("source", "What the facts and questions look like.")
        if source == .generated {
            (data, questions, kinds, validation, test, split) = ("", "", nil, nil, nil, [])
            films = try section.int("films", "How many films are made up.", default: 1000, in: 10...1_000_000)
            heldOut = try section.double(
                "heldOut", "The share of pairs of a film and a relation that evaluation alone asks about.", default: 0.2, in: 0.001...0.9)
        } else {
            data = try section.path("data", "The directory or the file of facts.", onResume: .noted)
            if source == .wikimovies {
                entities = try section.optionalPath(
                    "entities", "A list of names, one a line, some of which hold commas: commas divide the lists of facts and answers elsewhere.",
                    defaultText: "the films of task.data", onResume: .noted)
            }
            let meaning = "The training questions; those of validation and test too, where these have no files of their own."
            if source == .metaqa {
                questions =
                    try section.optionalPath("questions", meaning, defaultText: "1-hop/dev.txt in task.data") ?? "\(data)/1-hop/dev.txt"
            } else {
                questions = try section.path("questions", meaning)
            }
            kinds = try section.optionalPath("kinds", "The file that says the kind of each question, line by line.", onResume: .noted)
            validation = try section.optionalPath("validation", "The validation questions.", defaultText: "a part of task.questions")
            test = try section.optionalPath("test", "The test questions.", defaultText: "a part of task.questions")
            split = try section.doubles(
                "split", "The shares of training, validation and test, of the entities asked about.", default: [0.8, 0.1, 0.1], count: 3,
                in: 0.0...1.0)
            guard split[0] > 0, abs(split.reduce(0, +) - 1) < 1e-6 else {
                throw section.error("split", "is \(split), which does not add up to 1", advice: "give the shares of training, validation and test")
            }
            (films, heldOut) = (0, 0)
        }
        seed = try section.optionalInt(
            "seed", "What the division of questions, and facts that are made up, are a function of.", defaultText: "the run's seed", in: 0...Int.max
        ).map(UInt64.init)
        rules = MemoryRules(
            layout: try section.choice("layout", "What a key and a value of the memory are made of.", default: .triple),
            window: try section.int("window", "Symbols of a window, its centre included.", default: 7, in: 1...65_536),
            encodesCentre: try section.bool(
                "encodeCentre", "The centre of a window and the value behind it have symbols of their own.", default: false),
            weighting: try section.choice(
                "weighting", "How the symbols of keys, values and questions are weighted.", default: .inverseFrequency))
        guard !rules.encodesCentre || rules.layout == .window || rules.layout == .windowAndTitle else {
            throw section.error("encodeCentre", "goes with the layouts window and window-and-title, not with \(rules.layout.rawValue)")
        }
        frequencyLimit = try section.int("frequencyLimit", "Symbols in so many keys, or more, find nothing.", default: 1000, in: 1...)
        memorySize = try section.int("memorySize", "The most entries that are read for one question.", default: 1000, in: 1...)
        let word = try section.choice(
            "candidates", "Which entities may be answered.", default: "entities", of: ["entities", "sampled", "memory"])
        candidates =
            word == "memory" ? .memory
            : word == "entities" ? .entities
            : .sampled(try section.int("negatives", "How many wrong entities are drawn for each question.", default: 1000, in: 1...16_777_216))
        let names = try section.choice(
            "case", "Whether names that differ in case alone are one.", default: "exact", of: ["exact", "folded"])
        foldsCase = names == "folded"
        spareSymbols = try section.int("spareSymbols", "Places for entities that are put into the memory later.", default: 256, in: 0...16_777_216)
        skipLimit = try section.int(
            "skipLimit", "The most wrong lines of a file that are passed over.", default: 100, in: 0..., onResume: .free)
        _ = try model.choice("kind", modelKindMeaning, of: [Self.modelName])
        self.model = try KeyValueMemoryConfiguration(model)
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        try KnowledgeTask(configuration, self, savedIn: directory)
    }
}
