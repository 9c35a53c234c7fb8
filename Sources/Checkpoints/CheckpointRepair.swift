// Restoring a damaged checkpoint from its redundancy, to the bit.

import Diagnostics
import Foundation
import HDF5
import Storage

/// What is damaged in a checkpoint, and the way back.
///
/// Parity restores one file for each stripe of the shards: a shard that is lost, or several that are damaged in different stripes. `checkpoint.h5` comes
/// back from its copy, and redundancy that is itself damaged is made anew from whole shards.
public struct CheckpointRepair {
    /// A file that is not as it was written.
    public struct Damage: Sendable, Hashable {
        /// Its name in the checkpoint's directory.
        public let file: String
        /// What is wrong with it, for people.
        public let what: String
    }

    /// The checkpoint's directory.
    public let directory: String
    /// Every file that is damaged or missing.
    public private(set) var damage: [Damage] = []
    /// Whether the checkpoint was written with parity; without it, damage is found and nothing restored.
    public let hasParity: Bool

    private let step: Int
    private let worldSize: Int
    private var parity: ParitySet?
    /// The stripes of each shard that are lost.
    private var lost: [Set<Int>]
    /// Shards that are missing or of another length than their parity says.
    private var misfits: Set<Int> = []
    /// Stripes whose parity is lost, in files whose header is whole.
    private var lostSums: Set<Int> = []
    /// Parity files to be made anew.
    private var lostParity: Set<Int> = []
    private var joinedIsLost = false
    private var copyIsLost = false

    // MARK: Finding damage

    /// Looks at every file of a checkpoint.
    ///
    /// - Throws: `UserError(.badData)` where nothing can tell what the checkpoint was, or, without parity, that it is damaged;
    ///   `UserError(.inputOutput)`.
    /// - Complexity: reads everything once, in memory for some MiB.
    public init(examining directory: String) throws {
        self.directory = directory
        hasParity = ParitySet.exists(in: directory)
        let (joined, copy) = (directory + "/" + CheckpointFormat.joinedFile, directory + "/" + CheckpointFormat.joinedCopy)
        guard hasParity else {
            do {
                let reader = try CheckpointReader(directory: directory)
                try reader.verify()
                (step, worldSize) = (reader.step, reader.worldSize)
                lost = []
                try reader.close()
                return
            } catch let error as UserError where error.isDamage {
                throw UserError(
                    .badData, "it cannot be repaired, since it was written without parity: \(error.place ?? ""): \(error.what)", at: directory,
                    advice: "use another checkpoint; checkpoint.parity: true in the run file lets the next ones be repaired")
            }
        }
        // One of the two says what the checkpoint was.
        let header = try Self.undamaged { try CheckpointReader.header(of: joined) }
        let copied = try Self.undamaged { try CheckpointReader.header(of: copy) }
        guard let known = header ?? copied else {
            throw UserError(.badData, "it cannot be repaired: neither \(CheckpointFormat.joinedFile) nor its copy is whole", at: directory, advice: "use another checkpoint")
        }
        (step, worldSize) = known
        lost = [Set<Int>](repeating: [], count: known.worldSize)
        joinedIsLost = header == nil
        copyIsLost = try copied == nil || header != nil && DurableFile.read(joined) != DurableFile.read(copy)
        parity = try ParitySet(directory: directory, step: step, worldSize: worldSize)
        if joinedIsLost { add(CheckpointFormat.joinedFile) }
        try examineShards()
        if copyIsLost { add(CheckpointFormat.joinedCopy) }
    }

    private mutating func add(_ name: String, _ what: String = "damaged") {
        damage.append(Damage(file: name, what: Directory.exists("\(directory)/\(name)") == nil ? "missing" : what))
    }

    private func shardFile(_ shard: Int) -> String { CheckpointFormat.shardFile(rank: shard, worldSize: worldSize) }

    /// The value of `body`; `nil` where it meets damage.
    private static func undamaged<Value>(_ body: () throws -> Value) throws -> Value? {
        do { return try body() } catch let error as UserError where error.isDamage { return nil }
    }

    private mutating func examineShards() throws {
        guard let parity else {
            for shard in 0..<worldSize where Directory.exists("\(directory)/\(shardFile(shard))") == nil { add(shardFile(shard)) }
            guard let layout = try Self.undamaged({ try ParityLayout(directory: directory, shards: worldSize) }) else {
                return damage.append(Damage(file: "parity", what: "damaged: all of it"))
            }
            for index in 0..<layout.fileCount { add(CheckpointFormat.parityFile(index: index, count: layout.fileCount)) }
            return
        }
        let layout = parity.layout
        for shard in layout.lengths.indices {
            let size = try Self.undamaged { try DurableFile.size(of: "\(directory)/\(shardFile(shard))") }
            if size != layout.lengths[shard] { misfits.insert(shard) }
        }
        var found = lost
        for (index, file) in parity.files.enumerated() {
            guard let file else {
                lostParity.insert(index)
                continue
            }
            let damaged = try file.damagedStripes()
            lostSums.formUnion(damaged)
            if !damaged.isEmpty { lostParity.insert(index) }
            try StripeReader(layout: layout, directory: directory).forEachBatch(of: file.stripes) { shard, stripe in
                found[shard].insert(stripe)
            } _: { _, _, parts in
                for part in parts where part.checksum != file.checksum(of: part.shard, stripe: part.stripe) { found[part.shard].insert(part.stripe) }
            }
        }
        lost = found
        for shard in layout.lengths.indices where !lost[shard].isEmpty || misfits.contains(shard) {
            let bytes = lost[shard].reduce(0) { $0 + layout.byteCount(of: $1, length: layout.lengths[shard]) }
            let isAll = bytes == layout.lengths[shard]
            add(shardFile(shard), misfits.contains(shard) ? "of another length" : isAll ? "damaged" : "damaged within \(bytes) of its \(layout.lengths[shard]) bytes")
        }
        for index in lostParity.sorted() { add(CheckpointFormat.parityFile(index: index, count: layout.fileCount)) }
    }

    // MARK: Restoring

    /// Restores what is damaged: every file is written beside the damaged one, synced, read back, and takes its place. Afterwards all of the
    /// checkpoint is verified.
    ///
    /// - Throws: `UserError(.badData)` where more is damaged than redundancy brings back, before anything is changed; `UserError(.inputOutput)`.
    public func restore() throws {
        guard hasParity, !damage.isEmpty else { return }
        let damagedShards = lost.indices.filter { !lost[$0].isEmpty || misfits.contains($0) }
        try requireEnough(damagedShards)
        for name in try Directory.names(in: directory) where CheckpointFormat.isRestoration(name) { try Directory.remove("\(directory)/\(name)") }
        let (joined, copy) = (directory + "/" + CheckpointFormat.joinedFile, directory + "/" + CheckpointFormat.joinedCopy)
        if joinedIsLost { try DurableFile.replace(joined, by: DurableFile.read(copy)) }
        for shard in damagedShards { try restore(shard) }
        // The checksums of the items vouch for the shards before they vouch for anything else.
        let reader = try CheckpointReader(directory: directory)
        try reader.requireShards()
        for item in reader.items { try reader.verify(item) }
        if parity == nil || !lostParity.isEmpty { try restoreParity() }
        if copyIsLost { try DurableFile.replace(copy, by: DurableFile.read(joined)) }
        try reader.verify()
        try reader.close()
    }

    /// Makes sure that no stripe has lost two files.
    private func requireEnough(_ damagedShards: [Int]) throws {
        func refuse(_ what: String) -> UserError {
            UserError(.badData, "it cannot be repaired: \(what)", at: directory, advice: "use another checkpoint")
        }
        guard let parity else {
            // Without parity, shards that are whole are enough; one that is not says so at the verification.
            let missing = (0..<worldSize).filter { Directory.exists("\(directory)/\(shardFile($0))") == nil }.map(shardFile)
            guard missing.isEmpty else { throw refuse("\(missing.joined(separator: ", ")) missing, and all parity is damaged") }
            return
        }
        for file in parity.files.indices {
            for stripe in parity.layout.stripes(ofFile: file) {
                var names = damagedShards.filter { lost[$0].contains(stripe) }.map(shardFile)
                if parity.files[file] == nil {
                    // What cannot be compared is taken as it is, but it has to be there.
                    names = try damagedShards.filter { shard in
                        let count = parity.layout.byteCount(of: stripe, length: parity.layout.lengths[shard])
                        let size = try Self.undamaged { try DurableFile.size(of: "\(directory)/\(shardFile(shard))") } ?? 0
                        return count > 0 && size < stripe * ParityLayout.stripeByteCount + count
                    }.map(shardFile)
                }
                if !names.isEmpty, parity.files[file] == nil || lostSums.contains(stripe) {
                    names.append(CheckpointFormat.parityFile(index: file, count: parity.layout.fileCount))
                }
                if names.count > 1 {
                    throw refuse("\(names.joined(separator: " and ")) are damaged in the same place, and parity restores one file there")
                }
            }
        }
    }

    /// Writes a shard anew from what is left of it, the other shards and the parity.
    private func restore(_ shard: Int) throws {
        guard let parity else { return }
        let (layout, size) = (parity.layout, ParityLayout.stripeByteCount)
        let path = directory + "/" + shardFile(shard)
        let restored = directory + "/" + CheckpointFormat.restoredFile(shardFile(shard))
        let created = withSystemPath(restored) { open($0, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666) }
        guard created >= 0 else {
            throw UserError(.inputOutput, "cannot create the file: \(systemReason())", at: restored, advice: "check the permissions and the free space")
        }
        close(created)
        let file = try DirectFile(restored)
        try withAlignedBuffer(size) { bytes in
            for index in parity.files.indices {
                for stripe in layout.stripes(ofFile: index) {
                    let count = layout.byteCount(of: stripe, length: layout.lengths[shard])
                    if count == 0 { break }
                    let part = UnsafeMutableRawBufferPointer(rebasing: bytes[..<count])
                    if let source = parity.files[index], lost[shard].contains(stripe) {
                        try source.read(stripe, into: bytes)
                        try StripeReader(layout: layout, directory: directory).forEachBatch(of: stripe..<stripe + 1, leavingOut: shard) { _, sums, _ in
                            bytes.formXOR(sums)
                        }
                    } else {
                        try DirectFile(path, isReadOnly: true).read(into: part, at: stripe * size)
                    }
                    try file.write(UnsafeRawBufferPointer(part), at: stripe * size)
                }
            }
        }
        try HDF5File.synchronize(restored)
        for case let source? in parity.files {
            for stripe in source.stripes {
                let count = layout.byteCount(of: stripe, length: layout.lengths[shard])
                guard try count == 0 || file.checksum(of: count, at: stripe * size) == source.checksum(of: shard, stripe: stripe) else {
                    throw UserError(.inputOutput, "what was restored differs from its checksum", at: restored, advice: "check the disk and the other shards")
                }
            }
        }
        try Directory.rename(restored, to: path)
        try Directory.synchronize(directory)
    }

    /// Makes damaged parity anew from the shards.
    private func restoreParity() throws {
        let layout = try parity?.layout ?? ParityLayout(directory: directory, shards: worldSize)
        for index in 0..<layout.fileCount where parity == nil || lostParity.contains(index) {
            let name = CheckpointFormat.parityFile(index: index, count: layout.fileCount)
            let restored = "\(directory)/\(CheckpointFormat.restoredFile(name))"
            try ParityFile.write(restored, index: index, layout: layout, shardsIn: directory, step: step)
            try Directory.rename(restored, to: "\(directory)/\(name)")
        }
        try Directory.synchronize(directory)
    }
}
