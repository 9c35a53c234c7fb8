// Generation: from prompts or sources to new tokens, by sampling or beam search over any language model.
//
// Legend: B prompts.

import Diagnostics
import Models

/// Generates with a model: continues prompts (decoder-only) or writes targets for sources (encoder-decoder).
///
/// Prompts are decoded together in batches of similar length. What a prompt gives depends on the model, the settings, its tokens and its number
/// alone, not on its neighbours (up to the last bits of the logits, which matrix products of another size may round differently).
public struct Generator {
    /// The model, its parameters allocated.
    public let model: any LanguageModel
    /// The symbol that ends a sequence; `nil`: sequences end at the limit only.
    public let endToken: Int32?
    /// The symbol that an encoder-decoder model's decoder starts from. A decoder-only model ignores it.
    public let startToken: Int32

    /// A generator without state of its own: it may be used any number of times.
    public init(model: any LanguageModel, endToken: Int32?, startToken: Int32) {
        self.model = model
        self.endToken = endToken
        self.startToken = startToken
    }

    /// Generates for every prompt.
    ///
    /// - Parameters:
    ///   - prompts: B sequences of token ids. An empty source of an encoder-decoder model gives empty sequences.
    ///   - settings: how.
    ///   - firstPrompt: the number of the first prompt in a longer list: random numbers depend on it, so a list may be cut into several calls.
    /// - Returns: for each prompt `settings.sequences` sequences, those of beam search with the best first and complete ones before cut ones
    ///   (fewer if the beam holds fewer).
    /// - Throws: `UserError` when a setting is out of range, a prompt is empty or longer than the model's context, a token is none of the
    ///   vocabulary's, or the model gives logits that are not numbers.
    /// - Complexity: one decoding step of the model for each token of the longest sequence of a batch; one pass over the prompts.
    public func generate(prompts: [[Int32]], settings: GenerationSettings, firstPrompt: Int = 0) throws -> [[GeneratedSequence]] {
        try settings.validate()
        let tasks = try prompts.enumerated().compactMap { try task($1, number: firstPrompt + $0, settings) }
        let empty = GeneratedSequence(tokens: [], logProbability: 0, score: 0, isComplete: true)
        var results = [[GeneratedSequence]](repeating: [GeneratedSequence](repeating: empty, count: settings.sequences), count: prompts.count)
        // The longest first: a batch that does not fit into memory fails at once. Similar lengths share a batch, which saves padding.
        let sorted = tasks.sorted { ($0.prompt.count, $1.number) > ($1.prompt.count, $0.number) }
        let rowsEach =
            switch settings.method {
            case .sampling: settings.sequences
            case .beamSearch(let beam): beam.beamSize
            }
        var start = 0
        while start < sorted.count {
            var longest = 0
            let batch = Array(
                sorted[start...].enumerated().prefix { offset, task in
                    longest = max(longest, sorted[start].prompt.count + min(task.limit, model.maximumLength ?? task.limit))
                    let rows = (offset + 1) * rowsEach
                    return offset == 0 || (rows <= settings.batchSize && rows * longest <= settings.batchPositions)
                }.map(\.element))
            start += batch.count
            let outputs =
                switch settings.method {
                case .sampling(let sampling):
                    try SamplingDecoder(self, sampling, settings).run(batch)
                case .beamSearch(let beam):
                    try BeamSearch(self, beam, resultCount: settings.sequences).run(batch)
                }
            for (task, output) in zip(batch, outputs) { results[task.number - firstPrompt] = output }
        }
        return results
    }

    /// Checks a prompt; `nil` for an empty source, which needs no decoding.
    private func task(_ prompt: [Int32], number: Int, _ settings: GenerationSettings) throws -> GenerationTask? {
        let place = "prompt \(number + 1)"
        if let wrong = prompt.first(where: { $0 < 0 || $0 >= model.vocabularySize }) {
            throw UserError(
                .badData, "token \(wrong) is none of the model's \(model.vocabularySize)", at: place,
                advice: "encode it with the model's own tokenizer")
        }
        var limit = settings.limit.tokens(promptLength: prompt.count)
        if let context = model.maximumLength {
            if prompt.count > context {
                throw UserError(.badData, "\(prompt.count) tokens, but the model's context holds \(context)", at: place, advice: "shorten it")
            }
            if model.readsPairs {
                limit = min(limit, context)
            } else if !settings.continuesBeyondContext || !settings.method.isSampling {
                // The last token is never read, so it needs no position.
                limit = min(limit, context - prompt.count + 1)
            }
        }
        if prompt.isEmpty {
            if model.readsPairs { return nil }
            throw UserError(.badData, "an empty prompt", at: place, advice: "give at least one token to continue from")
        }
        return GenerationTask(number: number, prompt: prompt, limit: max(limit, 1))
    }
}

extension GenerationMethod {
    fileprivate var isSampling: Bool {
        if case .sampling = self { true } else { false }
    }
}

/// One prompt's share of the work.
struct GenerationTask {
    /// Among all prompts.
    let number: Int
    let prompt: [Int32]
    /// The most new tokens, the end symbol included; at least 1.
    let limit: Int
}

extension UserError {
    /// Logits that are not finite numbers.
    static var divergedModel: UserError {
        UserError(.badData, "the model's logits are not numbers", advice: "its training has diverged: use an earlier checkpoint")
    }
}
