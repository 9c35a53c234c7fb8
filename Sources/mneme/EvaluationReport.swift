// What mneme evaluate prints.

import Evaluation
import Foundation

struct EvaluationReport {
    let run: String
    let step: Int
    let corpus: String
    let perplexity: LanguageModelStatistics
    let scores: GenerationScores?

    /// A table for people.
    var text: String {
        var lines = [
            "run              \(run), step \(step)", "corpus           \(corpus)",
            "loss             \(number(perplexity.lossPerToken)) nats a token, \(perplexity.tokens) tokens",
            "perplexity       \(number(perplexity.perplexityPerToken)) a token",
        ]
        if let perWord = perplexity.perplexityPerWord {
            lines.append("                 \(number(perWord)) a word, \(perplexity.words) words with line ends")
        }
        if let bits = perplexity.bitsPerByte {
            let perCharacter = perplexity.bitsPerCharacter.map { ", \(number($0)) a character" } ?? ""
            lines.append("bits             \(number(bits)) a byte of the text\(perCharacter)")
        }
        switch scores {
        case .translation(let bleu, let signature, let chrF, let chrFSignature):
            lines.append("BLEU             \(String(format: "%.2f", bleu.score))  \(bleu.verboseLine)")
            lines.append("                 \(signature)")
            lines.append("chrF2            \(String(format: "%.2f", chrF))")
            lines.append("                 \(chrFSignature)")
        case .summaries(let model, let lead3):
            lines.append("ROUGE F1         model    lead-3")
            for (mine, lead) in zip(model.all, lead3.all) {
                lines.append(
                    mine.name.padding(toLength: 17, withPad: " ", startingAt: 0)
                        + String(format: "%5.2f    %5.2f", mine.score.f1 * 100, lead.score.f1 * 100))
            }
        case .answers(let accuracy):
            for task in accuracy.tasksAsked {
                let score = accuracy[task]
                let bar = String(repeating: "█", count: Int((score.accuracy ?? 0) * 30 + 0.5))
                lines.append(String(format: "task %2d  %5.1f %%  %@", task, (score.accuracy ?? 0) * 100, bar))
            }
            lines.append(
                String(format: "mean accuracy    %.1f %%, %d of %d tasks at 95 %% or more", (1 - (accuracy.meanError ?? 1)) * 100,
                    accuracy.tasksAsked.count - accuracy.failedTasks.count, accuracy.tasksAsked.count))
        case nil: break
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// One JSON object.
    func json() throws -> String {
        var object: [String: Any] = [
            "run": run, "step": step, "corpus": corpus, "tokens": perplexity.tokens, "words": perplexity.words, "nats": perplexity.nats,
        ]
        object["loss"] = perplexity.lossPerToken
        object["perplexity"] = perplexity.perplexityPerToken
        object["perplexity_per_word"] = perplexity.perplexityPerWord
        object["bits_per_byte"] = perplexity.bitsPerByte
        object["bits_per_character"] = perplexity.bitsPerCharacter
        switch scores {
        case .translation(let bleu, let signature, let chrF, let chrFSignature):
            object["bleu"] = bleu.score
            object["bleu_signature"] = signature
            object["chrf"] = chrF
            object["chrf_signature"] = chrFSignature
        case .summaries(let model, let lead3):
            for (key, scores) in [("rouge", model), ("lead3_rouge", lead3)] {
                object[key] = Dictionary(
                    uniqueKeysWithValues: scores.all.map {
                        ($0.name, ["precision": $0.score.precision, "recall": $0.score.recall, "f1": $0.score.f1])
                    })
            }
        case .answers(let accuracy):
            object["accuracy_by_task"] = Dictionary(uniqueKeysWithValues: accuracy.tasksAsked.map { (String($0), accuracy[$0].accuracy ?? 0) })
            object["mean_error"] = accuracy.meanError
            object["failed_tasks"] = accuracy.failedTasks
        case nil: break
        }
        let data = try JSONSerialization.data(withJSONObject: object, options: [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes])
        return String(decoding: data, as: UTF8.self) + "\n"
    }

    private func number(_ value: Double?) -> String { value.map { String(format: "%.4f", $0) } ?? "none" }
}
