// A language model made by hand: the next token's logits are a function of the prompt and the tokens so far.

import Models
import NeuralNetworks
import Tensors

/// Decodes from a function. Its decoder checks that it is used as the protocol says.
class TableModel {
    let store = ParameterStore()
    let vocabularySize: Int
    let maximumLength: Int?
    private let logits: (_ prompt: [Int32], _ output: [Int32]) -> [Float]
    /// The calls of `advance` so far, and the rows they had.
    private(set) var advances: [Int] = []

    /// - Parameter logits: of the token after `output`, which follows `prompt` (a decoder-only model) or translates it.
    fileprivate init(vocabularySize: Int, context: Int?, logits: @escaping (_ prompt: [Int32], _ output: [Int32]) -> [Float]) {
        self.vocabularySize = vocabularySize
        maximumLength = context
        self.logits = logits
    }

    /// A model of text, or of pairs.
    static func reading(
        pairs: Bool, vocabularySize: Int, context: Int? = nil, logits: @escaping (_ prompt: [Int32], _ output: [Int32]) -> [Float]
    ) -> any LanguageModel & TableModel {
        pairs
            ? PairTable(vocabularySize: vocabularySize, context: context, logits: logits)
            : TextTable(vocabularySize: vocabularySize, context: context, logits: logits)
    }

    /// True for a model of pairs.
    fileprivate var readsSources: Bool { false }

    static let startToken: Int32 = 1

    func startDecoding(_ prompts: [[Int32]], maximumNewTokens: Int) -> any IncrementalDecoder { Decoder(self, prompts, maximumNewTokens) }

    private final class Decoder: IncrementalDecoder {
        let model: TableModel
        var prompts: [[Int32]]
        var read: [[Int32]]
        var advancesLeft: Int
        var firstLogits: Tensor? { !model.readsSources ? logits() : nil }

        init(_ model: TableModel, _ prompts: [[Int32]], _ maximumNewTokens: Int) {
            self.model = model
            self.prompts = prompts
            read = prompts.map { _ in [] }
            advancesLeft = maximumNewTokens
        }

        func logits() -> Tensor {
            let skipped = model.readsSources ? 1 : 0
            let rows = prompts.indices.map { model.logits(prompts[$0], Array(read[$0].dropFirst(skipped))) }
            return Tensor(rows.flatMap { $0 }, [prompts.count, model.vocabularySize])
        }

        func advance(_ tokens: [Int32]) -> Tensor {
            precondition(tokens.count == prompts.count, "\(tokens.count) tokens for \(prompts.count) sequences")
            precondition(advancesLeft > 0, "more steps than were announced")
            advancesLeft -= 1
            model.advances.append(tokens.count)
            for (row, token) in tokens.enumerated() {
                precondition(token >= 0 && token < model.vocabularySize, "token \(token)")
                if read[row].isEmpty && model.readsSources { precondition(token == TableModel.startToken, "decoding starts with \(token)") }
                read[row].append(token)
                let positions = read[row].count + (!model.readsSources ? prompts[row].count : 0)
                precondition(positions <= model.maximumLength ?? .max, "position \(positions) of a context of \(model.maximumLength ?? .max)")
            }
            return logits()
        }

        func reorder(_ parents: [Int]) {
            prompts = parents.map { prompts[$0] }
            read = parents.map { read[$0] }
        }
    }
}

private final class TextTable: TableModel, TextLanguageModel {
    func loss(_ batch: TokenBatch, _ pass: ForwardPass) -> SummedLoss { fatalError("a table is not trained") }
    func logits(_ inputs: Tensor, _ pass: ForwardPass) -> Tensor { fatalError("a table is read step by step") }
}

private final class PairTable: TableModel, PairLanguageModel {
    override var readsSources: Bool { true }
    func loss(_ batch: SequencePairBatch, _ pass: ForwardPass) -> SummedLoss { fatalError("a table is not trained") }
}

/// Logits that are a fixed but irregular function of everything before: normal, times `spread`.
func irregularLogits(_ vocabularySize: Int, seed: UInt64, spread: Float = 1.5) -> (_ prompt: [Int32], _ output: [Int32]) -> [Float] {
    { prompt, output in
        var key = mixKeys(seed)
        for token in prompt + [-1] + output { key = mixKeys(key, UInt64(bitPattern: Int64(token))) }
        var random = RandomStream(key: key)
        return (0..<vocabularySize).map { _ in spread * random.nextNormal() }
    }
}

/// Log probabilities in float64.
func logSoftmax(_ logits: [Float]) -> [Double] {
    let largest = Double(logits.max() ?? 0)
    let sum = logits.reduce(0.0) { $0 + exponential(Double($1) - largest) }
    return logits.map { Double($0) - largest - logarithm(sum) }
}
