// A language model that answers with any of the best records of a bank, and learns from answers alone which they are.
//
// Legend: Q questions, U positions of a question, K records of each, W width of keys, D width, V vocabulary; x a question, z a record, y an answer.

import Configuration
import Diagnostics
import NeuralNetworks
import Tensors

/// How a model learns from answers alone which records to ask for.
public struct MarginalConfiguration: Sendable, Equatable {
    /// What is summed out of what.
    public var form: MarginalForm
    /// K.
    public var records: Int
    /// The weight of the key of a question's own words in its query.
    public var wordWeight: Float

    /// - Parameters:
    ///   - records: K, at least 1.
    ///   - wordWeight: 0 for queries of the model alone.
    public init(form: MarginalForm = .sequence, records: Int = 8, wordWeight: Float = 1) {
        (self.form, self.records, self.wordWeight) = (form, records, wordWeight)
    }

    /// Reads the section `model`'s keys of answers from records.
    /// - Throws: `UserError` (.configuration).
    init(_ section: ConfigurationSection, _ form: MarginalForm) throws {
        self.init(
            form: form,
            records: try section.int("records", "The best records for a question, with each of which it is answered.", default: 8, in: 1...1024),
            wordWeight: try section.float(
                "wordWeight",
                "The weight of the key of a question's own words in its query, beside what the model makes of it; 0 for the model alone.",
                default: 1, in: 0...1000))
    }
}

/// The best records for some questions.
public struct RetrievedRecords {
    /// float32 [Q, K, W].
    public var keys: Tensor
    /// The tokens of each: Q K of them, question by question.
    public var texts: [[Int32]]

    /// There is a text for each key.
    public init(keys: Tensor, texts: [[Int32]]) {
        require(keys.shape.rank == 3 && texts.count == keys.shape[0] * keys.shape[1], "keys \(keys.shape) of \(texts.count) records")
        (self.keys, self.texts) = (keys, texts)
    }
}

/// Questions with their answers, and the records that may help with them.
public struct QuestionBatch {
    /// The tokens of questions, all of U tokens, the first one a mark that texts begin with: Q of them.
    public var questions: [[Int32]]
    /// The keys of the questions' words, by the encoder of the records' keys: float32 [Q, W].
    public var words: Tensor
    /// The tokens of answers, Q of them.
    public var answers: [[Int32]]
    /// The records nearest to queries [Q, W], as many of each as asked for, or all.
    public var find: (_ queries: Tensor, _ count: Int) -> RetrievedRecords

    /// There are a key of words and an answer for each question.
    public init(questions: [[Int32]], words: Tensor, answers: [[Int32]], find: @escaping (_ queries: Tensor, _ count: Int) -> RetrievedRecords) {
        require(
            answers.count == questions.count && words.shape.rank == 2 && words.shape[0] == questions.count,
            "\(questions.count) questions, \(answers.count) answers, words \(words.shape)")
        (self.questions, self.words, self.answers, self.find) = (questions, words, answers, find)
    }
}

/// A decoder that finds records by a query and answers with each of them before it: the probability of an answer is the sum over records.
///
/// The query is a linear map of the decoder's last hidden state at the end of the question, of length 1, to which the key of the question's own
/// words may be added. p(z | x) = softmax(q . k / temperature) over the K records that score best; p(y | x, z) is the decoder's, which reads the
/// record, the question and the answer as one text. The loss is -log of the marginal p(y | x): whether a record was right is told by nothing but how
/// well the answer is said with it. Gradients reach the query and the decoder; the records' keys stay as they are.
///
/// - Source: Lewis et al. 2020, "Retrieval-augmented generation for knowledge-intensive NLP tasks" (arXiv 2005.11401), sections 2.1 to 2.4.
public final class MarginalLanguageModel: TrainableModel {
    public let decoder: DecoderOnlyTransformer
    public let configuration: LookupConfiguration
    public let marginal: MarginalConfiguration
    public var store: ParameterStore { decoder.store }

    private let query: UnitProjection

    /// Declares the decoder's parameters, then `query`. The caller allocates.
    public init(
        _ transformer: TransformerConfiguration, _ configuration: LookupConfiguration, _ marginal: MarginalConfiguration, vocabularySize: Int
    ) {
        decoder = DecoderOnlyTransformer(transformer, vocabularySize: vocabularySize)
        (self.configuration, self.marginal) = (configuration, marginal)
        query = UnitProjection(decoder.store, "query", inputs: transformer.width, outputs: configuration.keyWidth)
    }

    /// The queries of questions, all of U tokens, whose words have the keys [Q, W]: float32 [Q, W], of length 1.
    public func queries(_ questions: [[Int32]], words: Tensor, _ pass: ForwardPass) -> Tensor {
        let texts = Tensor(questions.flatMap(\.self), [questions.count, questions.first?.count ?? 0])
        let learned = query(decoder.hidden(texts, pass), at: texts.lastPositions, pass)
        return marginal.wordWeight == 0 ? learned : query.unit(learned + words.scaled(by: marginal.wordWeight))
    }

    /// The loss of answers; `perPosition` is of questions, [Q].
    public func loss(_ batch: QuestionBatch, _ pass: ForwardPass) -> SummedLoss {
        let queries = queries(batch.questions, words: batch.words, pass)
        let records = batch.find(queries, marginal.records)
        let (count, width) = (records.keys.shape[1], records.keys.shape[2])
        let scores = matmul(queries.reshaped(to: [batch.questions.count, 1, width]), records.keys, transposeB: true)
        return loss(batch.answers, batch.questions, records.texts, likeness: scores.reshaped(to: [batch.questions.count, count]), pass)
    }

    /// The loss of answers beside records that are found already.
    /// - Parameters:
    ///   - records: the tokens of Q K records, question by question.
    ///   - likeness: of the queries and the keys, [Q, K]; -infinity where there is no record.
    public func loss(_ answers: [[Int32]], _ questions: [[Int32]], _ records: [[Int32]], likeness: Tensor, _ pass: ForwardPass) -> SummedLoss {
        loss(answers, questions, records, likeness: likeness, form: marginal.form, pass)
    }

    func loss(
        _ answers: [[Int32]], _ questions: [[Int32]], _ records: [[Int32]], likeness: Tensor, form: MarginalForm, _ pass: ForwardPass
    ) -> SummedLoss {
        let count = likeness.shape[1]
        let texts = records.enumerated().map { place, record in
            Self.text(record, questions[place / count]) + answers[place / count].dropLast()
        }
        let logits = logits(texts, last: records.indices.map { answers[$0 / count].count }, pass)
        let longest = answers.map(\.count).max() ?? 0
        let targets = answers.flatMap { $0 + [Int32](repeating: -1, count: longest - $0.count) }
        return marginalCrossEntropy(
            logits, scores: likeness.scaled(by: 1 / configuration.temperature), targets: Tensor(targets, [answers.count, longest]), form: form)
    }

    /// What the decoder reads before an answer: the record, and the question without its mark.
    static func text(_ record: [Int32], _ question: [Int32]) -> [Int32] { record + question.dropFirst() }

    /// The logits of what follows each of the last positions of texts: [R, V], text by text.
    /// - Parameter counts: how many positions of each.
    func logits(_ texts: [[Int32]], last counts: [Int], _ pass: ForwardPass) -> Tensor {
        let length = texts.map(\.count).max() ?? 0
        var (inputs, places): ([Int32], [Int]) = ([], [])
        for (row, (text, count)) in zip(texts, counts).enumerated() {
            inputs += text + [Int32](repeating: 0, count: length - text.count)
            places += (text.count - count..<text.count).map { row * length + $0 }
        }
        return decoder.logits(ofHidden: decoder.hidden(Tensor(inputs, [texts.count, length]), pass).gatheredRows(places), pass)
    }
}
