// How a user wants text to be generated; what is not said follows from the format.

import Corpora
import Evaluation

/// Wishes about generation, each of which may be left open.
public struct GenerationRequest: Sendable, Equatable {
    /// Hypotheses of beam search; 1 is greedy.
    public var beamSize: Int?
    /// The exponent of beam search's length penalty; 0.6 unless given.
    public var lengthPenalty: Float?
    /// The most new tokens.
    public var maximumTokens: Int?
    /// Hypotheses decoded at the same time; 256 unless given.
    public var batchSize: Int?

    /// Wishes; the values are not checked.
    public init(beamSize: Int? = nil, lengthPenalty: Float? = nil, maximumTokens: Int? = nil, batchSize: Int? = nil) {
        self.beamSize = beamSize
        self.lengthPenalty = lengthPenalty
        self.maximumTokens = maximumTokens
        self.batchSize = batchSize
    }

    /// The settings for what a format holds.
    /// - Parameter longestTarget: of the corpus, in tokens; 0 where there is none.
    public func settings(for profile: CorpusProfile, longestTarget: Int = 0) -> GenerationSettings {
        let defaults = profile.generation
        let beamSize = beamSize ?? defaults.beamSize
        let limit: GenerationLimit =
            switch defaults.limit {
            case _ where maximumTokens != nil: .tokens(maximumTokens ?? 0)
            case .tokens(let count): .tokens(count)
            case .beyondSource(let count): .beyondPrompt(count)
            case .longestTarget(let least): .tokens(max(least, longestTarget + 1))
            }
        let search = BeamSearchSettings(beamSize: beamSize, lengthPenalty: lengthPenalty ?? 0.6)
        return GenerationSettings(
            method: beamSize == 1 ? .sampling(.greedy) : .beamSearch(search), limit: limit, batchSize: max(batchSize ?? 256, beamSize))
    }
}
