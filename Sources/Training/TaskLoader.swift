// The training batches of a run: a loader with the model that takes its batches.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Models

/// The training batches of some lanes, in an order that does not depend on the number of ranks.
public final class TaskLoader {
    private let loader: any LaneLoader
    private let prepare: (_ lanes: [Int]) throws -> PreparedBatch

    /// The batches of a model.
    /// - Parameters:
    ///   - loader: what is saved, and goes on from step to step.
    ///   - batch: the present step's batch for some lanes, in the order given.
    init<Model: TrainableModel>(_ loader: any LaneLoader, for model: Model, batch: @escaping (_ lanes: [Int]) throws -> Model.Batch) {
        self.loader = loader
        prepare = { PreparedBatch(try batch($0), for: model) }
    }

    /// Where the loader stands: a value to save, and to give to `seek` later.
    public var position: LoaderPosition { loader.position }
    /// Goes to a saved position.
    /// - Throws: `UserError(.configuration)` where the position does not fit this loader.
    public func seek(to position: LoaderPosition) throws { try loader.seek(to: position) }
    /// The present step's batch for some lanes, in the order given.
    public func batch(lanes: [Int]) throws -> PreparedBatch { try prepare(lanes) }
    /// Moves on to the next step.
    public func advance() throws { try loader.advance() }
}

extension TaskLoader {
    /// The batches of a corpus, in the form that the model reads.
    /// - Parameter lanes: the lanes of this rank.
    /// - Throws: `UserError` (.configuration) when corpus, model and order do not go together.
    convenience init(corpus: Corpus, settings: CorpusSettings, configuration: RunConfiguration, model: any LanguageModel, lanes: [Int]) throws {
        let batch = configuration.batch
        switch (corpus.kind, model.form) {
        case (.text, _):
            let model = try textModel(model, of: corpus)
            let text: any LaneLoader<TextBatch>
            switch settings.order {
            case .windows: text = try WindowLoader(corpus, lanes: batch.lanes, length: batch.length, seed: configuration.seed)
            case .streams: text = try StreamLoader(corpus, lanes: batch.lanes, owned: lanes, length: batch.length, seed: configuration.seed)
            }
            self.init(text, for: model) { TokenBatch(try text.batch(lanes: $0)) }
        case (.pairs, .pairs(let model)):
            let pairs = try PairLoader(corpus, batch, for: model, seed: configuration.seed)
            self.init(pairs, for: model) { SequencePairBatch(try pairs.batch(lanes: $0)) }
        case (.pairs, .text(let model)):
            guard batch.length >= 4 else {
                throw UserError(
                    .configuration, "is \(batch.length): a pair in one row takes 4 positions at least", at: "batch.length", advice: "raise it")
            }
            let pairs = try PairLoader(corpus, batch, for: model, seed: configuration.seed)
            self.init(pairs, for: model) { TokenBatch(try pairs.promptBatch(lanes: $0)) }
        }
    }
}

extension PairLoader {
    fileprivate convenience init(_ corpus: Corpus, _ batch: BatchSettings, for model: any LanguageModel, seed: UInt64) throws {
        try self.init(corpus, lanes: batch.lanes, limits: PairLimits(corpus, model: model, length: batch.length), seed: seed)
    }
}

extension TaskLoader {
    /// The position of all lanes, those of other ranks included, as numbers for a checkpoint. Collective.
    func encodedPosition(_ communicator: any Communicator) throws -> [Int64] {
        var position = self.position
        if !position.lanes.isEmpty {
            let everyRank = try communicator.allGather(position.encoded.withUnsafeBytes { Array($0) })
            for bytes in everyRank {
                let numbers = bytes.withUnsafeBytes { Array($0.bindMemory(to: Int64.self)) }
                guard let other = LoaderPosition(encoded: numbers) else { preconditionFailure("a rank sent a position that cannot be read") }
                position.merge(other)
            }
        }
        return position.encoded
    }
}
