// How to generate: sampling (greedy is sampling at temperature 0) or beam search, and how long.

import Diagnostics

/// How the next token is drawn from the model's logits.
///
/// The steps are applied in this order, as Hugging Face's `generate` does: repetition penalty, temperature, top-k, top-p, draw.
public struct SamplingSettings: Sendable, Equatable {
    /// Divides the logits; 0 takes the most probable token (of equals the one with the lowest number) and draws nothing.
    public var temperature: Float
    /// Keeps the k most probable tokens, and those equal to the k-th; `nil` keeps all (Fan et al. 2018).
    public var topK: Int?
    /// Keeps the fewest most probable tokens whose probabilities add up to at least p; `nil` keeps all (Holtzman et al. 2020).
    public var topP: Float?
    /// Divides the positive logits, and multiplies the negative ones, of tokens that the sequence holds already (Keskar et al. 2019); 1 changes
    /// nothing. What a decoder holds counts: prompt and new tokens for a decoder-only model, start symbol and target for an encoder-decoder.
    public var repetitionPenalty: Float
    /// What the random numbers are a function of, with the prompt's number and the sample's.
    public var seed: UInt64

    /// Samples of the model's own distribution. `GenerationSettings.validate` checks the values.
    public init(temperature: Float = 1, topK: Int? = nil, topP: Float? = nil, repetitionPenalty: Float = 1, seed: UInt64 = 0) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.repetitionPenalty = repetitionPenalty
        self.seed = seed
    }

    /// Always the most probable token.
    public static let greedy = SamplingSettings(temperature: 0)
}

/// Beam search as `BeamSearch` runs it.
public struct BeamSearchSettings: Sendable, Equatable {
    /// The hypotheses of a sentence that are kept at each step.
    public var beamSize: Int
    /// The exponent alpha of the length penalty ((5 + |y|) / 6)^alpha (Wu et al. 2016, equation 14); 0 compares plain sums.
    public var lengthPenalty: Float

    /// Vaswani et al. 2017: beam 4, alpha 0.6.
    public init(beamSize: Int = 4, lengthPenalty: Float = 0.6) {
        self.beamSize = beamSize
        self.lengthPenalty = lengthPenalty
    }
}

/// Which search.
public enum GenerationMethod: Sendable, Equatable {
    case sampling(SamplingSettings)
    case beamSearch(BeamSearchSettings)
}

/// The most tokens a generated sequence may have, its end symbol included.
public enum GenerationLimit: Sendable, Equatable {
    /// The same for all.
    case tokens(Int)
    /// So many more than the prompt (the source) has: 50 in Vaswani et al. 2017, section 6.1.
    case beyondPrompt(Int)

    func tokens(promptLength: Int) -> Int {
        switch self {
        case .tokens(let count): count
        case .beyondPrompt(let count): promptLength + count
        }
    }
}

/// Everything that decides what is generated.
public struct GenerationSettings: Sendable, Equatable {
    /// Sampling or beam search.
    public var method: GenerationMethod
    /// The length at which sequences are cut.
    public var limit: GenerationLimit
    /// Sequences for each prompt: independent samples, or the best of the beam (at most `beamSize`).
    public var sequences: Int
    /// The most sequences (samples, hypotheses) that are decoded at the same time.
    public var batchSize: Int
    /// The most positions that sequences decoded at the same time may come to, each as long as the batch's longest prompt and limit together. It
    /// bounds memory: decoding keeps 8 x layers x width bytes for a position. One prompt may exceed it.
    public var batchPositions: Int
    /// Sampling from a decoder-only model: a sequence that fills the model's context goes on, with the later half of the context as its prompt.
    /// Otherwise it is cut there.
    public var continuesBeyondContext: Bool

    /// The most probable sequence, token by token. `validate` checks the values.
    public init(
        method: GenerationMethod = .sampling(.greedy), limit: GenerationLimit, sequences: Int = 1, batchSize: Int = 256,
        batchPositions: Int = 32_768, continuesBeyondContext: Bool = false
    ) {
        self.method = method
        self.limit = limit
        self.sequences = sequences
        self.batchSize = batchSize
        self.batchPositions = batchPositions
        self.continuesBeyondContext = continuesBeyondContext
    }

    /// Beam search with beam 4 and alpha 0.6, cut 50 tokens beyond the source: the WMT recipe of Vaswani et al. 2017.
    public static let translation = GenerationSettings(method: .beamSearch(BeamSearchSettings()), limit: .beyondPrompt(50))

    /// Checks the values.
    ///
    /// - Throws: `UserError` (usage) that names the value which is out of range.
    public func validate() throws {
        func require(_ condition: Bool, _ what: String, _ advice: String) throws {
            if !condition { throw UserError(.usage, what, advice: advice) }
        }
        try require(sequences >= 1, "\(sequences) sequences for each prompt", "ask for at least 1")
        try require(batchSize >= 1, "a batch of \(batchSize) sequences", "use at least 1")
        try require(batchPositions >= 1, "a batch of \(batchPositions) positions", "use at least 1")
        switch limit {
        case .tokens(let count): try require(count >= 1, "a limit of \(count) tokens", "use at least 1")
        case .beyondPrompt(let count): try require(count >= 0, "a limit of \(count) tokens beyond the prompt", "use at least 0")
        }
        switch method {
        case .sampling(let sampling):
            let (temperature, penalty) = (sampling.temperature, sampling.repetitionPenalty)
            try require(temperature >= 0 && temperature.isFinite, "a temperature of \(temperature)", "use 0 (greedy) or more")
            try require(sampling.topK.map { $0 >= 1 } ?? true, "top-k of \(sampling.topK ?? 0)", "use 1 or more, or leave it out")
            try require(sampling.topP.map { $0 > 0 && $0 <= 1 } ?? true, "top-p of \(sampling.topP ?? 0)", "use a number above 0 and up to 1")
            try require(penalty > 0 && penalty.isFinite, "a repetition penalty of \(penalty)", "use a number above 0 (1 changes nothing)")
        case .beamSearch(let beam):
            try require(beam.beamSize >= 1, "a beam of \(beam.beamSize)", "use at least 1")
            try require(beam.lengthPenalty.isFinite, "a length penalty of \(beam.lengthPenalty)", "use a finite number, such as 0.6")
            try require(
                sequences <= beam.beamSize, "the \(sequences) best of a beam of \(beam.beamSize)", "widen the beam or ask for fewer sequences")
        }
    }
}

/// One generated sequence.
public struct GeneratedSequence: Sendable, Equatable {
    /// The new tokens, without the start and end symbols.
    public var tokens: [Int32]
    /// The sum of the natural logarithms of the tokens' probabilities under the model, that of the end symbol included when it came.
    public var logProbability: Double
    /// What sequences of one prompt are ranked by: `logProbability`, for beam search divided by the length penalty.
    public var score: Double
    /// True when the end symbol came; false when the sequence was cut.
    public var isComplete: Bool

    /// A sequence that a search has ended with.
    public init(tokens: [Int32], logProbability: Double, score: Double, isComplete: Bool) {
        self.tokens = tokens
        self.logProbability = logProbability
        self.score = score
        self.isComplete = isComplete
    }
}
