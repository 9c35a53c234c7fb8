// A text that a person gives, and what a language model's memory did with it.

import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Tensors

extension LanguageTask {
    /// Runs a text through the model with a trace. The words of a picture are labelled with their pieces.
    ///
    /// - Returns: the text, the likeliest next piece with its probability, and what the memory did up to there.
    /// - Throws: `UserError` (.usage, .badData) for a model that reads pairs or shows no memory, and for a text of no words.
    public func explanation(of text: String) throws -> Explanation {
        guard languageModel.inputKind == .tokens else {
            throw UserError(
                .usage, "its model, \(settings.modelKind), reads pairs of texts", at: place, advice: "use mneme translate, summarize or answer")
        }
        let tokens = Array(tokenizer.encode(text.trimmingCharacters(in: .newlines)).suffix(languageModel.maximumLength ?? .max))
        guard !tokens.isEmpty else { throw UserError(.badData, "the text holds no words", advice: "give some text to read") }
        let trace = MemoryTrace()
        let row: Shape = [1, tokens.count]
        let batch = TokenBatch(lanes: [0], inputs: Tensor(tokens, row), targets: Tensor([Int32](repeating: 0, count: tokens.count), row))
        _ = languageModel.loss(.tokens(batch), ForwardPass(trace: trace))
        guard !trace.pictures.isEmpty, let logits = languageModel.startDecoding([tokens], maximumNewTokens: 1).firstLogits else {
            throw UserError(
                .usage, "its model, \(settings.modelKind), draws no pictures of its memory", at: place,
                advice: "use mneme memory inspect or mneme generate")
        }
        let probabilities = softmax(logits)
        var best = 0
        for id in 1..<max(1, languageModel.vocabularySize) where probabilities.floats[id] > probabilities.floats[best] { best = id }
        let pictures = trace.pictures.map { picture in
            guard picture.columnAxis == "word", picture.columnLabels.isEmpty, picture.columns <= tokens.count else { return picture }
            var labelled = picture
            labelled.columnLabels = tokens.suffix(picture.columns).map { tokenizer.piece($0) }
            return labelled
        }
        return Explanation(
            input: text.split(separator: "\n").map(String.init), answer: tokenizer.piece(Int32(best)),
            probability: Double(probabilities.floats[best]), pictures: pictures)
    }
}
