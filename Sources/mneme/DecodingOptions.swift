// How text is generated, for all commands that generate.

import ArgumentParser
import Corpora
import Evaluation

struct DecodingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Hypotheses of beam search; 1 is greedy (default: 4 for wmt and cnn-dailymail, 1 for babi).", valueName: "count"))
    var beam: Int?

    @Option(help: ArgumentHelp("Length penalty of beam search: scores are divided by ((5 + length) / 6)^alpha.", valueName: "alpha"))
    var lengthPenalty: Float = 0.6

    @Option(help: ArgumentHelp("The most new tokens (default: source + 50 for wmt, 128 for cnn-dailymail, 16 for babi).", valueName: "count"))
    var maximumTokens: Int?

    @Option(help: ArgumentHelp("Hypotheses decoded at the same time.", valueName: "count"))
    var batch = 256

    func validate() throws {
        guard beam ?? 1 >= 1 else { throw ValidationError("--beam must be at least 1.") }
        guard maximumTokens ?? 1 >= 1 else { throw ValidationError("--maximum-tokens must be at least 1.") }
        guard batch >= 1 else { throw ValidationError("--batch must be at least 1.") }
    }

    /// The settings for a kind of corpus.
    func settings(for format: CorpusFormat, longestTarget: Int = 0) -> GenerationSettings {
        let limit: GenerationLimit
        if let maximumTokens {
            limit = .tokens(maximumTokens)
        } else {
            switch format {
            case .wmt, .text: limit = .beyondPrompt(50)
            case .cnnDailyMail: limit = .tokens(128)
            case .babi: limit = .tokens(max(16, longestTarget + 1))
            }
        }
        let beamSize = beam ?? (format == .babi ? 1 : 4)
        return GenerationSettings(
            method: beamSize == 1 ? .sampling(.greedy) : .beamSearch(BeamSearchSettings(beamSize: beamSize, lengthPenalty: lengthPenalty)),
            limit: limit, batchSize: max(batch, beamSize))
    }

    /// Tokens that a decoder-only model keeps free for the answer.
    func room(for format: CorpusFormat) -> Int {
        maximumTokens ?? (format == .babi ? 16 : format == .cnnDailyMail ? 128 : 64)
    }
}
