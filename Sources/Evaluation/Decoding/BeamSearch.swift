// Beam search over a batch of sentences.
//
// Legend: k beam size, V vocabulary, y a target with its end symbol, |y| its length.

import Diagnostics
import Foundation
import Kernels
import Models
import Tensors

/// Keeps the k most probable beginnings of each sentence's target.
///
/// A step extends every live hypothesis of a sentence by every token and keeps the k continuations with the largest sums of log probabilities; all of
/// them have the same length, so sums compare. Those that end leave the beam and are ranked by their sum over lp(y) = ((5 + |y|) / 6)^alpha
/// (Wu et al. 2016); the beam is as much narrower until the next step fills it again. So a beam of 1 is greedy decoding.
///
/// A sentence is over when no hypothesis is live, at the limit, or when k hypotheses have ended and the best live one could not beat the worst of
/// the k best ended ones even if all its further tokens had probability 1: its sum over the penalty of the length that suits it best is the bound.
/// Hypotheses that the limit cuts are ranked by the same rule, behind all that ended.
struct BeamSearch {
    private let generator: Generator
    private let settings: BeamSearchSettings
    private let resultCount: Int

    init(_ generator: Generator, _ settings: BeamSearchSettings, resultCount: Int) {
        self.generator = generator
        self.settings = settings
        self.resultCount = resultCount
    }

    private struct Hypothesis {
        var tokens: [Int32]
        /// The sum of the tokens' log probabilities.
        var sum: Double
    }

    private struct Sentence {
        let limit: Int
        /// At most k, the best first; hypothesis i is the sentence's row i.
        var live = [Hypothesis(tokens: [], sum: 0)]
        /// At most k, the best first.
        var ended: [GeneratedSequence] = []
        /// The length of the live hypotheses.
        var length = 0
        var isOver = false
    }

    /// The best sequences of each task.
    func run(_ tasks: [GenerationTask]) throws -> [[GeneratedSequence]] {
        var sentences = tasks.map { Sentence(limit: $0.limit) }
        let decoder = generator.model.startDecoding(tasks.map(\.prompt), maximumNewTokens: tasks.map(\.limit).max() ?? 0)
        var logits = decoder.firstLogits ?? decoder.advance([Int32](repeating: generator.startToken, count: tasks.count))
        var held = Array(sentences.indices)  // the sentences that have rows in the decoder
        var width = 1  // rows of each
        while true {
            // For each row of the next step: its parent's row and its token. Rows without a hypothesis repeat the sentence's first.
            var parents = [Int](repeating: 0, count: held.count * settings.beamSize)
            var tokens = [Int32](repeating: 0, count: held.count * settings.beamSize)
            for (place, index) in held.enumerated() {
                var choices: [(parent: Int, token: Int32)] = []
                if !sentences[index].isOver {
                    choices = try extend(&sentences[index], logits.floats + place * width * generator.model.vocabularySize)
                }
                for i in 0..<settings.beamSize {
                    let row = place * settings.beamSize + i
                    parents[row] = place * width + (i < choices.count ? choices[i].parent : 0)
                    if i < choices.count { tokens[row] = choices[i].token }
                }
            }
            width = settings.beamSize
            let open = held.indices.filter { !sentences[held[$0]].isOver }
            if open.isEmpty { break }
            // As in sampling: sentences that are over leave when they are a quarter, or when they have no position left.
            let step = sentences[held[open[0]]].length
            if open.count * 4 <= held.count * 3 || held.contains(where: { step >= sentences[$0].limit }) {
                parents = open.flatMap { parents[$0 * width..<($0 + 1) * width] }
                tokens = open.flatMap { tokens[$0 * width..<($0 + 1) * width] }
                held = open.map { held[$0] }
            }
            decoder.reorder(parents)
            logits = decoder.advance(tokens)
        }
        return sentences.map(results)
    }

    /// One step of one sentence. `logits`: [live hypotheses, V].
    /// - Returns: for each hypothesis that is live now, the row it continues and the token it read last.
    private func extend(_ sentence: inout Sentence, _ logits: UnsafePointer<Float>) throws -> [(parent: Int, token: Int32)] {
        let size = generator.model.vocabularySize
        var best = TopCandidates(capacity: settings.beamSize)
        for (row, hypothesis) in sentence.live.enumerated() {
            let scores = logits + row * size
            let normalizer = Kernels.active.logSumExponential(scores, size)
            guard normalizer.isFinite else { throw UserError.divergedModel }
            let offset = hypothesis.sum - Double(normalizer)
            var cut = Float(best.threshold - offset).nextDown
            for token in 0..<size where scores[token] > cut {
                best.insert(offset + Double(scores[token]), row * size + token)
                cut = Float(best.threshold - offset).nextDown
            }
        }
        sentence.length += 1
        let penalty = lengthPenalty(sentence.length)
        var live: [Hypothesis] = []
        var choices: [(parent: Int, token: Int32)] = []
        for candidate in best.descending {
            let (parent, token) = (candidate.origin / size, Int32(candidate.origin % size))
            let tokens = sentence.live[parent].tokens
            if token == generator.endToken {
                sentence.ended.append(
                    GeneratedSequence(tokens: tokens, logProbability: candidate.value, score: candidate.value / penalty, isComplete: true))
            } else {
                live.append(Hypothesis(tokens: tokens + [token], sum: candidate.value))
                choices.append((parent, token))
            }
        }
        sentence.live = live
        sentence.ended = ranked(sentence.ended, settings.beamSize)
        sentence.isOver = live.isEmpty || sentence.length >= sentence.limit || cannotImprove(sentence)
        return choices
    }

    /// True when k hypotheses have ended and no live one can beat the worst of them any more.
    private func cannotImprove(_ sentence: Sentence) -> Bool {
        guard sentence.ended.count == settings.beamSize, let worst = sentence.ended.last, let best = sentence.live.first else { return false }
        // Sums are negative and only fall; the penalty is monotonic in the length, so its largest value is at one of the two ends.
        let bound = best.sum / max(lengthPenalty(sentence.length + 1), lengthPenalty(sentence.limit))
        return bound <= worst.score
    }

    private func results(_ sentence: Sentence) -> [GeneratedSequence] {
        let penalty = lengthPenalty(sentence.length)
        let isCut = sentence.length >= sentence.limit
        let cut = !isCut ? [] : sentence.live.map {
            GeneratedSequence(tokens: $0.tokens, logProbability: $0.sum, score: $0.sum / penalty, isComplete: false)
        }
        return Array((sentence.ended + ranked(cut, settings.beamSize)).prefix(resultCount))
    }

    /// The best `count`, the best first; of equals the one that ended first.
    private func ranked(_ sequences: [GeneratedSequence], _ count: Int) -> [GeneratedSequence] {
        let order = sequences.indices.sorted { (sequences[$0].score, $1) > (sequences[$1].score, $0) }
        return order.prefix(count).map { sequences[$0] }
    }

    /// ((5 + length) / 6)^alpha.
    private func lengthPenalty(_ length: Int) -> Double { BeamSearch.lengthPenalty(length, alpha: settings.lengthPenalty) }

    /// ((5 + |y|) / 6)^alpha (Wu et al. 2016, equation 14).
    static func lengthPenalty(_ length: Int, alpha: Float) -> Double { pow((5 + Double(length)) / 6, Double(alpha)) }
}
