// A held-out piece of a corpus, and what the memory of a recurrent language model did while it was read.
//
// Legend: T positions, V vocabulary.

import Corpora
import Diagnostics
import Evaluation
import Models
import NeuralNetworks
import Tensors

extension LanguageTask {
    /// Piece `number` of the validation corpus: so many tokens of a text as a batch has, read from what came before where the run carries memory on; or a
    /// pair. The answer is the likeliest token after the text, or at each place of the target.
    /// - Throws: `UserError`: a model without a memory, no validation corpus, no such piece (.usage); a corpus that does not fit.
    public func example(_ number: Int) throws -> Explanation {
        guard let model = languageModel as? RecurrentLanguageModel else {
            throw UserError(
                .usage, "its model, \(settings.modelKind), has no memory that could be shown", at: configuration.directory,
                advice: "use mneme generate or mneme evaluate")
        }
        guard let directory = settings.corpus.validation else {
            throw UserError(.usage, "the run has no corpus.validation to take an example from", at: configuration.directory, advice: "use mneme generate")
        }
        let corpus = try Corpus(directory: directory)
        guard corpus.tokenizerFingerprint == tokenizer.fingerprint else {
            throw UserError(
                .configuration, "its tokenizer is not the run's", at: directory, advice: "shard it with the tokenizer.model of the run directory")
        }
        let (batch, memory) = try corpus.kind == .text ? textPiece(number, corpus, model) : (pair(number, corpus, model), CarriedMemory([:]))
        let trace = MemoryTrace()
        let (ids, targets) = (batch.inputs.integerArray, batch.targets.integerArray)
        let logits = model.logits(batch.inputs, ForwardPass(memory: memory, trace: trace)).reshaped(to: [ids.count, model.vocabularySize])
        let asked = corpus.kind == .text ? [ids.count - 1] : targets.indices.filter { targets[$0] >= 0 }
        let given = asked.map { Int32(logits.largest(inRow: $0)) }
        let probability = asked.count == 1 ? softmax(logits).floats[asked[0] * model.vocabularySize + Int(given[0])] : nil
        return Explanation(
            input: tokenizer.decode(ids).split(separator: "\n", omittingEmptySubsequences: false).map(String.init),
            answer: tokenizer.decode(given), expected: tokenizer.decode(asked.map { targets[$0] }), probability: probability.map(Double.init),
            pictures: trace.pictures.map { $0.labelled(steps: ids.map(tokenizer.piece)) })
    }

    /// T tokens of a text, and what the model remembers from those before.
    private func textPiece(_ number: Int, _ corpus: Corpus, _ model: RecurrentLanguageModel) throws -> (TokenBatch, CarriedMemory) {
        let loader = try SequentialTextLoader(corpus, lanes: 1, length: configuration.batch.length)
        try require(number, of: loader.stepCount, corpus)
        var memory = CarriedMemory([:])
        if settings.model.carry {
            for _ in 0..<number {
                _ = model.loss(ModelBatch(try loader.batch(lanes: [0])), ForwardPass(memory: memory))
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

    private func pair(_ number: Int, _ corpus: Corpus, _ model: RecurrentLanguageModel) throws -> TokenBatch {
        let loader = try SequentialPairLoader(corpus, lanes: 1, limits: PairLimits(corpus, model: model, length: configuration.batch.length))
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
    /// The same picture with what was read at each step as the labels of the axis that counts steps.
    fileprivate func labelled(steps: [String]) -> MemoryTrace.Picture {
        var picture = self
        if rowAxis == "step", rows == steps.count { picture.rowLabels = steps }
        if columnAxis == "step", columns == steps.count { picture.columnLabels = steps }
        return picture
    }
}
