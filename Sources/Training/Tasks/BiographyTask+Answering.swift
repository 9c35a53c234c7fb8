// Facts that a person asks for: `First Middle Last | birth city`.

import Corpora
import Diagnostics
import Foundation
import MemoryBanks
import Models
import NeuralNetworks
import Tensors

extension BiographyTask: AnsweringTask {
    public var endsQuestionsWithMark: Bool { false }

    /// Answers the last line of a text, from the bank of the run or by heart. What was found in a bank, and how alike its key is, stands in the notes.
    public func answer(_ text: String) throws -> Explanation {
        guard let line = text.split(whereSeparator: \.isNewline).last(where: { !$0.allSatisfy(\.isWhitespace) }) else {
            throw UserError(.badData, "there is no question", advice: "write one, such as 'First Middle Last | birth city'")
        }
        let question = try Biographies.question(String(line))
        switch learner {
        case .byHeart(let model): return answerByHeart(question, String(line), model)
        case .byMarginal(let model): return try answerByMarginal(question, String(line), model)
        case .byLookup(let model):
            let path = FactBank.directory(ofRun: directory ?? configuration.directory)
            let bank = try MemoryBank(path)
            // A question in the words of keys is the key of its fact.
            let texts = Tensor(rows: [question])
            let query = BiographyAttribute.isName(question.last) ? model.keys(texts, ForwardPass()) : model.queries(atEndsOf: texts, ForwardPass())
            let found = try bank.nearest(query, count: 1, in: BankFilter(.one(Biographies.namespace)), generation: try makeEncoder().generation)
            guard let best = found[0].first, let record = try bank.records(ofRows: [best.id])[0], case .text(let value) = record.value else {
                throw UserError(.missingInput, "holds no facts", at: path, advice: "put some, or build it with mneme memory build")
            }
            return Explanation(
                input: [String(line)], answer: value, notes: ["\(record.id), version \(record.version), likeness \(String(format: "%.4f", best.score))"], pictures: [])
        }
    }

    /// The answer of a model that sums the records of the run's bank out. The best of them, and how alike its key is, stands in the notes.
    private func answerByMarginal(_ question: [Int32], _ line: String, _ model: MarginalLanguageModel) throws -> Explanation {
        let path = FactBank.directory(ofRun: directory ?? configuration.directory)
        guard let (value, nats, best) = try answer(question, model, MemoryBank(path)) else {
            throw UserError(.missingInput, "holds no facts in words of biographies", at: path, advice: "put some, or build it with mneme memory build")
        }
        let (name, attribute) = (Biographies.text(best.question.dropFirst().dropLast()), Biographies.text(best.question.suffix(1)))
        let note = "\(name) | \(attribute) -> \(Biographies.text(best.value)), likeness \(String(format: "%.4f", best.likeness))"
        return Explanation(input: [line], answer: Biographies.text(value), probability: exp(-nats), notes: [note], pictures: [])
    }

    /// The likeliest symbols of the value, one after the other.
    private func answerByHeart(_ question: [Int32], _ line: String, _ model: DecoderOnlyTransformer) -> Explanation {
        var (sequence, probability) = (question, 1.0)
        let count = BiographyAttribute.asked(by: question).map(\.valueLength) ?? 1
        for _ in 0..<count {
            let logits = model.logits(Tensor(rows: [sequence]), ForwardPass())
            let last = logits.viewed(as: [sequence.count, logits.shape.columns]).rows([sequence.count - 1])
            let best = last.largest(inRow: 0)
            let total = (0..<last.count).reduce(0.0) { $0 + exp(Double(last.floats[$1] - last.floats[best])) }
            probability /= total
            sequence.append(Int32(best))
        }
        return Explanation(input: [line], answer: Biographies.text(sequence.suffix(count)), probability: probability, pictures: [])
    }
}
