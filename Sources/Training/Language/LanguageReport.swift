// What is found of a language model: perplexity, and the scores of what it generates.

import Evaluation
import Foundation

extension EvaluationReport {
    /// The figures of a corpus.
    init(corpus: String, _ perplexity: LanguageModelStatistics, _ scores: GenerationScores?) {
        set("corpus", .text(corpus))
        set("tokens", .count(perplexity.tokens))
        set("words", .count(perplexity.words))
        set("nats", .number(perplexity.nats))
        say("corpus", corpus)
        say("loss", "\(Self.rounded(perplexity.lossPerToken)) nats a token, \(perplexity.tokens) tokens")
        say("perplexity", "\(Self.rounded(perplexity.perplexityPerToken)) a token")
        if let loss = perplexity.lossPerToken { set("loss", .number(loss)) }
        if let perToken = perplexity.perplexityPerToken { set("perplexity", .number(perToken)) }
        if let perWord = perplexity.perplexityPerWord {
            set("perplexity_per_word", .number(perWord))
            say("", "\(Self.rounded(perWord)) a word, \(perplexity.words) words with line ends")
        }
        if let perByte = perplexity.bitsPerByte {
            set("bits_per_byte", .number(perByte))
            say("", "\(Self.rounded(perByte)) bits a byte, \(perplexity.bytes) bytes")
        }
        if let perCharacter = perplexity.bitsPerCharacter {
            set("bits_per_character", .number(perCharacter))
            say("", "\(Self.rounded(perCharacter)) bits a character, \(perplexity.characters) characters")
        }
        if let scores { add(scores) }
    }

    private mutating func add(_ scores: GenerationScores) {
        switch scores {
        case .translation(let bleu, let signature, let chrF, let chrFSignature):
            set("bleu", .number(bleu.score))
            set("bleu_signature", .text(signature))
            set("chrf", .number(chrF))
            set("chrf_signature", .text(chrFSignature))
            say("BLEU", "\(String(format: "%.2f", bleu.score))  \(bleu.verboseLine)")
            say("", signature)
            say("chrF2", String(format: "%.2f", chrF))
            say("", chrFSignature)
        case .summaries(let model, let lead3):
            for (key, scores) in [("rouge", model), ("lead3_rouge", lead3)] {
                let groups = scores.all.map { score in
                    (
                        score.name,
                        Value.group([
                            "precision": .number(score.score.precision), "recall": .number(score.score.recall), "f1": .number(score.score.f1),
                        ])
                    )
                }
                set(key, .group(Dictionary(uniqueKeysWithValues: groups)))
            }
            say("ROUGE F1", "model    lead-3")
            for (mine, lead) in zip(model.all, lead3.all) {
                say(mine.name, String(format: "%5.2f    %5.2f", mine.score.f1 * 100, lead.score.f1 * 100))
            }
        case .answers(let accuracy):
            let byTask = accuracy.tasksAsked.map { (String($0), Value.number(accuracy[$0].accuracy ?? 0)) }
            set("accuracy_by_task", .group(Dictionary(uniqueKeysWithValues: byTask)))
            if let meanError = accuracy.meanError { set("mean_error", .number(meanError)) }
            set("failed_tasks", .counts(accuracy.failedTasks))
            for task in accuracy.tasksAsked {
                let share = accuracy[task].accuracy ?? 0
                say(String(format: "task %2d", task), String(format: "%5.1f %%  ", share * 100) + String(repeating: "█", count: Int(share * 30 + 0.5)))
            }
            let asked = accuracy.tasksAsked.count
            say(
                "mean accuracy",
                String(format: "%.1f %%, ", (1 - (accuracy.meanError ?? 1)) * 100)
                    + "\(asked - accuracy.failedTasks.count) of \(asked) tasks at 95 % or more")
        }
    }

    private static func rounded(_ value: Double?) -> String { value.map { String(format: "%.4f", $0) } ?? "none" }
}
