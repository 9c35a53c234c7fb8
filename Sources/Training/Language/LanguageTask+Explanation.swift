// What a language model's memory did while it read: a piece of the held-out corpus, or a text that a person gives.
//
// Legend: T positions, V vocabulary.

import Corpora
import Diagnostics
import Evaluation
import Foundation
import Models
import NeuralNetworks
import Sharding
import Tensors

extension LanguageTask {
    /// Piece `number` of the validation corpus: so many tokens of a text as a batch has, read from what came before where the run carries memory on;
    /// or a pair. The answer is the likeliest token after the text, or at each place of the target.
    /// - Throws: `UserError`: a model without a memory, no validation corpus, no such piece (.usage); a corpus that does not fit.
    public func example(_ number: Int) throws -> Explanation {
        let model = try reader()
        guard let directory = settings.corpus.validation else {
            throw UserError(
                .usage, "the run has no corpus.validation to take an example from", at: configuration.directory, advice: "give a text with --prompt")
        }
        let corpus = try Corpus(directory: directory)
        guard corpus.tokenizerFingerprint == tokenizer.fingerprint else {
            throw UserError(
                .configuration, "its tokenizer is not the run's", at: directory, advice: "shard it with the tokenizer.model of the run directory")
        }
        let (batch, memory) = try corpus.kind == .text ? textPiece(number, corpus, model) : (pair(number, corpus, model), CarriedMemory([:]))
        let read = try reading(batch.inputs, by: model, from: memory)
        let targets = batch.targets.integerArray
        let asked = corpus.kind == .text ? [targets.count - 1] : targets.indices.filter { targets[$0] >= 0 }
        let answers = asked.map { read.likeliest(after: $0) }
        return Explanation(
            input: tokenizer.decode(batch.inputs.integerArray).split(separator: "\n", omittingEmptySubsequences: false).map(String.init),
            answer: tokenizer.decode(answers.map(\.token)), expected: tokenizer.decode(asked.map { targets[$0] }),
            probability: answers.count == 1 ? answers[0].probability : nil, pictures: read.pictures)
    }

    public func explanation(of text: String) throws -> Explanation {
        let model = try reader()
        let text = LanguageRun(self, configuration).cleaned(text.trimmingCharacters(in: .newlines), CorpusFormat.text.profile, isSource: false)
        let tokens = tokenizer.encode(text)
        guard !tokens.isEmpty else { throw UserError(.badData, "the text holds no words", advice: "give some text to read") }
        let read = try reading(Tensor(tokens, [1, tokens.count]), by: model, from: CarriedMemory([:]))
        let answer = read.likeliest(after: tokens.count - 1)
        return Explanation(
            input: text.split(separator: "\n").map(String.init), answer: tokenizer.piece(answer.token), probability: answer.probability,
            pictures: read.pictures)
    }

    /// What reading gives.
    private struct Reading {
        /// [T, V].
        let logits: Tensor
        let pictures: [MemoryTrace.Picture]

        func likeliest(after position: Int) -> (token: Int32, probability: Double) {
            let count = logits.shape.columns
            let row = softmax(Tensor(Array(UnsafeBufferPointer(start: logits.floats + position * count, count: count)), [1, count]))
            let token = row.largest(inRow: 0)
            return (Int32(token), Double(row.floats[token]))
        }
    }

    /// - Throws: `UserError` (.usage) for a model that has no memory to show.
    private func reader() throws -> any TextLanguageModel {
        guard case .text(let model) = languageModel.form, !model.memory.isEmpty else {
            throw UserError(
                .usage, "its model, \(settings.modelKind), has no memory that could be shown", at: place,
                advice: "use mneme generate or mneme evaluate")
        }
        return model
    }

    /// Reads int32 [1, T] with a trace; pictures are labelled with the pieces.
    /// - Throws: `UserError` (.usage) where the model draws nothing.
    private func reading(_ inputs: Tensor, by model: any TextLanguageModel, from memory: CarriedMemory) throws -> Reading {
        let trace = MemoryTrace()
        let logits = model.logits(inputs, ForwardPass(memory: memory, trace: trace))
        guard !trace.pictures.isEmpty else {
            throw UserError(
                .usage, "its model, \(settings.modelKind), draws no pictures of its memory", at: place,
                advice: "use mneme memory inspect or mneme generate")
        }
        let pieces = inputs.integerArray.map(tokenizer.piece)
        return Reading(logits: logits.reshaped(to: [pieces.count, model.vocabularySize]), pictures: trace.pictures.map { $0.labelled("step", pieces).labelled("word", pieces) })
    }

    /// T tokens of a text, and what the model remembers from those before.
    private func textPiece(_ number: Int, _ corpus: Corpus, _ model: any TextLanguageModel) throws -> (TokenBatch, CarriedMemory) {
        let loader = try SequentialTextLoader(corpus, lanes: 1, length: configuration.batch.length)
        try require(number, of: loader.stepCount, corpus)
        var memory = CarriedMemory([:])
        if settings.model.carriesMemory {
            for _ in 0..<number {
                _ = model.loss(TokenBatch(try loader.batch(lanes: [0])), ForwardPass(memory: memory))
                memory = CarriedMemory(memory.after)
                loader.advance()
            }
        } else {
            try loader.seek(to: LoaderPosition(global: [Int64(number)]))
        }
        let text = try loader.batch(lanes: [0])
        // The last piece may be shorter.
        let count = text.targetCount
        return (
            TokenBatch(
                lanes: [0], inputs: Tensor(Array(text.inputs[..<count]), [1, count]), targets: Tensor(Array(text.targets[..<count]), [1, count])),
            memory
        )
    }

    private func pair(_ number: Int, _ corpus: Corpus, _ model: any TextLanguageModel) throws -> TokenBatch {
        let loader = try SequentialPairLoader(corpus, lanes: 1, limits: PairLimits(corpus, length: configuration.batch.length))
        try require(number, of: loader.stepCount, corpus)
        try loader.seek(to: LoaderPosition(global: [Int64(number)]))
        let prompt = try loader.promptBatch(lanes: [0])
        return TokenBatch(lanes: [0], inputs: Tensor(prompt.inputs, [1, prompt.length]), targets: Tensor(prompt.targets, [1, prompt.length]))
    }

    private func require(_ number: Int, of count: Int, _ corpus: Corpus) throws {
        guard number < count else {
            throw UserError(.usage, "it has \(count) pieces, numbered from 0", at: corpus.directory, advice: "choose a smaller --example")
        }
    }
}

extension MemoryTrace.Picture {
    /// The same picture with the names of what an axis counts, where it has no other labels. A picture of fewer columns is of the last ones.
    func labelled(_ axis: String, _ labels: [String]) -> MemoryTrace.Picture {
        var picture = self
        if rowAxis == axis, rows == labels.count { picture.rowLabels = labels }
        if columnAxis == axis, columnLabels.isEmpty, columns <= labels.count { picture.columnLabels = labels.suffix(columns) }
        return picture
    }
}
