// Silent corruption: now and then each rank computes a part of another rank's step again, and its bits must be those that the other trains with.
//
// Legend: P ranks; rank r looks at rank (r + 1) mod P.

import Collectives
import Diagnostics
import NeuralNetworks
import Tensors

/// The check of one rank on its neighbour. With one rank it is a check on itself: a computation that is repeated.
struct CrossCheck {
    /// Steps between two checks.
    let interval: Int
    /// The lanes of the neighbour's last micro-batch.
    let lanes: [Int]

    /// - Returns: `nil` where the run does not ask for checks.
    /// - Throws: `UserError` (.configuration) as ``LaneOwnership``.
    init?(_ configuration: RunConfiguration, _ communicator: any Communicator, ranksPerNode: Int) throws {
        guard let interval = configuration.parallel.verify else { return nil }
        self.interval = interval
        let (neighbour, _) = try LaneOwnership.divide(
            configuration.batch, reproducible: configuration.parallel.reproducible, rank: (communicator.rank + 1) % communicator.size,
            size: communicator.size, ranksPerNode: ranksPerNode)
        lanes = neighbour.microBatches.last ?? []
    }

    /// Whether a step is checked.
    func isDue(_ step: Int) -> Bool { step % interval == 0 }

    /// Compares what ranks computed of their own part and of their neighbour's. Collective.
    ///
    /// - Parameters:
    ///   - own: the digest of this rank's own part, from the pass that trains.
    ///   - seen: the digest of the neighbour's part, as this rank has computed it.
    /// - Throws: `UserError` (.unavailable), the same on every rank, naming the ranks of which one is faulty: the one rank that every difference has in
    ///   common where there is one.
    static func compare(own: UInt64, seen: UInt64, step: Int, _ communicator: any Communicator) throws {
        let digests = try communicator.allGather([own, seen].withUnsafeBytes { Array($0) }).map { $0.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) } }
        let size = communicator.size
        let pairs = (0..<size).filter { digests[$0][1] != digests[($0 + 1) % size][0] }.map { [$0, ($0 + 1) % size] }
        guard let first = pairs.first else { return }
        let nodes = try communicator.allGather(Array(communicator.nodeName.utf8)).map { String(decoding: $0, as: UTF8.self) }
        func name(_ ranks: some Sequence<Int>, _ joint: String) -> String { ranks.map { "rank \($0) (\(nodes[$0]))" }.joined(separator: joint) }
        let common = pairs.dropFirst().reduce(Set(first)) { $0.intersection($1) }
        let what =
            size == 1
            ? "\(name([0], "")) computes other bits when it repeats a part of the step"
            : pairs.count > 1 && common.count == 1
                ? "\(name(common, "")) computes other bits than both of its neighbours"
                : "\(name(Set(pairs.joined()).sorted(), " and ")) compute different bits of the same part"
        throw UserError(
            .unavailable, "\(what): a processor or its memory is faulty; nothing of this step was kept", at: "step \(step)",
            advice: "leave the node out, and start the run again"
        ).shared
    }
}

extension LaneMemory {
    /// What the neighbour's lanes remember, from the neighbour; this rank's own go the other way. Collective.
    ///
    /// - Parameters:
    ///   - lanes: how many lanes the neighbour's last micro-batch has.
    func exchangeLast(_ lanes: Int, _ communicator: any Communicator) throws -> CarriedMemory? {
        guard !isEmpty, communicator.size > 1 else { return carried(lastMicroBatch) }
        let (rank, size) = (communicator.rank, communicator.size)
        let received = try lastValues.map { declaration, own in
            let values = Tensor(uninitialized: Shape([lanes] + declaration.shape.array))
            func message(_ tensor: Tensor, _ partner: Int) -> Message {
                Message(
                    partner: partner,
                    bytes: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: tensor.floats, count: tensor.shape.count)))
            }
            try communicator.startMessages([message(own, (rank + size - 1) % size)], [message(values, (rank + 1) % size)], tag: 0).wait()
            return (declaration.name, values)
        }
        return CarriedMemory(Dictionary(uniqueKeysWithValues: received))
    }
}
