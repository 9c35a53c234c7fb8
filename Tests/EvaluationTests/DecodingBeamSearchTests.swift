// Beam search against an exhaustive search and a plain reference, on models made by hand.

import Evaluation
import Foundation
import Models
import TestSupport
import Tensors
import Testing

func exponential(_ x: Double) -> Double { exp(x) }
func logarithm(_ x: Double) -> Double { log(x) }

@Suite struct DecodingBeamSearchTests {
    private static let end: Int32 = 2
    private static let prompts: [[Int32]] = [[3, 0, 4], [4], [0, 0, 3, 1, 4, 3], [1, 3], [3, 3]]

    private func penalty(_ length: Int, _ alpha: Float) -> Double { pow((5 + Double(length)) / 6, Double(alpha)) }

    /// All sequences that end within `limit`, the best first.
    private func exhaustive(_ logits: ([Int32]) -> [Float], limit: Int, alpha: Float) -> [GeneratedSequence] {
        var found: [GeneratedSequence] = []
        func visit(_ tokens: [Int32], _ sum: Double) {
            for (token, value) in logSoftmax(logits(tokens)).enumerated() {
                if Int32(token) == Self.end {
                    let score = (sum + value) / penalty(tokens.count + 1, alpha)
                    found.append(GeneratedSequence(tokens: tokens, logProbability: sum + value, score: score, isComplete: true))
                } else if tokens.count + 1 < limit {
                    visit(tokens + [Int32(token)], sum + value)
                }
            }
        }
        visit([], 0)
        return found.sorted { $0.score > $1.score }
    }

    /// Textbook beam search of one sentence that never stops before the limit.
    private func reference(_ logits: ([Int32]) -> [Float], limit: Int, alpha: Float, beam: Int) -> [GeneratedSequence] {
        var live: [(tokens: [Int32], sum: Double)] = [([], 0)]
        var ended: [GeneratedSequence] = []
        for length in 1...limit {
            var all: [(tokens: [Int32], token: Int32, sum: Double)] = []
            for hypothesis in live {
                for (token, value) in logSoftmax(logits(hypothesis.tokens)).enumerated() {
                    all.append((hypothesis.tokens, Int32(token), hypothesis.sum + value))
                }
            }
            let best = all.sorted { $0.sum > $1.sum }.prefix(beam)
            live = best.filter { $0.token != Self.end }.map { ($0.tokens + [$0.token], $0.sum) }
            for candidate in best where candidate.token == Self.end {
                let score = candidate.sum / penalty(length, alpha)
                ended.append(GeneratedSequence(tokens: candidate.tokens, logProbability: candidate.sum, score: score, isComplete: true))
            }
        }
        ended.sort { $0.score > $1.score }
        let cut = live.map { GeneratedSequence(tokens: $0.tokens, logProbability: $0.sum, score: $0.sum / penalty(limit, alpha), isComplete: false) }
        return Array((ended.prefix(beam) + cut.sorted { $0.score > $1.score }).prefix(beam))
    }

    private func expectSame(_ actual: [GeneratedSequence], _ expected: [GeneratedSequence], _ what: String) {
        #expect(actual.map(\.tokens) == expected.map(\.tokens), "\(what)")
        #expect(actual.map(\.isComplete) == expected.map(\.isComplete), "\(what)")
        for (a, b) in zip(actual, expected) {
            #expect(abs(a.score - b.score) < 1e-5 && abs(a.logProbability - b.logProbability) < 1e-5, "\(what)")
        }
    }

    @Test(arguments: ModelKind.allCases, [0, 0.6, 1.4] as [Float])
    func aBeamThatHoldsEverythingEqualsExhaustiveSearch(kind: ModelKind, alpha: Float) throws {
        for seed in 0..<4 as Range<UInt64> {
            let logits = irregularLogits(5, seed: seed)
            let model = TableModel.reading(pairs: kind == .encoderDecoder, vocabularySize: 5, logits: logits)
            let generator = Generator(model: model, endToken: Self.end, startToken: TableModel.startToken)
            // 4 + 16 + 64 live hypotheses at most, and 85 that end within 4 tokens.
            let settings = GenerationSettings(
                method: .beamSearch(BeamSearchSettings(beamSize: 400, lengthPenalty: alpha)), limit: .tokens(4), sequences: 85, batchSize: 1000)
            let results = try generator.generate(prompts: Self.prompts, settings: settings)
            for (prompt, result) in zip(Self.prompts, results) {
                expectSame(result, exhaustive({ logits(prompt, $0) }, limit: 4, alpha: alpha), "\(kind), alpha \(alpha), seed \(seed), \(prompt)")
            }
        }
    }

    @Test(arguments: ModelKind.allCases, [1, 2, 3, 4, 7])
    func stoppingEarlyAndBatchesChangeNothing(kind: ModelKind, beam: Int) throws {
        for seed in 10..<18 as Range<UInt64> {
            for alpha in [0, 0.6, -0.5] as [Float] {
                let logits = irregularLogits(6, seed: seed, spread: 2)
                let model = TableModel.reading(pairs: kind == .encoderDecoder, vocabularySize: 6, logits: logits)
                let generator = Generator(model: model, endToken: Self.end, startToken: TableModel.startToken)
                let method = GenerationMethod.beamSearch(BeamSearchSettings(beamSize: beam, lengthPenalty: alpha))
                for batch in [1, 3 * beam, 1000] {
                    let settings = GenerationSettings(method: method, limit: .beyondPrompt(9), sequences: beam, batchSize: batch)
                    let results = try generator.generate(prompts: Self.prompts, settings: settings)
                    for (prompt, result) in zip(Self.prompts, results) {
                        let expected = reference({ logits(prompt, $0) }, limit: prompt.count + 9, alpha: alpha, beam: beam)
                        expectSame(result, expected, "\(kind), beam \(beam), alpha \(alpha), seed \(seed), \(prompt)")
                    }
                }
            }
        }
    }

    @Test func itStopsWhenNothingBetterCanCome() throws {
        // The end has probability 0.97 everywhere: two hypotheses have ended after two steps, and no live one can catch up.
        let model = TableModel.reading(pairs: true, vocabularySize: 4) { _, _ in [0.01, 0.01, 0.97, 0.01].map { Float(log($0)) } }
        let generator = Generator(model: model, endToken: Self.end, startToken: TableModel.startToken)
        let settings = GenerationSettings(method: .beamSearch(BeamSearchSettings(beamSize: 2)), limit: .tokens(60), sequences: 2)
        let result = try generator.generate(prompts: [[3]], settings: settings)[0]
        #expect(result.map(\.tokens) == [[], [0]])
        #expect(model.advances.count < 6)
    }

    @Test func aLongSequenceMayWinByTheLengthPenalty() throws {
        // Ending at once: ln 0.4 = -0.916. Five tokens and the end: ln 0.6 = -0.511 + 5 ln 0.9 = -1.038 over lp(6) = 1.439, so -0.721.
        let model = TableModel.reading(pairs: true, vocabularySize: 4) { _, output in
            if output.isEmpty { return [log(0.3), log(0.3), log(0.4), -100].map { Float($0) } }
            return output.count < 5 ? [Float(log(0.9)), -100, Float(log(0.1)), -100] : [-100, -100, 0, -100]
        }
        let generator = Generator(model: model, endToken: Self.end, startToken: TableModel.startToken)
        func best(_ alpha: Float) throws -> GeneratedSequence {
            let method = GenerationMethod.beamSearch(BeamSearchSettings(beamSize: 3, lengthPenalty: alpha))
            return try generator.generate(prompts: [[3]], settings: GenerationSettings(method: method, limit: .tokens(20)))[0][0]
        }
        #expect(try best(0).tokens == [])
        let long = try best(1.5)
        #expect(long.tokens == [0, 0, 0, 0, 0])
        #expect(abs(long.score - long.logProbability / pow(11.0 / 6, 1.5)) < 1e-9)
    }

    @Test func cutHypothesesComeBehindCompleteOnes() throws {
        let model = TableModel.reading(pairs: true, vocabularySize: 4) { _, _ in [0.9, 0.06, 0.03, 0.01].map { Float(log($0)) } }
        let generator = Generator(model: model, endToken: Self.end, startToken: TableModel.startToken)
        let settings = GenerationSettings(method: .beamSearch(BeamSearchSettings(beamSize: 3)), limit: .tokens(3), sequences: 3)
        let result = try generator.generate(prompts: [[3]], settings: settings)[0]
        #expect(result.map(\.isComplete) == [true, false, false])
        #expect(result[1].tokens == [0, 0, 0] && result[1].score > result[0].score)
    }

    @Test(arguments: ModelKind.allCases)
    func beamOfOneEqualsGreedyOnATransformer(kind: ModelKind) throws {
        let keys = "layers: 2, width: 16, heads: 2, context: 24, controller: {layers: 2, width: 16}"
        let model = try modelConfiguration(kind, keys).makeModel(vocabularySize: 13)
        model.store.allocate(seed: 5, gradients: false)
        for index in model.store.values.indices { model.store.values[index] *= 2.5 }
        let generator = Generator(model: model, endToken: 2, startToken: 1)
        let prompts: [[Int32]] = [[3, 4, 5], [7], [8, 3, 9, 12, 11], [6, 6]]
        let greedy = try generator.generate(prompts: prompts, settings: GenerationSettings(limit: .beyondPrompt(12)))
        for alpha in [0, 0.6] as [Float] {
            let method = GenerationMethod.beamSearch(BeamSearchSettings(beamSize: 1, lengthPenalty: alpha))
            let beam = try generator.generate(prompts: prompts, settings: GenerationSettings(method: method, limit: .beyondPrompt(12)))
            for (a, b) in zip(greedy, beam) {
                #expect(a[0].tokens == b[0].tokens && a[0].isComplete == b[0].isComplete)
                #expect(abs(a[0].logProbability - b[0].logProbability) < 1e-4)
            }
        }
        #expect(Set(greedy.map { $0[0].tokens }).count > 1)
        // What a wider beam reports is what the model says of its sequences.
        let wide = GenerationSettings(method: .beamSearch(BeamSearchSettings(beamSize: 5)), limit: .beyondPrompt(12), sequences: 5)
        for (prompt, sequences) in zip(prompts, try generator.generate(prompts: prompts, settings: wide)) {
            #expect(sequences.count == 5 && Set(sequences.map(\.tokens)).count == 5)
            for sequence in sequences {
                let sum = logProbability(of: sequence.tokens + (sequence.isComplete ? [2] : []), after: prompt, model)
                #expect(abs(sum - sequence.logProbability) < 1e-4)
                #expect(abs(sequence.score - sum / penalty(sequence.tokens.count + (sequence.isComplete ? 1 : 0), 0.6)) < 1e-4)
            }
        }
    }

    /// The sum of the log probabilities of given tokens.
    private func logProbability(of tokens: [Int32], after prompt: [Int32], _ model: any LanguageModel) -> Double {
        let decoder = model.startDecoding([prompt], maximumNewTokens: tokens.count)
        var logits = decoder.firstLogits ?? decoder.advance([1])
        var sum = 0.0
        for (index, token) in tokens.enumerated() {
            sum += logSoftmax(logits.array)[Int(token)]
            if index + 1 < tokens.count { logits = decoder.advance([token]) }
        }
        return sum
    }
}
