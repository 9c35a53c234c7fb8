// Whether a run may keep its checkpoints in a directory: one file system for all nodes, fast enough, with locks that hold and room for what is kept.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import Machine
import Storage

/// The file system of a directory as ranks find it.
package struct DirectoryFacts: Codable, Sendable, Equatable {
    /// The directory that was measured in: the one asked for, or the nearest above it that exists.
    package var path: String
    /// By node.
    package var fileSystems: [String: MountedFileSystem] = [:]
    /// Nodes that do not see what rank 0 has written.
    package var blindNodes: [String] = []
    /// Ranks that got a lock that rank 0 held.
    package var lockBreakers: [Int] = []
    /// Bytes and files that may still be written.
    package var freeBytes = 0
    package var freeFiles = 0
    /// All ranks together, with fsync, and around the cache where the file system can.
    package var writeBytesPerSecond = 0.0
    package var readBytesPerSecond = 0.0
    /// A small file written and synced.
    package var syncSeconds = 0.0
    /// Bytes that all ranks have written for that.
    package var measuredBytes = 0
    /// What `lfs getstripe -d` prints, on Lustre.
    package var stripe: String?
    /// What Lustre says of its own health.
    package var lustreHealth: String?

    package init(path: String) { self.path = path }
}

/// What a run will keep there.
package struct CheckpointNeed: Sendable, Equatable {
    /// Bytes of one checkpoint, over all ranks.
    package var bytes: Int
    /// How many are kept; one more exists while it is written.
    package var kept: Int
    /// Files of one.
    package var files: Int
    /// Bytes that checkpoints of the run take already.
    package var present: Int

    package init(bytes: Int, kept: Int, files: Int, present: Int = 0) { (self.bytes, self.kept, self.files, self.present) = (bytes, kept, files, present) }
}

/// Measures a directory and judges what was found.
package enum DirectoryCheck {
    /// Measures. Collective. Everything it writes lies in a hidden directory that is gone afterwards.
    ///
    /// - Parameters:
    ///   - directory: need not exist.
    ///   - bytesPerRank: what each rank writes and reads; less where many ranks or little room are there. 0 measures no speed.
    /// - Throws: `UserError`, the same on every rank: a directory that cannot be written.
    package static func measure(
        _ directory: String, _ communicator: any Communicator, bytesPerRank: Int = 64 << 20, files: SystemFiles = SystemFiles(),
        output: ([String]) -> String?
    ) throws -> DirectoryFacts {
        let rank = communicator.rank
        // Rank 0 decides where, since a directory that only it sees would be another one elsewhere.
        let name = ".mneme-doctor-\(UInt64.random(in: 0 ... .max))"
        let chosen = try communicator.onEveryRank { rank == 0 ? Array(try place(of: directory, name).utf8) : [] }
        let scratch = String(decoding: try communicator.broadcasted(chosen, root: 0), as: UTF8.self)
        let path = Directory.parent(of: scratch)
        defer { if rank == 0 { try? Directory.remove(scratch) } }
        var facts = DirectoryFacts(path: path)

        // Another node may see new files a little later.
        let isSeen = seen(scratch)
        let own = NodeView(node: communicator.nodeName, fileSystem: MountedFileSystem(of: realPath(path), files), isSeen: isSeen)
        for bytes in try communicator.allGather(Array(try JSONEncoder().encode(own))) {
            let view = try JSONDecoder().decode(NodeView.self, from: Data(bytes))
            facts.fileSystems[view.node] = view.fileSystem
            if !view.isSeen, !facts.blindNodes.contains(view.node) { facts.blindNodes.append(view.node) }
        }
        var status = statvfs()
        if statvfs(path, &status) == 0 {
            facts.freeBytes = Int(clamping: UInt64(status.f_bavail).multipliedReportingOverflow(by: UInt64(status.f_frsize)).partialValue)
            // File systems without a fixed number of files say 0 of 0.
            facts.freeFiles = status.f_files == 0 ? .max : Int(clamping: status.f_favail)
        }
        facts.freeBytes = try communicator.allReduced(facts.freeBytes, .minimum)
        facts.freeFiles = try communicator.allReduced(facts.freeFiles, .minimum)
        if own.fileSystem?.type == "lustre" {
            facts.stripe = output(["lfs", "getstripe", "-d", path])
            facts.lustreHealth = files.word("/sys/fs/lustre/health_check")
        }
        guard facts.blindNodes.isEmpty else { return facts }
        facts.lockBreakers = try lockBreakers(scratch, communicator)
        guard bytesPerRank > 0 else { return facts }
        try measureSpeed(&facts, scratch, communicator, bytesPerRank)
        return facts
    }

    private struct NodeView: Codable {
        var node: String
        var fileSystem: MountedFileSystem?
        var isSeen: Bool
    }

    /// Makes a hidden directory in `directory`, or in the nearest one above it that exists.
    private static func place(of directory: String, _ name: String) throws -> String {
        var path = directory
        while Directory.exists(path) == nil, Directory.parent(of: path) != path { path = Directory.parent(of: path) }
        guard Directory.exists(path) == .directory else { throw UserError(.missingInput, "is no directory", at: path, advice: "name the directory of a run") }
        let scratch = Directory.path(of: name, in: path == "." ? FileManager.default.currentDirectoryPath : path)
        try Directory.make(scratch)
        return scratch
    }

    private static func realPath(_ path: String) -> String {
        guard let resolved = withSystemPath(path, { realpath($0, nil) }) else { return path }
        defer { free(resolved) }
        return String(cString: resolved)
    }

    private static func seen(_ path: String) -> Bool {
        for _ in 0..<30 {
            if Directory.exists(path) == .directory { return true }
            usleep(100_000)
        }
        return false
    }

    /// Ranks that get the lock while rank 0 holds it. Collective.
    private static func lockBreakers(_ scratch: String, _ communicator: any Communicator) throws -> [Int] {
        let timing = DirectoryLock.Timing(interval: 0.2, patience: 3)
        func take() throws -> DirectoryLock { try DirectoryLock(directory: scratch, identity: SessionIdentity(environment: [:]), timing: timing) }
        let held = try communicator.onEveryRank { communicator.rank == 0 ? try take() : nil }
        defer { held?.release() }
        // One rank of each node, and rank 1.
        let tries = communicator.rank == 1 || communicator.rank > 0 && communicator.localRank == 0
        let broke = try communicator.onEveryRank {
            guard tries else { return false }
            do {
                try take().release()
                return true
            } catch let error as UserError where error.exitCode == .unavailable { return false }
        }
        return try communicator.allGather([broke ? 1 : 0]).enumerated().filter { $0.element == [1] }.map(\.offset)
    }

    /// Every rank writes a file at the same time, as for a checkpoint, and then reads its neighbour's. Collective.
    private static func measureSpeed(_ facts: inout DirectoryFacts, _ scratch: String, _ communicator: any Communicator, _ bytesPerRank: Int) throws {
        let (rank, size) = (communicator.rank, communicator.size)
        // At most 4 GiB in all, and an eighth of the room.
        let limit = min(bytesPerRank, min(4 << 30, facts.freeBytes / 8) / size)
        let count = max(limit / DirectFile.alignment, 1) * DirectFile.alignment
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: min(count, 4 << 20), alignment: DirectFile.alignment)
        defer { block.deallocate() }
        // Nothing that a file system could store as holes or compress.
        var random = SystemRandomNumberGenerator()
        for index in 0..<block.count / 8 { block.storeBytes(of: random.next(), toByteOffset: 8 * index, as: UInt64.self) }
        func path(_ rank: Int) -> String { Directory.path(of: "rank-\(rank)", in: scratch) }
        func timed(_ body: () throws -> Void) throws -> Double {
            try communicator.barrier()
            let start = ContinuousClock.now
            try communicator.onEveryRank(body)
            return try communicator.allReduced((ContinuousClock.now - start) / .seconds(1), .maximum)
        }
        let writing = try timed {
            try DurableFile.replace(path(rank), by: [UInt8]())
            let file = try DirectFile(path(rank))
            for place in stride(from: 0, to: count, by: block.count) {
                try file.write(UnsafeRawBufferPointer(rebasing: block[..<min(block.count, count - place)]), at: place)
            }
            try file.synchronize()
        }
        let reading = try timed {
            let file = try DirectFile(path((rank + 1) % size), isReadOnly: true)
            for place in stride(from: 0, to: count, by: block.count) {
                try file.read(into: UnsafeMutableRawBufferPointer(rebasing: block[..<min(block.count, count - place)]), at: place)
            }
        }
        var syncs: [Double] = []
        for _ in 0..<5 {
            syncs.append(
                try timed { if rank == 0 { try DurableFile.replace(Directory.path(of: "small", in: scratch), by: [UInt8](repeating: 1, count: 4096)) } })
        }
        facts.measuredBytes = count * size
        facts.writeBytesPerSecond = Double(count * size) / max(writing, 1e-9)
        facts.readBytesPerSecond = Double(count * size) / max(reading, 1e-9)
        facts.syncSeconds = syncs.sorted()[2]
    }

    // MARK: Verdicts

    /// - Parameter need: what a run will keep there; `nil` where none is known.
    package static func results(_ facts: DirectoryFacts, need: CheckpointNeed? = nil) -> [CheckResult] {
        [fileSystem(facts), lock(facts), space(facts, need)] + speed(facts, need) + stripe(facts, need)
    }

    private static func fileSystem(_ facts: DirectoryFacts) -> CheckResult {
        let name = "file system"
        if let blind = facts.blindNodes.first {
            return .fail(
                name, "\(facts.path): \(blind) does not see what rank 0 writes there", "name a directory on a file system that all nodes share")
        }
        let types = Set(facts.fileSystems.values.map(\.type)).sorted()
        guard let first = facts.fileSystems.sorted(by: { $0.key < $1.key }).first?.value else { return .pass(name, "\(facts.path): of unknown kind") }
        if types.count > 1 {
            return .warn(name, "\(facts.path): \(types.joined(separator: " and ")) on different nodes", "mount it alike on all nodes")
        }
        if ["tmpfs", "ramfs"].contains(first.type) {
            return .warn(name, "\(facts.path): \(first.type), which is gone with the node", "keep checkpoints on a disk")
        }
        return .pass(name, "\(facts.path): \(first.type) on \(first.source)")
    }

    private static func lock(_ facts: DirectoryFacts) -> CheckResult {
        let name = "locking"
        if !facts.lockBreakers.isEmpty {
            return .fail(
                name, "\(ranksListed(facts.lockBreakers)) got the lock that rank 0 held",
                "use a file system with exclusive creation and links: two sessions would write one run directory")
        }
        return .pass(name, "a lock that rank 0 holds is refused to others")
    }

    private static func space(_ facts: DirectoryFacts, _ need: CheckpointNeed?) -> CheckResult {
        let name = "free space"
        let free = "\(bytesShown(facts.freeBytes)) free"
        guard let need else { return .pass(name, free) }
        // A run that is far too large has more bytes than an Int holds.
        let all = Int(clamping: UInt64(min(Double(need.bytes) * Double(need.kept + 1), 1e18)))
        let kept = "\(need.kept) checkpoints of \(bytesShown(need.bytes)) and one that is being written"
        if all - need.present > facts.freeBytes {
            return .fail(
                name, "\(free), but \(kept) need \(bytesShown(all))" + (need.present > 0 ? ", of which \(bytesShown(need.present)) are there" : ""),
                "make room, set checkpoint.keep lower, or put run on another file system")
        }
        if need.files * (need.kept + 1) > facts.freeFiles {
            return .fail(
                name, "room for \(facts.freeFiles) files, but \(kept) are \(need.files * (need.kept + 1)) files",
                "ask for more inodes, or set checkpoint.perNode")
        }
        return .pass(name, "\(free); \(kept) need \(bytesShown(all))")
    }

    private static func speed(_ facts: DirectoryFacts, _ need: CheckpointNeed?) -> [CheckResult] {
        guard facts.measuredBytes > 0 else { return [] }
        let name = "file speed"
        let text = String(
            format: "write %.0f MB/s with fsync, read %.0f MB/s (%@ in all), a small file synced in %.1f ms", facts.writeBytesPerSecond / 1e6,
            facts.readBytesPerSecond / 1e6, bytesShown(facts.measuredBytes), facts.syncSeconds * 1e3)
        if let need, Double(need.bytes) / facts.writeBytesPerSecond > 300 {
            return [
                .warn(
                    name, text + String(format: "; a checkpoint takes %.0f s", Double(need.bytes) / facts.writeBytesPerSecond),
                    "choose a faster file system, or set checkpoint.every so that saves are few")
            ]
        }
        if facts.syncSeconds > 1 { return [.warn(name, text, "choose another file system: every checkpoint syncs several files, one after the other")] }
        return [.pass(name, text)]
    }

    private static func stripe(_ facts: DirectoryFacts, _ need: CheckpointNeed?) -> [CheckResult] {
        guard facts.fileSystems.values.contains(where: { $0.type == "lustre" }) else { return [] }
        var results: [CheckResult] = []
        if let health = facts.lustreHealth, health != "healthy" {
            results.append(.fail("Lustre", "it says of itself: \(health)", "tell the operators; start no run there"))
        }
        guard let stripe = facts.stripe, let count = number("stripe_count", stripe) else {
            return results + [.warn("stripe", "lfs getstripe -d \(facts.path) says nothing", "put lfs into PATH")]
        }
        // A shard of more than 1 GiB by one writer is spread over some targets; smaller ones are not.
        let shard = need.map { $0.bytes / max($0.files - 1, 1) } ?? 0
        if shard > 1 << 30, count == 1 {
            results.append(
                .warn("stripe", "1 target for shards of \(bytesShown(shard))", "lfs setstripe -c 4 \(facts.path) before the run starts: it holds for new files"))
        } else if count == -1 || count > 72, shard < 1 << 30 {
            results.append(
                .warn("stripe", count == -1 ? "all targets" : "\(count) targets for each file", "lfs setstripe -c 1 \(facts.path): many files of many ranks spread by themselves"))
        } else {
            results.append(.pass("stripe", "\(count) \(count == 1 ? "target" : "targets") a file"))
        }
        return results
    }

    /// A number after `name:` in what `lfs getstripe` prints.
    private static func number(_ name: String, _ text: String) -> Int? {
        text.range(of: "\(name):").flatMap { text[$0.upperBound...].split(whereSeparator: \.isWhitespace).first }.flatMap { Int($0) }
    }
}
