// The bank's index: an inverted file of its keys, made when it is asked for, kept with the bank, and following every edit.

import Checkpoints
import Collectives
import Diagnostics
import Storage
import Tensors
import VectorSearch

/// An inverted file that follows the rows of one rank.
final class FollowingIndex {
    /// Which index it is of.
    fileprivate(set) var link: BankIndexLink
    let file: InvertedFile
    /// Rows that came, went or changed since the inverted file was brought up to date.
    private var changed: Set<Int> = []
    /// Numbers for namespaces.
    private var namespaces: [String: UInt32] = [:]

    init(_ link: BankIndexLink, _ file: InvertedFile) { (self.link, self.file) = (link, file) }

    /// Remembers that a row came, went or changed.
    func note(_ row: Int) { changed.insert(row) }

    private func number(_ namespace: String) -> UInt32 {
        if let known = namespaces[namespace] { return known }
        namespaces[namespace] = UInt32(namespaces.count)
        return UInt32(namespaces.count - 1)
    }

    /// Brings the inverted file up to date.
    /// - Complexity: O(rows that changed x lists x width).
    func catchUp(_ bank: MemoryBank) throws {
        if changed.isEmpty { return }
        let rows = changed.sorted()
        let present = Set(rows.filter { bank.isAdmitted($0) })
        file.remove(rows.filter { file.contains($0) && !present.contains($0) })
        try add(rows.filter { present.contains($0) && file.contains($0) }, of: bank) { try self.file.update($1, to: $0, namespaces: $2) }
        try add(rows.filter { present.contains($0) && !file.contains($0) }, of: bank) { try self.file.append($0, ids: $1, namespaces: $2) }
        changed = []
    }

    /// Hands rows over with their keys and the numbers of their namespaces, some at a time.
    func add(_ rows: [Int], of bank: MemoryBank, _ body: (_ keys: Tensor, _ rows: [Int], _ namespaces: [UInt32]) throws -> Void) throws {
        let group = 1 << 16
        for first in stride(from: 0, to: rows.count, by: group) {
            let some = Array(rows[first..<min(rows.count, first + group)])
            let keys = Tensor(uninitialized: [some.count, file.dimension])
            let width = 4 * file.dimension
            var numbers: [UInt32] = []
            for (place, row) in some.enumerated() {
                guard let (block, slot) = bank.table.location(row) else { return require(false, "row \(row) is not there") }
                UnsafeMutableRawBufferPointer(start: keys.bytes + place * width, count: width).copyMemory(from: block.fixedBytes(0, slot))
                numbers.append(number(bank.index.namespace(ofBlock: block.number)))
            }
            try body(keys, some, numbers)
        }
    }

    /// Which rows a search in a scope may find. A namespace that no row of this rank is in has none.
    func namespaces(in scope: NamespaceScope) -> Set<UInt32>? {
        switch scope {
        case .all: nil
        case .one(let name): namespaces[name].map { namespaces.count == 1 ? nil : [$0] } ?? []
        }
    }
}

extension MemoryBank {
    /// The index as it was made last; `nil` where the bank has none.
    public var indexLink: BankIndexLink? { manifest.index }

    /// Makes an index of the bank's keys, or makes it again, and commits it. It is no edit: there is no receipt. Collective.
    ///
    /// From then on it follows every edit, in this session and in later ones, and ``compact(_:)`` makes it again from what is left.
    /// - Parameters:
    ///   - lists: C; a power of two near the root of the number of records where it is not said, and never more than records.
    ///   - seed: what is drawn depends on it.
    /// - Throws: `UserError` (.configuration) for a bank without keys, (.missingInput) for one without records, (.inputOutput).
    /// - Complexity: as ``InvertedFile/train(lists:seed:communicator:)``. Keys are in memory a second time.
    public func makeIndex(lists: Int? = nil, seed: UInt64 = 1) throws {
        try requireEditor()
        guard configuration.keyWidth > 0 else {
            throw UserError(.configuration, "the bank has no keys to search by", at: directory, advice: "look records up by id")
        }
        guard let made = try trainedIndex(lists: lists, seed: seed, commit: nextCommit) else {
            throw UserError(.missingInput, "has no records to make an index of", at: directory, advice: "put some first")
        }
        try publish(made.link.commit, keepsUndo: false, compacting: false) { $0.index = made.link }
        following = made
    }

    /// Removes the index. Collective.
    public func dropIndex() throws {
        try requireEditor()
        guard manifest.index != nil else { throw noIndex("has no index to be dropped") }
        try publish(nextCommit, keepsUndo: false, compacting: false) { $0.index = nil }
        following = nil
    }

    /// Whether the index should be made again: more than three times as many rows are visited as with even lists, or three tenths of the records have
    /// come, gone or changed since. Collective.
    public func indexNeedsTraining() throws -> Bool { try currentIndex().file.needsTraining(communicator) }

    func noIndex(_ what: String) -> UserError {
        UserError(.configuration, what, at: directory, advice: "make one with mneme memory index")
    }

    /// An index of what is there, its segments written: `nil` for a bank without records. Collective.
    func trainedIndex(lists: Int?, seed: UInt64 = 1, commit: Int) throws -> FollowingIndex? {
        let records = try recordCount()
        if records == 0 { return nil }
        let file = InvertedFile(dimension: configuration.keyWidth, similarity: configuration.metric)
        let made = FollowingIndex(BankIndexLink(commit: commit, lists: 0, records: records, centroids: "", members: []), file)
        let rows = table.rows.filter(isAdmitted)
        try communicator.onEveryRank { try made.add(rows, of: self) { try file.append($0, ids: $1, namespaces: $2) } }
        try file.train(lists: lists, seed: seed, communicator: communicator)
        let segments = indexSegments
        let own = try communicator.onEveryRank { () -> [UInt8] in
            var names: [[String]] = []
            let byShard = Dictionary(grouping: rows) { columns.layout.shard(of: $0) }
            if communicator.rank == 0 { names.append(["", try segments.write(centroids: file.centroids)]) }
            for (shard, rows) in byShard.sorted(by: { $0.key < $1.key }) {
                names.append(["\(shard)", try segments.write(rows: rows, lists: rows.map { file.list(of: $0) ?? 0 }, shard: shard)])
            }
            try self.segments.synchronize()
            return Array(try JSONText.line(names).utf8)
        }
        var (centroids, members) = ("", [String](repeating: "", count: columns.layout.shards))
        for bytes in try communicator.allGather(own) {
            for name in try BankJSON.decoder.decode([[String]].self, from: .init(bytes)) {
                if let shard = Int(name[0]) { members[shard] = name[1] } else { centroids = name[1] }
            }
        }
        made.link = BankIndexLink(commit: commit, lists: file.listCount, records: records, centroids: centroids, members: members)
        return made
    }

    private var indexSegments: IndexSegments {
        IndexSegments(
            store: segments, layout: columns.layout, metric: configuration.metric, generation: generation?.description ?? "none")
    }

    /// The inverted file of this rank's rows as they are now. Collective where it was not read yet.
    /// - Throws: `UserError`: (.configuration) where the bank has no index, (.badData) and (.missingInput) where a file of it is damaged or gone.
    func currentIndex() throws -> FollowingIndex {
        guard let link = manifest.index else { throw noIndex("has no index whose lists could be visited") }
        if following?.link != link { following = try communicator.onEveryRank { try loadedIndex(link) } }
        guard let following else { failRequirement("the index was read", file: #fileID, line: #line) }
        try communicator.onEveryRank { try following.catchUp(self) }
        return following
    }

    /// Reads the index; records that were written since it was made get their list now.
    private func loadedIndex(_ link: BankIndexLink) throws -> FollowingIndex {
        let segments = indexSegments
        var members: [(row: Int, list: Int)] = []
        for shard in 0..<columns.layout.shards where table.owns(shard: shard) { members += try segments.members(link, shard: shard) }
        let known = members.filter { isAdmitted($0.row) && commit(ofRow: $0.row) <= link.commit }
        let centroids = try segments.centroids(link, width: configuration.keyWidth)
        let file = try InvertedFile(
            centroids: centroids, similarity: configuration.metric, trainedRows: link.records, changedRows: members.count - known.count)
        let loaded = FollowingIndex(link, file)
        var lists = known.map(\.list)[...]
        try loaded.add(known.map(\.row), of: self) { keys, rows, namespaces in
            try file.append(keys, ids: rows, namespaces: namespaces, lists: Array(lists.prefix(rows.count)))
            lists = lists.dropFirst(rows.count)
        }
        for row in table.rows where isAdmitted(row) && !file.contains(row) { loaded.note(row) }
        return loaded
    }

    /// Notes what another session has committed after a commit.
    /// - Parameter replaced: virtual shards that were read anew.
    func followEdits(after commit: Int, replaced: Set<Int>) {
        guard let following else { return }
        for row in following.file.ids where !isAdmitted(row) { following.note(row) }
        for row in table.rows where isAdmitted(row) && (self.commit(ofRow: row) > commit || replaced.contains(columns.layout.shard(of: row))) {
            following.note(row)
        }
    }

    func isAdmitted(_ row: Int) -> Bool { admitted(row) != nil }

    private func commit(ofRow row: Int) -> Int { table.location(row).map { columns.number(.commit, $0.block, $0.slot) } ?? 0 }
}
