// What a format means: how its files are found and read, what is cleaned, and what is generated and scored where a model learns it.

import Diagnostics
import Inputs

/// Which end of a text is kept when it is too long.
public enum TruncatedSide: String, Sendable, CaseIterable, Codable {
    /// The end is cut off: right for articles, whose beginning says most.
    case end
    /// The beginning is cut off: right for stories, whose question comes last.
    case beginning
}

/// How generated targets are scored.
public enum TargetScoring: Sendable {
    /// BLEU and chrF.
    case translation
    /// ROUGE, beside that of the source's first three sentences.
    case summary
    /// Accuracy by label.
    case answer
}

/// How targets are generated unless the user says otherwise.
public struct GenerationDefaults: Sendable, Equatable {
    /// The most new tokens of a target.
    public enum Limit: Sendable, Equatable {
        /// So many.
        case tokens(Int)
        /// So many more than the source has.
        case beyondSource(Int)
        /// As many as the corpus's longest target takes, and so many at least.
        case longestTarget(atLeast: Int)
    }

    /// Hypotheses of beam search; 1 is greedy.
    public var beamSize: Int
    /// The most new tokens.
    public var limit: Limit
    /// Tokens that a decoder-only model keeps free for the target when its source is long.
    public var room: Int

    /// The room is that of the limit where it is a number, else 64 tokens.
    public init(beamSize: Int = 4, limit: Limit, room: Int? = nil) {
        self.beamSize = beamSize
        self.limit = limit
        switch limit {
        case .tokens(let count), .longestTarget(atLeast: let count): self.room = room ?? count
        case .beyondSource: self.room = room ?? 64
        }
    }
}

/// Everything that differs between formats, in one value a format. A new format is a case of `CorpusFormat`, a profile, and a reader.
public struct CorpusProfile: Sendable {
    /// The files behind the inputs of a command, in the order of reading.
    let list: @Sendable (_ inputs: [String], _ options: ReaderOptions) throws -> [CorpusInput]
    /// A reader of such files.
    let makeReader: @Sendable (_ files: [String], _ options: ReaderOptions) throws -> any CorpusReader
    /// The options that the reader takes.
    public let readerOptions: [ReaderOption]
    /// Which records are left out unless the user says otherwise.
    public let cleaning: CleaningRules
    /// Which end of a long source is cut off, in training as in use.
    public let truncatedSide: TruncatedSide
    /// How targets are scored.
    public let scoring: TargetScoring
    /// How targets are generated.
    public let generation: GenerationDefaults

    init(
        readerOptions: [ReaderOption] = [], cleaning: CleaningRules = CleaningRules(), truncatedSide: TruncatedSide = .end,
        scoring: TargetScoring = .translation, generation: GenerationDefaults = GenerationDefaults(limit: .beyondSource(50)),
        list: @escaping @Sendable ([String], ReaderOptions) throws -> [CorpusInput],
        makeReader: @escaping @Sendable ([String], ReaderOptions) throws -> any CorpusReader
    ) {
        self.list = list
        self.makeReader = makeReader
        self.readerOptions = readerOptions
        self.cleaning = cleaning
        self.truncatedSide = truncatedSide
        self.scoring = scoring
        self.generation = generation
    }
}
