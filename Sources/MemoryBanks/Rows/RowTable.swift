// A table of rows that is committed by increments and owned shard by shard.

import Checkpoints
import Collectives
import Diagnostics
import Storage

/// A segment of a shard's chain, as a manifest lists it.
public struct ChainLink: Sendable, Hashable, Codable {
    /// The segment's name.
    public let segment: String
    /// The commit that wrote it.
    public let commit: Int
    /// Rows that it holds or removes.
    public let rows: Int
    /// Bytes of the rows in it.
    public let bytes: Int
}

/// What one virtual shard consists of: a base and the deltas after it, in order.
public struct ShardChain: Sendable, Hashable, Codable {
    /// The base first.
    public var links: [ChainLink] = []
    /// The hash of what the shard holds, sixteen hexadecimal digits.
    public var digest = hexadecimal(XXHash64().finalized())

    /// The segments' names.
    var segments: [String] { links.map(\.segment) }
}

/// Rows in blocks, blocks in virtual shards; ranks hold the shards in turn.
///
/// Changes stay in memory until ``commit(_:keepingUndo:rebasing:to:_:)`` writes those rows, and only those, as one file for each touched
/// shard. A shard gets a new base when its deltas hold half the bytes of the base, or when there are 16 of them.
public final class RowTable {
    /// Deltas after a base, at most.
    static let longestChain = 16

    /// Its columns, blocks and shards.
    public let layout: RowLayout
    /// The values of rows that were never written; `nil` where such rows do not exist.
    public let generator: (any RowGenerator)?
    /// The chains of all shards, those of other ranks included.
    public private(set) var chains: [ShardChain]
    private let rank: Int
    private let worldSize: Int
    private(set) var blocks: [Int: RowBlock] = [:]

    /// A row before the changes that are not committed yet.
    private enum Before {
        case absent
        case image(RowImage)
        /// A change that is not to be undone, such as a count of uses.
        case notKept
    }
    private var changes: [Int: Before] = [:]

    /// An empty table.
    /// - Parameters:
    ///   - worldSize: at most the number of virtual shards.
    ///   - generator: the values of rows that were never written.
    public init(_ layout: RowLayout, rank: Int = 0, worldSize: Int = 1, generator: (any RowGenerator)? = nil) {
        (self.layout, self.rank, self.worldSize, self.generator) = (layout, rank, worldSize, generator)
        chains = Array(repeating: ShardChain(), count: layout.shards)
    }

    /// Makes sure that a number of ranks can own the shards.
    /// - Throws: `UserError` (.configuration).
    static func requireWorld(_ size: Int, _ layout: RowLayout) throws {
        guard size <= layout.shards else {
            throw UserError(
                .configuration, "\(quantity(size, "rank")) cannot own \(quantity(layout.shards, "virtual shard"))",
                advice: "start at most \(layout.shards) ranks, or make a bank with more shards")
        }
    }

    /// Whether this rank holds a shard.
    public func owns(shard: Int) -> Bool { shard % worldSize == rank }

    // MARK: Rows

    /// Rows that were written, of this rank.
    public var count: Int { blocks.values.reduce(0) { $0 + $1.count } }

    /// The rows of this rank, ascending.
    public var rows: [Int] { blocks.keys.sorted().flatMap { block in blocks[block]!.occupied.map { block * layout.blockRows + $0 } } }

    /// Whether a row was written.
    public func holds(_ row: Int) -> Bool { blocks[layout.block(of: row)]?.holds(row % layout.blockRows) ?? false }

    /// The values of a row: written ones, or those of the generator; `nil` where there are none.
    /// - Precondition: this rank owns the row's shard.
    public func image(_ row: Int) -> RowImage? {
        require(owns(shard: layout.shard(of: row)), "row \(row) is another rank's")
        return blocks[layout.block(of: row)]?.image(row % layout.blockRows) ?? generator?.image(of: row, layout)
    }

    /// Where a row's values lie, to be read in place.
    func location(_ row: Int) -> (block: RowBlock, slot: Int)? {
        guard let block = blocks[layout.block(of: row)], let slot = block.slot(row % layout.blockRows) else { return nil }
        return (block, slot)
    }

    /// Writes a row.
    /// - Parameter isUndoable: whether the next commit keeps what the row was before.
    public func set(_ row: Int, _ image: RowImage, isUndoable: Bool = true) {
        require(owns(shard: layout.shard(of: row)), "row \(row) is another rank's")
        remember(row, isUndoable)
        let number = layout.block(of: row)
        let block = blocks[number] ?? RowBlock(number, layout)
        blocks[number] = block
        block.set(row % layout.blockRows, image)
    }

    /// Writes one column of fixed width of a row that exists, without an undo.
    /// - Parameter column: its place among the columns of fixed width.
    func setFixed(_ row: Int, column: Int, _ bytes: [UInt8]) {
        guard let (block, slot) = location(row) else { return require(false, "row \(row) does not exist") }
        remember(row, false)
        block.setFixed(column, slot, bytes)
    }

    /// Removes a row; one that does not exist stays away.
    public func remove(_ row: Int, isUndoable: Bool = true) {
        guard let block = blocks[layout.block(of: row)], block.holds(row % layout.blockRows) else { return }
        remember(row, isUndoable)
        block.remove(row % layout.blockRows)
    }

    private func remember(_ row: Int, _ isUndoable: Bool) {
        switch (changes[row], isUndoable) {
        case (nil, true):
            let image = blocks[layout.block(of: row)]?.image(row % layout.blockRows)
            changes[row] = image.map { .image($0) } ?? .absent
        case (nil, false): changes[row] = .notKept
        case (.notKept?, true):
            // What was there at the last commit is not known any more; what is there now differs from it by statistics only.
            if let image = blocks[layout.block(of: row)]?.image(row % layout.blockRows) { changes[row] = .image(image) }
        default: break
        }
    }

    /// Whether a commit would write anything, on this rank.
    public var hasChanges: Bool { !changes.isEmpty }

    /// Takes all changes since the last commit back.
    /// - Precondition: all of them can be undone.
    func rollBack() {
        for (row, before) in changes {
            let (block, place) = (blocks[layout.block(of: row)], row % layout.blockRows)
            switch before {
            case .absent: block?.remove(place)
            case .image(let image):
                let block = block ?? RowBlock(layout.block(of: row), layout)
                blocks[block.number] = block
                block.set(place, image)
            case .notKept: break
            }
        }
        changes = [:]
    }

    // MARK: Commits

    /// Writes what has changed. Collective. The segments are on the disk when it returns; they count once a manifest lists them.
    ///
    /// - Parameters:
    ///   - number: the commit, higher than all before it.
    ///   - keepingUndo: whether segments are written that tell how the changed rows were before.
    ///   - rebasing: whether every shard whose chain is more than a base gets a new base.
    /// - Returns: the names of the undo segments of all ranks, in order of their shards.
    /// - Throws: `UserError` (.inputOutput), on every rank; the changes are then still not committed.
    public func commit(
        _ number: Int, keepingUndo: Bool, rebasing: Bool = false, to store: SegmentStore, _ communicator: any Communicator
    ) throws -> [String] {
        let shards = Set(changes.keys.map { layout.shard(of: $0) })
        var (updates, touched): ([ShardUpdate], [(RowBlock, UInt64)]) = ([], [])
        let written = try communicator.onEveryRank { () -> [UInt8] in
            let byShard = Dictionary(grouping: changes.keys) { layout.shard(of: $0) }
            for shard in stride(from: rank, to: layout.shards, by: worldSize) {
                let isChanged = shards.contains(shard)
                guard isChanged || (rebasing && chains[shard].links.count > 1) else { continue }
                var update = ShardUpdate(shard: shard, chain: chains[shard], undo: nil)
                let rows = (byShard[shard] ?? []).sorted()
                if keepingUndo { update.undo = try writeUndo(rows, shard, number, store) }
                update.chain = try extended(shard, rows, number, rebasing, store, &touched)
                updates.append(update)
            }
            try store.synchronize()
            return Array(try JSONText.line(updates).utf8)
        }
        let all = try communicator.allGather(written).flatMap { try ShardUpdate.list($0) }.sorted { $0.shard < $1.shard }
        for update in all { chains[update.shard] = update.chain }
        for (block, digest) in touched { block.digest = digest }
        blocks = blocks.filter { $0.value.count > 0 }
        changes = [:]
        return all.compactMap(\.undo)
    }

    /// The chain of a shard after a commit, with its new segment written.
    private func extended(
        _ shard: Int, _ rows: [Int], _ number: Int, _ rebasing: Bool, _ store: SegmentStore, _ touched: inout [(RowBlock, UInt64)]
    ) throws -> ShardChain {
        var chain = chains[shard]
        var digests: [Int: UInt64] = [:]
        for block in Set(rows.map { layout.block(of: $0) }) {
            guard let block = blocks[block] else { continue }
            let digest = block.computedDigest()
            touched.append((block, digest))
            digests[block.number] = digest
        }
        let own = blocks.values.filter { $0.number % layout.shards == shard && $0.count > 0 }.sorted { $0.number < $1.number }
        var hash = XXHash64()
        for block in own {
            hash.update(block.number)
            hash.update(digests[block.number] ?? block.digest)
        }
        chain.digest = hexadecimal(hash.finalized())

        let (present, removed) = (rows.filter(holds), rows.filter { !holds($0) })
        let bytes = present.reduce(0) { $0 + (location($1).map { Self.byteCount($0.block, $0.slot, layout) } ?? 0) } + 8 * removed.count
        let deltas = chain.links.dropFirst()
        let needsBase =
            rebasing || chain.links.isEmpty || deltas.count >= Self.longestChain
            || (deltas.reduce(bytes) { $0 + $1.bytes }) * 2 > chain.links[0].bytes
        var segment: RowSegment
        if needsBase {
            segment = RowSegment(.base, commit: number, link: 0, shard: shard, parent: "", layout)
            for block in own {
                block.append(to: &segment)
                segment.blocks.append((block.number, digests[block.number] ?? block.digest))
            }
            chain.links = []
        } else {
            segment = RowSegment(
                .delta, commit: number, link: chain.links.count, shard: shard, parent: chain.links[chain.links.count - 1].segment, layout)
            for row in present { if let (block, slot) = location(row) { segment.append(row, of: block, slot: slot) } }
            segment.removed = removed
            segment.blocks = Set(rows.map { layout.block(of: $0) }).sorted().map {
                ($0, digests[$0] ?? RowBlock($0, layout).computedDigest())
            }
        }
        // A shard without rows needs no file.
        if needsBase && segment.rows.isEmpty { return chain }
        let reference = try segment.write(to: store, layout)
        let held =
            segment.fixed.reduce(0) { $0 + $1.count } + segment.variable.reduce(0) { $0 + $1.bytes.count } + 8 * segment.removed.count
        chain.links.append(
            ChainLink(segment: reference.name, commit: number, rows: segment.rows.count + segment.removed.count, bytes: held))
        return chain
    }

    private static func byteCount(_ block: RowBlock, _ slot: Int, _ layout: RowLayout) -> Int {
        layout.fixed.reduce(0) { $0 + $1.rowBytes } + layout.variable.indices.reduce(0) { $0 + block.variableBytes($1, slot).count }
    }

    private func writeUndo(_ rows: [Int], _ shard: Int, _ number: Int, _ store: SegmentStore) throws -> String? {
        var segment = RowSegment(.undo, commit: number, link: 0, shard: shard, parent: "", layout)
        for row in rows {
            switch changes[row] {
            case .image(let image): segment.append(row, image, layout)
            case .absent where holds(row): segment.removed.append(row)
            default: break
            }
        }
        return segment.rows.isEmpty && segment.removed.isEmpty ? nil : try segment.write(to: store, layout).name
    }

    /// What a rank tells the others of a shard that it has committed.
    private struct ShardUpdate: Codable {
        let shard: Int
        var chain: ShardChain
        var undo: String?

        static func list(_ bytes: [UInt8]) throws -> [ShardUpdate] {
            do { return try BankJSON.decoder.decode([ShardUpdate].self, from: .init(bytes)) } catch {
                throw UserError(.software, "a rank sent a list of segments that cannot be read: \(error)")
            }
        }
    }

    // MARK: Reading

    /// Reads the shards that this rank owns, replaying each chain in order.
    ///
    /// - Throws: `UserError` (.badData) naming the segment where a chain has a gap, a repeat, a foreign segment, a short or a damaged file,
    ///   (.missingInput) where a file is gone, (.configuration) where so many ranks cannot own the shards.
    public convenience init(
        _ layout: RowLayout, _ chains: [ShardChain], in store: SegmentStore, rank: Int = 0, worldSize: Int = 1,
        generator: (any RowGenerator)? = nil
    ) throws {
        try RowTable.requireWorld(worldSize, layout)
        self.init(layout, rank: rank, worldSize: worldSize, generator: generator)
        guard chains.count == layout.shards else {
            throw UserError(
                .badData, "it lists \(quantity(chains.count, "chain")) for \(quantity(layout.shards, "virtual shard"))", at: store.directory
            )
        }
        self.chains = chains
        for shard in stride(from: rank, to: layout.shards, by: worldSize) { try read(shard, from: store, after: 0) }
    }

    /// Takes the chains of a later commit: shards whose chain has only grown read what is new, others all of it.
    /// - Returns: the shards of this rank that changed.
    /// - Throws: as ``init(_:_:in:rank:worldSize:generator:)``; the table is then not to be used any more.
    func advance(to newer: [ShardChain], from store: SegmentStore) throws -> [Int] {
        require(changes.isEmpty, "a table with changes cannot take another's")
        let changed = stride(from: rank, to: layout.shards, by: worldSize).filter { chains[$0] != newer[$0] }
        for shard in changed {
            let known = chains[shard].links
            let hasGrown = newer[shard].links.starts(with: known)
            if !hasGrown { blocks = blocks.filter { $0.key % layout.shards != shard } }
            chains[shard] = newer[shard]
            try read(shard, from: store, after: hasGrown ? known.count : 0)
        }
        chains = newer
        return changed
    }

    private func read(_ shard: Int, from store: SegmentStore, after first: Int) throws {
        let links = chains[shard].links
        var expected: [Int: UInt64] = [:]
        for (index, link) in links.enumerated().dropFirst(first) {
            let name = link.segment
            guard let reference = SegmentReference(name: name) else {
                throw UserError(.badData, "'\(name)' names no segment", at: store.directory, advice: "restore the manifest from a copy")
            }
            let path = store.path(of: reference)
            func refused(_ what: String) -> UserError { UserError(.badData, what, at: path, advice: "restore the bank from a copy") }
            let segment = try RowSegment(reference, in: store, layout)
            guard segment.kind == (index == 0 ? .base : .delta) else {
                throw refused("a chain begins with a base and goes on with deltas: link \(index) is of the kind '\(segment.kind.rawValue)'")
            }
            guard segment.shard == shard else { throw refused("is of virtual shard \(segment.shard), not of \(shard)") }
            guard segment.link == index else {
                throw refused(
                    segment.link > index
                        ? "a delta before it is missing: it is link \(segment.link) and stands at \(index)"
                        : "the delta is repeated: it is link \(segment.link) and stands at \(index)")
            }
            guard segment.parent == (index == 0 ? "" : links[index - 1].segment) else {
                throw refused(
                    "its parent is \(segment.parent), not \(index == 0 ? "none" : links[index - 1].segment): it is a delta of something else"
                )
            }
            guard segment.commit == link.commit else { throw refused("is of commit \(segment.commit), not of \(link.commit)") }
            guard zip(segment.rows, segment.rows.dropFirst()).allSatisfy({ $0 < $1 }) else { throw refused("its rows are not in order") }
            var start = 0
            while start < segment.rows.count {
                let number = layout.block(of: segment.rows[start])
                let end = segment.rows[start...].firstIndex { layout.block(of: $0) != number } ?? segment.rows.count
                let block = blocks[number] ?? RowBlock(number, layout)
                blocks[number] = block
                if segment.kind == .base {
                    block.append(segment, start..<end)
                } else {
                    for place in start..<end { block.set(segment.rows[place] % layout.blockRows, segment.image(place, layout)) }
                }
                start = end
            }
            for row in segment.removed {
                guard let block = blocks[layout.block(of: row)], block.holds(row % layout.blockRows) else {
                    throw refused("it removes row \(row), which is not there")
                }
                block.remove(row % layout.blockRows)
            }
            for block in segment.blocks { expected[block.number] = block.digest }
        }
        let empty = RowBlock(0, layout).computedDigest()
        for (number, digest) in expected.sorted(by: { $0.key < $1.key }) {
            let found = blocks[number].map { $0.computedDigest() } ?? empty
            guard found == digest else {
                throw UserError(
                    .badData,
                    "block \(number) does not hold what was committed: its hash is \(hexadecimal(found)), not \(hexadecimal(digest))",
                    at: links.last.map { "\(store.directory)/\($0.segment)" } ?? store.directory, advice: "restore the bank from a copy")
            }
            blocks[number]?.digest = digest
        }
        blocks = blocks.filter { $0.value.count > 0 }
        var hash = XXHash64()
        for block in blocks.values.filter({ $0.number % layout.shards == shard }).sorted(by: { $0.number < $1.number }) {
            hash.update(block.number)
            hash.update(block.digest)
        }
        guard hexadecimal(hash.finalized()) == chains[shard].digest else {
            throw UserError(
                .badData, "virtual shard \(shard) does not hold what was committed", at: store.directory,
                advice: "restore the bank from a copy")
        }
    }

    /// The hash of all that the table holds: of the hashes of its shards. The same on any number of ranks.
    public var digest: String {
        var hash = XXHash64()
        for chain in chains { Array(chain.digest.utf8).withUnsafeBytes { hash.update($0) } }
        return hexadecimal(hash.finalized())
    }
}
