// A bank as a part of a run's state: committed with the weights, and back with them.

import Checkpoints
import Diagnostics
import Storage

/// Registers a bank with a run's checkpoints.
///
/// The item `banks/NAME/segments` lists the bank's manifest, itself a segment, and every segment that it lists. They lie in the run's
/// folder of segments, so a checkpoint and the bank are published by one rename, and any number of ranks takes both back.
public final class BankState: RunState {
    public let stateName: String
    private let bank: MemoryBank
    private let store: SegmentStore

    /// - Parameters:
    ///   - name: of the bank in its run.
    ///   - bank: opened for editing.
    ///   - run: the run directory.
    public init(_ name: String, _ bank: MemoryBank, run directory: String) {
        (stateName, self.bank, store) = ("banks/\(name)", bank, SegmentStore(run: directory))
    }

    public var stateItems: [StateItem] {
        [
            StateItem(segments: "\(stateName)/segments") { [self] in try save() } restore: { [self] in try restore($0) }
        ]
    }

    /// Commits what waits, and hands the bank's segments to the run. Collective.
    public func save() throws -> [SegmentReference] { try bank.checkpointed(into: store) }

    /// Takes the bank back as a checkpoint lists it. Collective.
    public func restore(_ list: [SegmentReference]) throws { try bank.restore(list, from: store) }
}

extension MemoryBank {
    /// Commits counted uses, copies what the bank consists of into a run's segments, and lists it: the manifest first. Collective.
    func checkpointed(into store: SegmentStore) throws -> [SegmentReference] {
        try commitUses()
        let bytes = try manifest.bytes()
        let references = manifest.segments.compactMap { SegmentReference(name: $0) }
        let first = bytes.withUnsafeBytes { SegmentReference(of: $0) }
        try communicator.onEveryRank {
            guard communicator.rank == 0 else { return }
            _ = try store.write(bytes)
            for reference in references { try segments.share(reference, with: store) }
            try store.synchronize()
        }
        return [first] + references
    }

    /// Becomes what a checkpoint's list says; what was deleted since stays deleted. Collective.
    ///
    /// Where people alone have edited the bank since, outside of training (at step 0), it stays as they left it. Where training went on
    /// from the checkpoint, what came after it did not happen, and the audit log says so.
    func restore(_ list: [SegmentReference], from store: SegmentStore) throws {
        try requireEditor()
        let (restored, bytes) = try communicator.onEveryRank { () -> (BankManifest, [UInt8]) in
            guard let first = list.first else { throw UserError(.badData, "the checkpoint lists no manifest of a bank", at: directory) }
            let bytes = try store.read(first)
            let restored = try BankManifest(bytes, at: store.path(of: first))
            guard Set(restored.segments).isSubset(of: Set(list.dropFirst().map(\.name))) else {
                throw UserError(
                    .badData, "the checkpoint does not list all segments of the bank", at: store.path(of: first),
                    advice: "use another checkpoint")
            }
            guard restored.configuration == configuration else {
                throw UserError(
                    .configuration, "the checkpoint's bank has other rules than this one", at: directory, advice: "use the run's own bank")
            }
            return (restored, bytes)
        }
        let settled = settledCommits
        let later = audit.receipts.filter { $0.commit > restored.commit && $0.commit <= manifest.commit && !settled.contains($0.commit) }
        if !later.isEmpty, later.allSatisfy({ $0.step == 0 }) {
            return notes.append(
                "\(directory): \(quantity(later.count, "edit")) since the checkpoint, the last in commit \(manifest.commit), stay")
        }
        try communicator.onEveryRank {
            if communicator.rank == 0 {
                for reference in list.dropFirst() { try store.share(reference, with: segments) }
                try segments.synchronize()
            }
        }
        try communicator.barrier()
        let newer = try communicator.onEveryRank {
            try RowTable(columns.layout, restored.chains, in: segments, rank: communicator.rank, worldSize: communicator.size)
        }
        try communicator.onEveryRank {
            if communicator.rank == 0 { try DurableFile.replace(Directory.path(of: BankManifest.fileName, in: directory), by: bytes) }
        }
        (table, following) = (newer, nil)
        (manifest, manifestDigest) = (restored, BankManifest.digest(bytes))
        index = try communicator.onEveryRank { try BankIndex(table, columns, of: directory) }
        try dropDeleted()
        try settle()
    }
}
