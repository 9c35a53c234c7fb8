// What a rank keeps of the state that another rank alone has, so that it is not lost with that rank.

import Checkpoints
import Collectives
import Corpora
import Diagnostics
import Optimizers

/// What each rank alone has of the state after a finished step (its lanes' memory, what rounding has left of its groups' gradients, its share of the
/// optimizer's state and of the parameters that it updates, where its lanes stand in the corpus), kept by itself and by the next rank.
///
/// A step counts as finished when all ranks have agreed that copies are made. Whoever is left of the ranks then has the whole state of the last
/// finished step, unless two neighbours are lost at once: replicated state is in every rank's memory.
///
/// Costs a copy of that state in memory twice, its bytes once over the network a step, and one agreement.
///
/// - Source: copies in the memory of a partner: Zheng et al., "FTC-Charm++", 2004; Wang et al., "GEMINI", 2023.
final class PartnerCopies {
    /// What one rank alone has.
    private struct Holding {
        var position: LoaderPosition
        /// Of each item its rows, ascending, and their bytes.
        var items: [(rows: [Range<Int>], bytes: ArraySlice<UInt8>)]

        /// As numbers and bytes, all lengths first.
        var encoded: [UInt8] {
            let position = position.encoded
            var numbers = [Int64(position.count)] + position
            for item in items {
                numbers += [Int64(item.bytes.count), Int64(item.rows.count)] + item.rows.flatMap { [Int64($0.lowerBound), Int64($0.upperBound)] }
            }
            let head = [Int64(numbers.count)] + numbers
            return head.withUnsafeBytes { Array($0) } + items.flatMap(\.bytes)
        }

        init(position: LoaderPosition, items: [CheckpointItem]) {
            self.position = position
            self.items = items.map { item in (item.heldRows, item.withBytes { Array($0) }[...]) }
        }

        /// What ``encoded`` gave.
        init(encoded bytes: [UInt8], itemCount: Int) {
            func number(_ index: Int) -> Int { bytes.withUnsafeBytes { Int($0.loadUnaligned(fromByteOffset: 8 * index, as: Int64.self)) } }
            var next = 1
            func take() -> Int {
                defer { next += 1 }
                return number(next)
            }
            let numbers = (0..<take()).map { _ in Int64(take()) }
            guard let position = LoaderPosition(encoded: numbers) else { preconditionFailure("a partner's position cannot be read") }
            self.position = position
            var start = 8 * (1 + number(0))
            items = []
            for _ in 0..<itemCount {
                let (byteCount, rowCount) = (take(), take())
                items.append(((0..<rowCount).map { _ in take()..<take() }, bytes[start..<start + byteCount]))
                start += byteCount
            }
        }
    }

    private let communicator: any Communicator
    private let loader: TaskLoader
    /// The items that are held by rows, in the same order on every rank.
    private let items: [StateItem]
    private let counters: CounterState
    /// The last finished step; `nil` before the first of the session.
    private(set) var step: Int?
    private var own: Holding?
    /// The encoded holding of the rank before this one.
    private var ward: [UInt8] = []
    private var plateau: PlateauState?

    /// - Parameters:
    ///   - items: what ranks hold by rows, the same names in the same order on each.
    ///   - counters: whose schedule goes back to the finished step.
    init(_ items: [StateItem], loader: TaskLoader, counters: CounterState, communicator: any Communicator) {
        (self.items, self.loader, self.counters, self.communicator) = (items, loader, counters, communicator)
    }

    /// Makes the copies of a step that is computed, and counts it as finished when all ranks have them. Collective.
    /// - Throws: `UserError` (.unavailable) where a rank was lost; the step before is the last finished one then, on every rank.
    func finish(_ step: Int) throws {
        let mine = Holding(position: loader.position, items: try items.map { try $0.checkpointItem() })
        let received = try exchange(mine.encoded)
        guard try communicator.agrees(true) else { throw Self.lost(during: step) }
        (own, ward, self.step, plateau) = (mine, received, step, counters.plateau)
    }

    /// The error of ranks that did not agree.
    static func lost(during step: Int) -> UserError {
        UserError(.unavailable, "a rank was lost during step \(step)", advice: "start again: the run goes on from its last checkpoint")
    }

    /// Gives bytes to the next rank, and takes those of the one before.
    private func exchange(_ outgoing: [UInt8]) throws -> [UInt8] {
        let (next, before) = ((communicator.rank + 1) % communicator.size, (communicator.rank + communicator.size - 1) % communicator.size)
        func pass(_ outgoing: [UInt8], count: Int) throws -> [UInt8] {
            // Where the next rank is lost, its library may still read what was sent to it: that memory is given up then.
            let sent = UnsafeMutableRawBufferPointer.allocate(byteCount: outgoing.count, alignment: 16)
            sent.copyBytes(from: outgoing)
            var incoming = [UInt8](repeating: 0, count: count)
            try incoming.withUnsafeMutableBytes { incoming in
                try communicator.startMessages([Message(partner: next, bytes: sent)], [Message(partner: before, bytes: incoming)], tag: 1).wait()
            }
            sent.deallocate()
            return incoming
        }
        let length = try pass(withUnsafeBytes(of: Int64(outgoing.count)) { Array($0) }, count: 8)
        return try pass(outgoing, count: Int(length.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }))
    }

    /// What this rank has to save of the last finished step, now that ranks are lost and the communicator is that of those who are left. Collective.
    ///
    /// - Parameters:
    ///   - replicated: items that every rank has, which nobody has changed since that step; those that are held by rows are left out of it.
    ///   - before: this rank's number before, and how many ranks there were.
    ///   - left: the numbers that those who are left had.
    ///   - laneCount: L.
    /// - Returns: `nil`, on every rank, where a part of the state is lost.
    func items(
        replicated: [StateItem], before: (rank: Int, size: Int), left: [Int], laneCount: Int, _ communicator: any Communicator
    ) throws -> [CheckpointItem]? {
        let steps = try communicator.allReduced([Int64(step ?? -1), -Int64(step ?? -1)], .maximum)
        guard steps[0] == -steps[1], steps[0] > 0, let own else { return nil }
        var holdings = [own]
        if !left.contains((before.rank + before.size - 1) % before.size) { holdings.append(Holding(encoded: ward, itemCount: items.count)) }
        counters.plateau = plateau

        var position = own.position
        for holding in holdings.dropFirst() { position.merge(holding.position) }
        for bytes in try communicator.allGather(position.encoded.withUnsafeBytes { Array($0) }) {
            let numbers = bytes.withUnsafeBytes { Array($0.bindMemory(to: Int64.self)) }
            guard let other = LoaderPosition(encoded: numbers) else { preconditionFailure("a rank sent a position that cannot be read") }
            position.merge(other)
        }
        var saved: [CheckpointItem] = []
        for (index, item) in items.enumerated() { saved.append(try item.checkpointItem().joining(holdings.map { $0.items[index] })) }
        let held = try communicator.allReduced(saved.map { Int64($0.heldRows.reduce(0) { $0 + $1.count }) }, .sum)
        guard zip(saved, held).allSatisfy({ $0.rowCount == $1 }), position.lanes.isEmpty || position.lanes.count == laneCount else { return nil }

        let names = Set(items.map(\.name))
        let encodedPosition = position.encoded
        for item in replicated where !names.contains(item.name) {
            saved.append(item.name == LoaderState.itemName ? CheckpointItem(item.name, .int64, elements: encodedPosition) : try item.checkpointItem())
        }
        return saved
    }
}
