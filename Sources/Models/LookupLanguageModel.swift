// A language model that looks facts up instead of learning them by heart.
//
// Legend: B sequences (one a lane), T positions, D width, W width of keys, F lookups of a batch, K keys of a batch, U positions of a question.

import Configuration
import Diagnostics
import NeuralNetworks
import Tensors

/// Sequences in which some tokens are looked up, and the keys that their lookups should find.
public struct LookupBatch {
    /// The sequences. Tokens that a lookup puts in have no target.
    public var text: TokenBatch
    /// The positions that look something up, among all B T, ascending: [F].
    public var lookups: [Int]
    /// int32 [K, U]: what keys are made from. The first F are those that the lookups should find, in their order; the others are found by none.
    public var keys: Tensor

    /// F <= K.
    public init(text: TokenBatch, lookups: [Int], keys: Tensor) {
        require(
            keys.shape.rank == 2 && keys.shape[0] >= lookups.count && lookups.allSatisfy { (0..<text.inputs.count).contains($0) },
            "\(lookups.count) lookups in \(text.inputs.count) positions, keys \(keys.shape)")
        (self.text, self.lookups, self.keys) = (text, lookups, keys)
    }
}

/// What teaches a model which record to choose.
private enum LookupLoss: String, CaseIterable {
    /// The right key among those of the batch.
    case contrastive
    /// Answers alone; see ``MarginalForm``.
    case sequence, token
}

/// What a lookup model has beside its Transformer.
public struct LookupConfiguration: Sendable, Equatable {
    /// W.
    public var keyWidth: Int
    /// What cosines are divided by, to choose a key.
    public var temperature: Float
    /// The weight of choosing keys beside that of predicting tokens.
    public var weight: Float
    /// How the choice is learned from answers alone; `nil` where the right key is told.
    public var marginal: MarginalConfiguration?

    /// Keys of `keyWidth` numbers; the rest as published or usual.
    public init(keyWidth: Int, temperature: Float = 0.05, weight: Float = 0.25, marginal: MarginalConfiguration? = nil) {
        (self.keyWidth, self.temperature, self.weight, self.marginal) = (keyWidth, temperature, weight, marginal)
    }

    /// Reads the section `model`'s keys of lookups.
    /// - Throws: `UserError` (.configuration).
    public init(_ section: ConfigurationSection, width: Int) throws {
        let loss = try section.choice(
            "lookupLoss",
            "What teaches which record to choose: the right one among the keys of the batch, or answers alone, with the records summed out of whole answers "
                + "(sequence) or of each token (token).", default: LookupLoss.contrastive)
        self.init(
            keyWidth: try section.int("keyWidth", "Numbers of a key.", default: width, defaultText: "model.width", in: SizeLimits.width),
            temperature: try section.float(
                "temperature", "What the cosines of a query and keys are divided by.", default: 0.05, in: 0.001...1000))
        if let form = MarginalForm(rawValue: loss.rawValue) {
            marginal = try MarginalConfiguration(section, form)
        } else {
            weight = try section.float(
                "lookupWeight", "The weight of choosing the right key beside that of predicting the next token.", default: 0.25, in: 0...1000)
        }
    }
}

/// A decoder whose hidden state at some positions asks a bank of records: the value of the record whose key is most like the query stands next in the
/// text. Values are never predicted, so they need not be learned.
///
/// Queries and keys are two linear maps of the decoder's last hidden state, of length 1: the query at the position that asks, the key at the last position of
/// a short text that says what is asked. The loss is the mean cross-entropy of the tokens that were not looked up, plus the weighted mean of
/// -log softmax(q . k / temperature) of the right key among all keys of the batch.
///
/// - Source: arXiv 2505.15962, "Pre-training limited memory language models with internal and external knowledge": values stay out of the loss; arXiv
///   2607.07707: hidden states are the queries, and keys are chosen by a contrastive loss of weight 0.25.
public final class LookupLanguageModel: TrainableModel {
    public let decoder: DecoderOnlyTransformer
    public let configuration: LookupConfiguration
    public var store: ParameterStore { decoder.store }

    private let query: UnitProjection
    private let key: UnitProjection

    /// Declares the decoder's parameters, then `query` and `key`. The caller allocates.
    public init(_ transformer: TransformerConfiguration, _ configuration: LookupConfiguration, vocabularySize: Int) {
        decoder = DecoderOnlyTransformer(transformer, vocabularySize: vocabularySize)
        self.configuration = configuration
        query = UnitProjection(decoder.store, "query", inputs: transformer.width, outputs: configuration.keyWidth)
        key = UnitProjection(decoder.store, "key", inputs: transformer.width, outputs: configuration.keyWidth)
    }

    /// The queries at some positions of hidden states [B, T, D]: float32 [F, W], of length 1.
    public func queries(_ hidden: Tensor, at positions: [Int], _ pass: ForwardPass) -> Tensor { query(hidden, at: positions, pass) }

    /// The keys of texts, all of U tokens: int32 [K, U] to float32 [K, W], of length 1.
    public func keys(_ texts: Tensor, _ pass: ForwardPass) -> Tensor { key(decoder.hidden(texts, pass), at: texts.lastPositions, pass) }

    /// The queries at the ends of texts, all of U tokens: int32 [F, U] to float32 [F, W].
    public func queries(atEndsOf texts: Tensor, _ pass: ForwardPass) -> Tensor { query(decoder.hidden(texts, pass), at: texts.lastPositions, pass) }

    /// The loss of tokens and lookups; `negativeLogLikelihood`, `count` and `perPosition` are of tokens alone.
    public func loss(_ batch: LookupBatch, _ pass: ForwardPass) -> SummedLoss {
        pass.resets = batch.text.resets
        let hidden = decoder.hidden(batch.text.inputs, pass)
        let tokens = decoder.loss(ofHidden: hidden, targets: batch.text.targets, pass)
        guard !batch.lookups.isEmpty else { return tokens }
        let choice = lookupLoss(hidden, batch, pass)
        // What a mean over tokens becomes the mean over lookups by.
        let share = configuration.weight * Float(tokens.count) / Float(choice.count)
        return SummedLoss(
            loss: tokens.loss + choice.loss.scaled(by: share), negativeLogLikelihood: tokens.negativeLogLikelihood, count: tokens.count,
            perPosition: tokens.perPosition)
    }

    /// -log softmax(q . k / temperature) of the right keys, summed over the F lookups. Keys that say the same as the right one do not count against it.
    private func lookupLoss(_ hidden: Tensor, _ batch: LookupBatch, _ pass: ForwardPass) -> SummedLoss {
        let count = batch.lookups.count
        let scores = matmul(queries(hidden, at: batch.lookups, pass), keys(batch.keys, pass), transposeB: true)
            .scaled(by: 1 / configuration.temperature)
        let targets = Tensor((0..<count).map { Int32($0) }, [count])
        return crossEntropy(batch.sameKeys.map { scores + $0 } ?? scores, targets: targets)
    }
}

extension LookupBatch {
    /// float32 [F, K]: -1e9 where a key other than the right one says the same as it, 0 elsewhere; `nil` where no two keys say the same.
    var sameKeys: Tensor? {
        let (count, length) = (keys.shape[0], keys.shape[1])
        var places: [[Int32]: [Int]] = [:]
        for key in 0..<count { places[Array(UnsafeBufferPointer(start: keys.integers + key * length, count: length)), default: []].append(key) }
        guard places.count < count else { return nil }
        let mask = Tensor(zeros: [lookups.count, count])
        for same in places.values where same.count > 1 {
            for lookup in same where lookup < lookups.count {
                for key in same where key != lookup { mask.floats[lookup * count + key] = -1e9 }
            }
        }
        return mask
    }
}
