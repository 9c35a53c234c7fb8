// The sections `task` and `model` of a run that learns biographies.

import Configuration
import Corpora
import Diagnostics
import Models

/// The sections `task` (`kind: biographies`) and `model` (`kind: decoder-only`, or `lookup` for facts that are in a bank).
public struct BiographyTaskSettings: TaskSettings {
    /// N.
    public var people: Int
    /// What the people are a function of.
    public var seed: UInt64?
    /// People whose facts an evaluation during training asks for.
    public var examples: Int
    /// Whether a run that looks facts up keeps them in its bank.
    public var keepsBank = false
    /// The decoder, the same by heart and by lookup.
    public var transformer: TransformerConfiguration
    /// `nil` for a model that learns the facts by heart.
    public var lookup: LookupConfiguration?

    public var modelKind: String { lookup == nil ? ModelKind.decoderOnly.rawValue : Self.lookupName }
    static let lookupName = "lookup"

    /// Reads the sections but for `task.kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    init(_ section: ConfigurationSection, model: ConfigurationSection) throws {
        people = try section.int("people", "How many people are made up.", in: 1...Biographies.mostPeople / 2)
        seed = try section.optionalInt(
            "seed", "What the people are a function of.", defaultText: "the run's seed", in: 0...Int.max).map(UInt64.init)
        examples = try section.int(
            "examples", "People whose facts an evaluation during training asks for.", default: 1000, in: 1..., onResume: .free)
        let kind = try model.choice("kind", modelKindMeaning, of: [ModelKind.decoderOnly.rawValue, Self.lookupName])
        transformer = try TransformerConfiguration(.decoderOnly, model)
        guard transformer.memorizing == nil else {
            throw model.error("memorizing", "is for running text, and biographies are read one by one", advice: "leave it out")
        }
        guard transformer.context >= Biographies.length - 1 else {
            throw model.error("context", "is \(transformer.context), and biographies have \(Biographies.length - 1) positions")
        }
        if kind == Self.lookupName {
            lookup = try LookupConfiguration(model, width: transformer.width)
            keepsBank = try section.bool(
                "bank", "The run keeps the facts in its directory banks/facts, with new keys at each checkpoint. Otherwise mneme memory build makes the bank.",
                default: true, onResume: .noted)
        }
    }

    public func makeTask(_ configuration: RunConfiguration, savedIn directory: String?) throws -> any LearningTask {
        BiographyTask(configuration, self, savedIn: directory)
    }
}
