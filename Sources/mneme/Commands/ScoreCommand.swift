// `mneme score`: scores text that any program wrote, without a model.

import ArgumentParser
import Diagnostics
import Evaluation
import Foundation

struct ScoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "score",
        abstract: "Score translations, summaries and answers against references.",
        discussion: """
            Files are read line by line: line n of every file belongs together.

            Examples:
              mneme score bleu --references newstest.ref.de output.de
            """,
        subcommands: [ScoreBLEUCommand.self, ScoreChrFCommand.self, ScoreROUGECommand.self, ScoreSQuADCommand.self])
}

/// The files that a line-by-line score compares.
struct AlignedFiles: ParsableArguments {
    @Option(
        parsing: .upToNextOption,
        help: ArgumentHelp("Reference files; with several of them a line has several references. '-' is standard input.", valueName: "file"))
    var references: [String]

    @Argument(help: "The file to score; '-' is standard input.")
    var hypotheses: String?

    /// The files as the user meant them: `--references A B HYPOTHESES` ends with the hypotheses.
    private var files: (references: [String], hypotheses: String?) {
        if let hypotheses { return (references, hypotheses) }
        return (references.dropLast(), references.count > 1 ? references.last : nil)
    }

    func validate() throws {
        guard let hypotheses = files.hypotheses else {
            throw ValidationError("Missing the file to score: give --references FILE... HYPOTHESES")
        }
        guard (files.references + [hypotheses]).count(where: { $0 == "-" }) <= 1 else {
            throw ValidationError("Standard input can stand for one file only")
        }
    }

    /// The segments of all files.
    func read() throws -> (hypotheses: [String], references: [[String]]) {
        try AlignedText.read(hypotheses: files.hypotheses ?? "-", references: files.references)
    }
}

struct ScoreBLEUCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bleu",
        abstract: "Corpus BLEU, equal to sacreBLEU's.",
        usage: "mneme score bleu --references FILE... HYPOTHESES [--tokenize 13a|none|char] [--lowercase] [--json]",
        discussion: """
            Give detokenized text: the tokenizer is part of the metric. The signature names the settings in sacreBLEU's layout.

            Examples:
              mneme score bleu --references newstest.ref.A.de newstest.ref.C.de output.de
            """)

    @OptionGroup var files: AlignedFiles

    @Option(help: "How lines become words: 13a (mteval-v13a), none (words are separated by white space already), char.")
    var tokenize: BLEUTokenizer = .mteval13a

    @Flag(help: "Compare without regard to case.")
    var lowercase = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let segments = try files.read()
        let metric = BLEU(tokenizer: tokenize, lowercase: lowercase)
        let result = metric.score(hypotheses: segments.hypotheses, references: segments.references)
        let signature = metric.signature(referenceCount: segments.references.count)
        if json {
            try JSONOutput.print(
                BLEUReport(
                    score: result.score, signature: signature, precisions: result.precisions, brevityPenalty: result.brevityPenalty,
                    hypothesisLength: result.statistics.hypothesisLength, referenceLength: result.statistics.referenceLength,
                    segments: segments.hypotheses.count))
        } else {
            try print("BLEU|\(signature) = \(ScoreOutput.percent(result.score)) \(result.verboseLine)")
        }
    }

    private struct BLEUReport: Encodable {
        var name = "BLEU"
        let score: Double
        let signature: String
        let precisions: [Double]
        let brevityPenalty: Double
        let hypothesisLength: Int
        let referenceLength: Int
        let segments: Int
    }
}

extension BLEUTokenizer: ExpressibleByArgument {}

struct ScoreChrFCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chrf",
        abstract: "Corpus chrF2 or chrF2++, equal to sacreBLEU's.",
        usage: "mneme score chrf --references FILE... HYPOTHESES [--word-order 0|1|2] [--lowercase] [--json]",
        discussion: """
            Examples:
              mneme score chrf --references newstest.ref.de --word-order 2 output.de
            """)

    @OptionGroup var files: AlignedFiles

    @Option(help: "Longest word n-grams: 0 for chrF2, 2 for chrF2++.")
    var wordOrder = 0

    @Flag(help: "Compare without regard to case.")
    var lowercase = false

    @Flag(help: "Print one JSON object.")
    var json = false

    func validate() throws {
        guard (0...4).contains(wordOrder) else { throw ValidationError("--word-order is from 0 to 4, not \(wordOrder)") }
    }

    func run() throws {
        let segments = try files.read()
        let metric = CharacterFScore(wordOrder: wordOrder, lowercase: lowercase)
        let score = metric.score(hypotheses: segments.hypotheses, references: segments.references)
        let signature = metric.signature(referenceCount: segments.references.count)
        if json {
            try JSONOutput.print(ChrFReport(name: metric.name, score: score, signature: signature, segments: segments.hypotheses.count))
        } else {
            try print("\(metric.name)|\(signature) = \(ScoreOutput.percent(score))")
        }
    }

    private struct ChrFReport: Encodable {
        let name: String
        let score: Double
        let signature: String
        let segments: Int
    }
}

struct ScoreROUGECommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rouge",
        abstract: "ROUGE-1, -2, -L and -Lsum, equal to rouge_score's with stemming.",
        usage: "mneme score rouge --references FILE... HYPOTHESES [--sentence-separator TEXT] [--no-stemmer] [--json]",
        discussion: """
            One summary a line. ROUGE-Lsum needs to know where sentences end: name the text that separates them. With several reference \
            files each measure takes the reference with the highest F1. Printed are means over summaries.

            Examples:
              mneme score rouge --references test.summaries \\
                  --sentence-separator "<t>" output.summaries
            """)

    @OptionGroup var files: AlignedFiles

    @Option(help: ArgumentHelp("The text between two sentences of a line; without it a line is one sentence.", valueName: "text"))
    var sentenceSeparator: String?

    @Flag(inversion: .prefixedNo, help: "Reduce words of more than three letters by the Porter stemmer.")
    var stemmer = true

    @Flag(help: "Print one JSON object; scores are from 0 to 1.")
    var json = false

    func validate() throws {
        guard sentenceSeparator != "" else { throw ValidationError("--sentence-separator cannot be empty") }
    }

    func run() throws {
        let segments = try files.read()
        var scorer = ROUGE(usesStemmer: stemmer)
        var statistics = ROUGEStatistics()
        for (index, hypothesis) in segments.hypotheses.enumerated() {
            statistics.add(scorer.score(references: segments.references.map { sentences($0[index]) }, prediction: sentences(hypothesis)))
        }
        let mean = statistics.mean
        if json {
            try JSONOutput.print(ROUGEReport(documents: statistics.count, stemmer: stemmer, scores: mean))
        } else {
            for (name, score) in mean.all {
                let parts = "precision \(ScoreOutput.percent(score.precision * 100)), recall \(ScoreOutput.percent(score.recall * 100))"
                try print("\(name) = \(ScoreOutput.percent(score.f1 * 100)) (\(parts))")
            }
        }
    }

    /// The line with a newline between sentences.
    private func sentences(_ line: String) -> String {
        sentenceSeparator.map { line.replacingOccurrences(of: $0, with: "\n") } ?? line
    }

    private struct ROUGEReport: Encodable {
        let documents: Int
        let stemmer: Bool
        let scores: ROUGEScores

        func encode(to encoder: Encoder) throws {
            var container = encoder.container(keyedBy: CodingKeys.self)
            try container.encode(documents, forKey: .documents)
            try container.encode(stemmer, forKey: .stemmer)
            try scores.encode(to: encoder)
        }

        enum CodingKeys: CodingKey { case documents, stemmer }
    }
}

struct ScoreSQuADCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "squad",
        abstract: "Exact match and F1 of answers, after SQuAD's normalisation.",
        usage: "mneme score squad --references DATASET.json PREDICTIONS.json [--json]",
        discussion: """
            The data set is in SQuAD's format, version 1.1 or 2.0; predictions are one object of question ids and answers. A question without \
            a prediction scores 0.

            Examples:
              mneme score squad --references dev-v1.1.json predictions.json
            """)

    @Option(help: ArgumentHelp("The data set with the right answers.", valueName: "dataset.json"))
    var references: String

    @Argument(help: "The predictions: {\"question id\": \"answer\"}.")
    var predictions: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let result = try AnswerScoring.scoreSQuAD(dataset: references, predictions: predictions)
        if json {
            try JSONOutput.print(result)
        } else {
            let scores = "exact match = \(ScoreOutput.percent(result.exactMatch)), F1 = \(ScoreOutput.percent(result.f1))"
            try print("\(scores) on \(result.questions) questions")
            if result.unanswered > 0 { try print("\(result.unanswered) questions have no prediction and score 0") }
        }
    }
}

/// How scores are printed.
private enum ScoreOutput {
    /// Two decimals, as scores are published.
    static func percent(_ value: Double) -> String {
        String(format: "%.2f", value)
    }
}
