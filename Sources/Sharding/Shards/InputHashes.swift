// What the inputs of a corpus are: sizes and hashes of the very files that are read.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Inputs
import Storage

/// Sizes and hashes of input files; the files are shared out among the ranks.
struct InputHashes {
    /// One entry an input, the same on every rank.
    let entries: [CorpusManifest.Input]
    /// The files that this rank hashed, as they were then.
    private let own: [(file: String, stamp: Stamp)]

    /// By which a file that was written to is told.
    private struct Stamp: Equatable {
        let inode: ino_t
        let size: off_t
        let seconds: Int
        let nanoseconds: Int

        init(_ status: stat) {
            (inode, size) = (status.st_ino, status.st_size)
            (seconds, nanoseconds) = (status.st_mtim.tv_sec, status.st_mtim.tv_nsec)
        }
    }

    /// Hashes files. Collective.
    /// - Parameter inputs: the same on every rank.
    /// - Throws: `UserError(.missingInput)` on every rank where one cannot be read, or is a pipe: it would be empty when it is read again.
    init(of inputs: [CorpusInput], _ communicator: any Communicator) throws {
        let flat = inputs.enumerated().flatMap { index, input in input.filesOnDisk.map { (input: index, file: $0) } }
        // Files of rank r: r, r + P, ... Each result is 16 bytes: size and hash.
        var own: [(file: String, stamp: Stamp)] = []
        let mine = try communicator.onEveryRank {
            try stride(from: communicator.rank, to: flat.count, by: communicator.size).flatMap { index -> [UInt8] in
                let (stamp, bytes, hash) = try Self.hash(file: flat[index].file)
                own.append((flat[index].file, stamp))
                return withUnsafeBytes(of: UInt64(bytes).littleEndian) { Array($0) } + withUnsafeBytes(of: hash.littleEndian) { Array($0) }
            }
        }
        self.own = own
        let everyRank = try communicator.allGather(mine)
        func result(_ index: Int) -> (bytes: Int, hash: UInt64) {
            everyRank[index % communicator.size].withUnsafeBytes { bytes in
                let offset = 16 * (index / communicator.size)
                return (
                    Int(UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))),
                    UInt64(littleEndian: bytes.loadUnaligned(fromByteOffset: offset + 8, as: UInt64.self))
                )
            }
        }
        var entries = inputs.map { CorpusManifest.Input(path: PathText.shown($0.path), bytes: 0, xxh64: "") }
        var directories = [XXHash64](repeating: XXHash64(), count: inputs.count)
        for (index, entry) in flat.enumerated() {
            let (bytes, hash) = result(index)
            let path = inputs[entry.input].path
            entries[entry.input].bytes += bytes
            if InputFiles.kind(of: path) != .directory {
                // A file, or an archive of which one file or several are read.
                entries[entry.input].xxh64 = hexadecimal(hash, digits: 16)
            } else {
                // A directory's hash covers the relative name and the hash of each file in it.
                let name = PathText.bytes(of: entry.file).dropFirst(path == "/" ? 0 : PathText.bytes(of: path).count)
                let line = Array("\(hexadecimal(hash, digits: 16))  ".utf8) + name + [0x0a]
                line.withUnsafeBytes { directories[entry.input].update($0) }
                entries[entry.input].xxh64 = hexadecimal(directories[entry.input].finalized(), digits: 16)
            }
        }
        self.entries = entries
    }

    /// Makes sure that this rank's files are still those that were hashed.
    /// - Throws: `UserError(.badData)`.
    func requireUnchanged() throws {
        for (file, stamp) in own {
            var status = stat()
            guard withSystemPath(file, { stat($0, &status) }) == 0, Stamp(status) == stamp else {
                throw UserError(.badData, "was changed while it was being read", at: file, advice: "start again when nothing writes to it any more")
            }
        }
    }

    private static func hash(file: String) throws -> (stamp: Stamp, bytes: Int, hash: UInt64) {
        let descriptor = try DurableFile.openRegular(file).descriptor
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw UserError(.inputOutput, "cannot be read: \(systemReason())", at: file) }
        var hash = XXHash64()
        var total = 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw UserError(.inputOutput, "cannot be read: \(systemReason())", at: file) }
            if count == 0 { return (Stamp(status), total, hash.finalized()) }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            total += count
        }
    }
}
