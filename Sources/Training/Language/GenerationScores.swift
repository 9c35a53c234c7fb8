// What a model writes for a corpus of pairs, scored as its field scores it.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Models
import Sharding

/// The scores of generated targets, by what the corpus is.
enum GenerationScores: Sendable {
    /// Translation: BLEU and chrF2 as sacreBLEU computes them, with their signatures.
    case translation(bleu: BLEUScore, bleuSignature: String, chrF: Double, chrFSignature: String)
    /// Summaries: ROUGE of the model and of the first three sentences of each source.
    case summaries(model: ROUGEScores, lead3: ROUGEScores)
    /// Answers: accuracy by task.
    case answers(BABIAccuracy)
}

/// How targets are generated for scoring.
struct GenerationScoring: Sendable {
    /// How each target is searched for.
    var settings: GenerationSettings
    /// The first so many pairs; `nil` for all.
    var limit: Int?

    /// Scoring of the first `limit` pairs.
    init(settings: GenerationSettings, limit: Int? = nil) {
        self.settings = settings
        self.limit = limit
    }
}

/// Generates a target for every source of a corpus and scores it. Collective: blocks of pairs are dealt out to ranks.
///
/// References are the corpus's targets, decoded; the tokenizer gives every text back unless it normalizes.
///
/// - Throws: `UserError`, the same on every rank.
func scoreGeneration(
    generator: Generator, format: PromptFormat, corpus: Corpus, tokenizer: SentencePieceTokenizer, scoring: GenerationScoring,
    communicator: any Communicator
) throws -> GenerationScores {
    let count = min(corpus.count, scoring.limit ?? .max)
    let block = 64
    let sums = try communicator.orderedSum(parts: (count + block - 1) / block, width: Scorer(corpus.profile.scoring).encoded.count) { part in
        var scorer = Scorer(corpus.profile.scoring)
        let start = part * block
        let pairs = try (start..<min(start + block, count)).map { try corpus.pair($0) }
        let outputs = try generator.generate(prompts: pairs.map { format.prompt($0.source) }, settings: scoring.settings, firstPrompt: start)
        for (index, pair) in pairs.enumerated() {
            let label = try corpus.pairSizes(start + index).label
            try scorer.add(
                source: tokenizer.decode(pair.source), hypothesis: tokenizer.decode(outputs[index].first?.tokens ?? []),
                reference: tokenizer.decode(pair.target), task: label < 0 ? "" : corpus.labels[Int(label)])
        }
        return scorer.encoded
    }
    return Scorer(corpus.profile.scoring).scores(sums)
}

/// Sums over some pairs.
private struct Scorer {
    private let scoring: TargetScoring
    private var bleu = BLEUAccumulator()
    private var chrF = CharacterFScoreAccumulator()
    private var rouge = ROUGE()
    private var modelROUGE = ROUGEStatistics()
    private var leadROUGE = ROUGEStatistics()
    private var answers = BABIAccuracy()

    init(_ scoring: TargetScoring) { self.scoring = scoring }

    mutating func add(source: String, hypothesis: String, reference: String, task: String) throws {
        switch scoring {
        case .answer:
            guard let number = taskNumber(task) else {
                throw UserError(.badData, "'\(task)' is no bAbI task", advice: "shard files whose names start with qa1_ ... qa20_")
            }
            answers.add(task: number, answer: hypothesis, expected: reference)
        case .summary:
            modelROUGE.add(rouge.score(reference: reference, prediction: hypothesis))
            leadROUGE.add(rouge.score(reference: reference, prediction: leadingSentences(source, 3).joined(separator: "\n")))
        case .translation:
            bleu.add(hypothesis: hypothesis, references: [reference])
            chrF.add(hypothesis: hypothesis, references: [reference])
        }
    }

    /// The sums as numbers that add up.
    var encoded: [Double] {
        switch scoring {
        case .answer: answers.encoded.map(Double.init)
        case .summary: modelROUGE.encoded + leadROUGE.encoded
        case .translation: (bleu.statistics.encoded + chrF.statistics.encoded).map(Double.init)
        }
    }

    /// The scores of sums as `encoded` gives them.
    func scores(_ sums: [Double]) -> GenerationScores {
        switch scoring {
        case .answer: return .answers(BABIAccuracy(encoded: sums.map(Int64.init)))
        case .summary:
            let count = modelROUGE.encoded.count
            return .summaries(
                model: ROUGEStatistics(encoded: Array(sums[..<count])).mean, lead3: ROUGEStatistics(encoded: Array(sums[count...])).mean)
        case .translation:
            let count = bleu.statistics.encoded.count
            let bleuSums = BLEUStatistics(encoded: sums[..<count].map(Int64.init))
            let chrFSums = CharacterFScoreStatistics(encoded: sums[count...].map(Int64.init))
            return .translation(
                bleu: bleu.metric.score(bleuSums), bleuSignature: bleu.metric.signature(referenceCount: 1), chrF: chrF.metric.score(chrFSums),
                chrFSignature: chrF.metric.signature(referenceCount: 1))
        }
    }
}

/// The number in a bAbI label such as `qa7_counting`.
public func taskNumber(_ label: String) -> Int? {
    guard label.hasPrefix("qa"), let number = Int(label.dropFirst(2).prefix { $0.isASCII && $0.isNumber }), (1...BABIAccuracy.taskCount).contains(number) else {
        return nil
    }
    return number
}

/// The first sentences of a text: its lines where it has several, otherwise what ends with . ! or ? before a space. Characters are code points: CR LF is
/// two of them, and a line end all the same.
func leadingSentences(_ text: String, _ count: Int) -> [String] {
    let lines = text.unicodeScalars.split { $0 == "\n" || $0 == "\r" }.filter { $0.contains { !$0.properties.isWhitespace } }
    if lines.count > 1 { return lines.prefix(count).map { String($0) } }
    let marks: Set<Unicode.Scalar> = [".", "!", "?"]
    let quotes: Set<Unicode.Scalar> = ["\"", "'", "”", "’", ")"]
    var sentences: [String] = []
    var current = String.UnicodeScalarView()
    for scalar in lines.first ?? "".unicodeScalars[...] {
        if scalar == " ", let last = current.last,
            marks.contains(last) || quotes.contains(last) && (current.dropLast().last.map { marks.contains($0) } ?? false)
        {
            sentences.append(String(current))
            if sentences.count == count { return sentences }
            current = String.UnicodeScalarView()
        } else {
            current.append(scalar)
        }
    }
    return current.isEmpty ? sentences : sentences + [String(current)]
}
