// The training batches of a run: a loader with the model that takes its batches.

import Collectives
import Corpora
import Diagnostics
import Models

/// The training batches of some lanes, in an order that does not depend on the number of ranks.
public typealias TaskLoader = any LaneLoader<PreparedBatch>

extension LaneLoader {
    /// The same batches together with the model that takes them.
    /// - Parameter batch: the loader's present batch for some lanes, as the model reads it.
    func prepared<Model: TrainableModel>(
        for model: Model, _ batch: @escaping (_ loader: Self, _ lanes: [Int]) throws -> Model.Batch
    ) -> TaskLoader {
        MappedLoader(self) { PreparedBatch(try batch($0, $1), for: model) }
    }

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
