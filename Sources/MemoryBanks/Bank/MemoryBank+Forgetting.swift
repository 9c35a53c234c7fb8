// Forgetting a namespace: its records are deleted and purged, and what they held is looked for in the files.

import Diagnostics
import Storage

/// What was forgotten, and the proof that it is gone.
public struct Forgetting: Sendable, Codable, Equatable {
    /// The receipt of the deletion.
    public let deletion: BankReceipt
    /// The receipt of the purge.
    public let purge: BankReceipt
    /// Different values, keys, key texts and sources that were looked for in the bank's files, those of earlier versions included.
    public let sought: Int
    /// Others that were not: shorter than 6 bytes, which occur by chance, or in a record that stays.
    public let notSought: Int
    /// The files that were read, and their bytes.
    public let files: Int
    public let bytes: Int
}

extension MemoryBank {
    /// Deletes all records of a namespace and purges what they and their earlier versions held; then reads every file of the bank and looks for it.
    ///
    /// By one process. Copies elsewhere are not reached: exports, backups, a run's earlier checkpoints.
    /// - Throws: as ``delete(_:children:expecting:confirming:_:)`` and ``compact(_:)``; `UserError` (.badData) with the file where something was found.
    /// - Complexity: one pass over the bank's files beside the purge, which writes all that stays.
    /// - Parameter digest: that of the deletion's preview; `nil` takes what is there.
    public func forget(namespace: String, confirming digest: String? = nil, _ edit: BankEdit) throws -> Forgetting {
        require(communicator.size == 1, "one process forgets")
        let filter = BankFilter(.one(namespace))
        let preview = try deletion(of: filter)
        var contents = Set(localRows(filter, waiting: true).compactMap { table.location($0) }.flatMap { self.contents(columns.record($0.block, $0.slot)) })
        for entry in manifest.history {
            for segment in try ownUndo(entry) {
                for place in segment.rows.indices {
                    let record = columns.record(segment.image(place, columns.layout))
                    if record.namespace == namespace { contents.formUnion(self.contents(record)) }
                }
            }
        }
        let deletion = try delete(filter, children: .cascade, confirming: digest ?? preview.digest, edit)
        let purge = try compact(edit)
        let long = Passages(contents.filter { $0.count >= Passages.head })
        var staying: Set<Int> = []
        for row in index.all {
            guard let (block, slot) = table.location(row) else { continue }
            for content in self.contents(columns.record(block, slot)) { staying.formUnion(long.found(in: content)) }
        }
        let sought = Passages(long.passages.indices.filter { !staying.contains($0) }.map { long.passages[$0] })
        var (files, bytes) = (0, 0)
        for folder in [directory, segments.directory] {
            for name in try Directory.names(in: folder) where name != Self.lockName {
                let path = Directory.path(of: name, in: folder)
                guard Directory.exists(path) == .file else { continue }
                let file = try DurableFile.read(path)
                (files, bytes) = (files + 1, bytes + file.count)
                guard sought.found(in: file).isEmpty else {
                    throw UserError(
                        .badData, "still holds what a record of the namespace held", at: path,
                        advice: "remove it if it is no file of the bank; else restore nothing and purge again with mneme memory compact")
                }
            }
        }
        return Forgetting(
            deletion: deletion, purge: purge, sought: sought.passages.count, notSought: contents.count - sought.passages.count, files: files,
            bytes: bytes)
    }

    /// What a record holds of its own, as bytes of the files.
    private func contents(_ record: BankRecord) -> [[UInt8]] {
        var contents = [Array(record.keyText.utf8), Array(record.source.utf8), record.key.withUnsafeBytes { Array($0) }]
        switch record.value {
        case .text(let text): contents.append(Array(text.utf8))
        case .tokens(let tokens): contents.append(tokens.withUnsafeBytes { Array($0) })
        case .vector(let vector): contents.append(vector.withUnsafeBytes { Array($0) })
        }
        return contents.filter { content in content.contains { $0 != 0 } }
    }
}

/// Passages that are looked for in many bytes, all at once.
private struct Passages {
    /// The bytes by which a passage is recognized.
    static let head = 6

    let passages: [[UInt8]]
    private let byHead: [UInt64: [Int]]

    /// - Parameter passages: each of at least `head` bytes.
    init(_ passages: some Sequence<[UInt8]>) {
        let passages = Array(passages)
        self.passages = passages
        byHead = Dictionary(grouping: passages.indices) { passages[$0].prefix(Self.head).reduce(0) { $0 << 8 | UInt64($1) } }
    }

    /// Those that occur, by their places.
    func found(in bytes: [UInt8]) -> Set<Int> {
        let mask: UInt64 = 1 << UInt64(8 * Self.head) - 1
        var (window, found): (UInt64, Set<Int>) = (0, [])
        for (place, byte) in bytes.enumerated() {
            window = (window << 8 | UInt64(byte)) & mask
            guard place >= Self.head - 1, let candidates = byHead[window] else { continue }
            let rest = bytes[(place + 1 - Self.head)...]
            for candidate in candidates where rest.starts(with: passages[candidate]) { found.insert(candidate) }
        }
        return found
    }
}
