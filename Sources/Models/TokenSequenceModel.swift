// A language model that answers at some of the steps of a sequence of symbols: what it predicts there is the answer, not the next symbol.
//
// Legend: B sequences (one a lane), T steps, A steps that are answered, of all sequences, V vocabulary.

import Diagnostics
import NeuralNetworks
import Tensors

/// A language model over the symbols of a task whose answers are classes: its vocabulary is symbols and classes, both counted from 0.
public final class TokenSequenceModel: SequenceAnsweringModel {
    public let form: SequenceModelForm
    /// What reads the symbols.
    public let model: any TextLanguageModel
    public var store: ParameterStore { model.store }
    public var memory: [MemoryDeclaration] { model.memory }

    /// The vocabulary for a form, the larger of its symbols and its classes; `nil` where it does not read symbols and answer classes.
    public static func vocabularySize(_ form: SequenceModelForm) -> Int? {
        guard case .symbols(let symbols) = form.input, case .classes(let classes) = form.output else { return nil }
        return max(symbols, classes)
    }

    /// Makes the model. The caller allocates.
    /// - Precondition: the configuration is of a model of text, and the form has a vocabulary.
    public init(_ configuration: any ModelConfiguration, _ form: SequenceModelForm) {
        guard let size = Self.vocabularySize(form), case .text(let model) = configuration.makeModel(vocabularySize: size).form else {
            preconditionFailure("\(configuration.kind.rawValue) does not read \(form.input) to answer \(form.output)")
        }
        (self.form, self.model) = (form, model)
    }

    public func answers(_ batch: SequenceBatch, _ pass: ForwardPass) -> Tensor {
        let symbols = symbols(batch)
        let logits = model.logits(symbols, pass)
        let rows = batch.answeredRows
        return embedding(logits.reshaped(to: [symbols.count, model.vocabularySize]), Tensor(rows.map { Int32($0) }, [rows.count]))
    }

    /// As `loss(ofAnswers:)`, by the model's own loss, so that what it does in training is done: no logits of steps that are not answered are kept.
    public func loss(_ batch: SequenceBatch, _ pass: ForwardPass) -> SummedLoss {
        guard case .classes(let classes) = batch.targets else { preconditionFailure("a language model answers classes") }
        let targets = batch.counts.indices.map { batch.counts[$0] ? classes.integers[$0] : -1 }
        return model.loss(TokenBatch(lanes: batch.lanes, inputs: symbols(batch), targets: Tensor(targets, classes.shape)), pass)
    }

    private func symbols(_ batch: SequenceBatch) -> Tensor {
        guard case .symbols(let symbols) = batch.inputs else { preconditionFailure("a language model reads symbols") }
        return symbols
    }
}
