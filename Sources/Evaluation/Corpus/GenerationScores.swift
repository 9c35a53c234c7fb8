// What a model writes for a corpus of pairs, scored as its field scores it.

import Collectives
import Corpora
import Diagnostics
import Models

/// The scores of generated targets, by what the corpus is.
public enum GenerationScores: Sendable {
    /// Translation: BLEU and chrF2 as sacreBLEU computes them, with their signatures.
    case translation(bleu: BLEUScore, bleuSignature: String, chrF: Double, chrFSignature: String)
    /// Summaries: ROUGE of the model and of the first three sentences of each source.
    case summaries(model: ROUGEScores, lead3: ROUGEScores)
    /// Answers: accuracy by task.
    case answers(BABIAccuracy)
}

/// How targets are generated for scoring.
public struct GenerationScoring: Sendable {
    /// How each target is searched for.
    public var settings: GenerationSettings
    /// The first so many pairs; `nil` for all.
    public var limit: Int?

    /// Scoring of the first `limit` pairs.
    public init(settings: GenerationSettings, limit: Int? = nil) {
        self.settings = settings
        self.limit = limit
    }
}

/// Generates a target for every source of a corpus and scores it. Collective: blocks of pairs are dealt out to ranks.
///
/// References are the corpus's targets, decoded; the tokenizer gives every text back unless it normalizes.
///
/// - Throws: `UserError`, the same on every rank.
public func scoreGeneration(
    generator: Generator, format: PromptFormat, corpus: Corpus, tokenizer: SentencePieceTokenizer, scoring: GenerationScoring,
    communicator: any Communicator
) throws -> GenerationScores {
    let count = min(corpus.count, scoring.limit ?? .max)
    let block = 64
    var scorer = Scorer(corpus.manifest.sourceFormat)
    try communicator.onEveryRank {
        for start in stride(from: communicator.rank * block, to: count, by: communicator.size * block) {
            let pairs = try (start..<min(start + block, count)).map { try corpus.pair($0) }
            let outputs = try generator.generate(prompts: pairs.map { format.prompt($0.source) }, settings: scoring.settings, firstPrompt: start)
            for (index, pair) in pairs.enumerated() {
                let label = try corpus.pairSizes(start + index).label
                try scorer.add(
                    source: tokenizer.decode(pair.source), hypothesis: tokenizer.decode(outputs[index].first?.tokens ?? []),
                    reference: tokenizer.decode(pair.target), task: label < 0 ? "" : corpus.labels[Int(label)])
            }
        }
    }
    return try scorer.total(communicator)
}

/// Sums of one rank.
private struct Scorer {
    private let sourceFormat: CorpusFormat
    private var bleu = BLEUAccumulator()
    private var chrF = CharacterFScoreAccumulator()
    private var rouge = ROUGE()
    private var modelROUGE = ROUGEStatistics()
    private var leadROUGE = ROUGEStatistics()
    private var answers = BABIAccuracy()

    init(_ sourceFormat: CorpusFormat) { self.sourceFormat = sourceFormat }

    mutating func add(source: String, hypothesis: String, reference: String, task: String) throws {
        switch sourceFormat {
        case .babi:
            guard let number = taskNumber(task) else {
                throw UserError(.badData, "'\(task)' is no bAbI task", advice: "shard files whose names start with qa1_ ... qa20_")
            }
            answers.add(task: number, answer: hypothesis, expected: reference)
        case .cnnDailyMail:
            modelROUGE.add(rouge.score(reference: reference, prediction: hypothesis))
            leadROUGE.add(rouge.score(reference: reference, prediction: leadingSentences(source, 3).joined(separator: "\n")))
        case .wmt, .text:
            bleu.add(hypothesis: hypothesis, references: [reference])
            chrF.add(hypothesis: hypothesis, references: [reference])
        }
    }

    /// The scores over all ranks. Collective.
    func total(_ communicator: any Communicator) throws -> GenerationScores {
        switch sourceFormat {
        case .babi: return .answers(BABIAccuracy(encoded: try communicator.allReduced(answers.encoded, .sum)))
        case .cnnDailyMail:
            return .summaries(
                model: ROUGEStatistics(encoded: try communicator.allReduced(modelROUGE.encoded, .sum)).mean,
                lead3: ROUGEStatistics(encoded: try communicator.allReduced(leadROUGE.encoded, .sum)).mean)
        case .wmt, .text:
            let bleuSums = BLEUStatistics(encoded: try communicator.allReduced(bleu.statistics.encoded, .sum))
            let chrFSums = CharacterFScoreStatistics(encoded: try communicator.allReduced(chrF.statistics.encoded, .sum))
            return .translation(
                bleu: bleu.metric.score(bleuSums), bleuSignature: bleu.metric.signature(referenceCount: 1), chrF: chrF.metric.score(chrFSums),
                chrFSignature: chrF.metric.signature(referenceCount: 1))
        }
    }
}

/// The number in a bAbI label such as `qa7_counting`.
public func taskNumber(_ label: String) -> Int? {
    guard label.hasPrefix("qa"), let number = Int(label.dropFirst(2).prefix { $0.isNumber }), (1...BABIAccuracy.taskCount).contains(number) else {
        return nil
    }
    return number
}

/// The first sentences of a text: its lines where it has several, otherwise what ends with . ! or ? before a space.
public func leadingSentences(_ text: String, _ count: Int) -> [String] {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: true).map(String.init).filter { $0.contains { !$0.isWhitespace } }
    if lines.count > 1 { return Array(lines.prefix(count)) }
    var sentences: [String] = []
    var current = ""
    var previous: Character = " "
    for character in lines.first ?? "" {
        let ends = ".!?".contains(previous) || "\"'”’)".contains(previous) && (current.dropLast().last.map({ ".!?".contains($0) }) ?? false)
        if character == " ", ends {
            sentences.append(current)
            if sentences.count == count { return sentences }
            current = ""
        } else {
            current.append(character)
        }
        previous = character
    }
    return current.isEmpty ? sentences : sentences + [current]
}
