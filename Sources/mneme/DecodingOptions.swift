// How text is generated, for all commands that generate.

import ArgumentParser
import Configuration
import Corpora
import Training

struct DecodingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Hypotheses of beam search; 1 is greedy (default: \(byFormat { "\($0.beamSize)" })).", valueName: "count"))
    var beam: Int?

    @Option(
        help: ArgumentHelp(
            "Length penalty of beam search: scores are divided by ((5 + length) / 6)^alpha (default: 0.6).", valueName: "alpha"))
    var lengthPenalty: Float?

    @Option(help: ArgumentHelp("The most new tokens (default: \(byFormat { limit($0.limit) })).", valueName: "count"))
    var maximumTokens: Int?

    @Option(help: ArgumentHelp("Hypotheses decoded at the same time (default: 256).", valueName: "count"))
    var batch: Int?

    func validate() throws {
        try requireRange("--beam", beam, SizeLimits.beam)
        try requireRange("--maximum-tokens", maximumTokens, SizeLimits.positions)
        try requireRange("--batch", batch, SizeLimits.sequences)
    }

    /// The options as a request; what is not given is left open.
    var request: GenerationRequest {
        GenerationRequest(beamSize: beam, lengthPenalty: lengthPenalty, maximumTokens: maximumTokens, batchSize: batch)
    }
}

private func limit(_ limit: GenerationDefaults.Limit) -> String {
    switch limit {
    case .tokens(let count), .longestTarget(let count): "\(count)"
    case .beyondSource(let count): "source + \(count)"
    }
}

/// A default that depends on the format: `4; babi 1`.
private func byFormat(_ value: (GenerationDefaults) -> String) -> String {
    let usual = value(CorpusFormat.text.profile.generation)
    let others = CorpusFormat.allCases.map { ($0.rawValue, value($0.profile.generation)) }.filter { $0.1 != usual }
    return ([usual] + others.map { "\($0.0) \($0.1)" }).joined(separator: "; ")
}
