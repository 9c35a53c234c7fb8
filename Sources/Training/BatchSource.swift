// The training batches of a run: a loader over its corpus, in the form that its model reads.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Models

/// Batches of a corpus for the lanes of this rank.
final class BatchSource: TaskLoader {
    /// One of the loaders of module Corpora, with the kind of batch it gives to the model.
    private enum Loader {
        case text(any LaneLoader<TextBatch>)
        case pairs(PairLoader)
        case prompts(PairLoader)
    }

    private let loader: Loader
    private let laneLoader: any LaneLoader

    /// - Parameter lanes: the lanes of this rank.
    /// - Throws: `UserError` (.configuration) when corpus, model and order do not go together.
    init(corpus: Corpus, settings: CorpusSettings, configuration: RunConfiguration, model: any LanguageModel, lanes: [Int]) throws {
        let batch = configuration.batch
        switch corpus.kind {
        case .text:
            guard model.inputKind == .tokens else { throw ModelFit.wrongModel(corpus) }
            let text: any LaneLoader<TextBatch>
            switch settings.order {
            case .windows: text = try WindowLoader(corpus, lanes: batch.lanes, length: batch.length, seed: configuration.seed)
            case .streams: text = try StreamLoader(corpus, lanes: batch.lanes, owned: lanes, length: batch.length, seed: configuration.seed)
            }
            loader = .text(text)
            laneLoader = text
        case .pairs:
            guard model.inputKind == .pairs || batch.length >= 4 else {
                throw UserError(
                    .configuration, "is \(batch.length): a pair in one row takes 4 positions at least", at: "batch.length", advice: "raise it")
            }
            let pairs = try PairLoader(
                corpus, lanes: batch.lanes, limits: PairLimits(corpus, model: model, length: batch.length), seed: configuration.seed)
            loader = model.inputKind == .pairs ? .pairs(pairs) : .prompts(pairs)
            laneLoader = pairs
        }
    }

    /// The present step's batch for some of this rank's lanes.
    func batch(lanes: [Int]) throws -> ModelBatch {
        switch loader {
        case .text(let loader): ModelBatch(try loader.batch(lanes: lanes))
        case .pairs(let loader): ModelBatch(try loader.batch(lanes: lanes))
        case .prompts(let loader): ModelBatch(try loader.promptBatch(lanes: lanes))
        }
    }

    /// Moves on to the next step.
    func advance() throws { try laneLoader.advance() }

    var position: LoaderPosition { laneLoader.position }

    func seek(to position: LoaderPosition) throws { try laneLoader.seek(to: position) }
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

    /// Goes to a position from the checkpoint at `path`.
    func restore(_ numbers: [Int64], from path: String) throws {
        guard let position = LoaderPosition(encoded: numbers) else {
            throw UserError(.badData, "the checkpoint's loader position cannot be read", at: path, advice: "use an earlier checkpoint")
        }
        try seek(to: position)
    }
}
