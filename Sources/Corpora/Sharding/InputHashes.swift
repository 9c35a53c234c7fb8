// What the inputs of a corpus are: their files, sizes and hashes.

import Collectives
import Diagnostics
import Foundation
import Storage

/// Lists and hashes input files.
enum InputHashes {
    /// Sizes and hashes of the inputs, the same on every rank; the files are shared out among the ranks. Collective.
    ///
    /// - Parameter paths: files and directories as the user gave them; of a directory all regular files below it count, in order of their names.
    /// - Throws: `UserError(.missingInput)` on every rank where one cannot be read.
    static func gather(_ paths: [String], _ communicator: any Communicator) throws -> [CorpusManifest.Input] {
        let files = try communicator.onEveryRank { try paths.map { try expanded($0) } }
        var flat: [(input: Int, file: String)] = []
        for (input, list) in files.enumerated() { flat += list.map { (input, $0) } }
        // Files of rank r: r, r + P, ... Each result is 16 bytes: size and hash.
        let mine = try communicator.onEveryRank {
            try stride(from: communicator.rank, to: flat.count, by: communicator.size).flatMap { index -> [UInt8] in
                let (bytes, hash) = try self.hash(file: flat[index].file)
                return withUnsafeBytes(of: UInt64(bytes).littleEndian) { Array($0) } + withUnsafeBytes(of: hash.littleEndian) { Array($0) }
            }
        }
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
        var inputs = paths.map { CorpusManifest.Input(path: $0, bytes: 0, xxh64: "") }
        var directories = [XXHash64](repeating: XXHash64(), count: paths.count)
        for (index, entry) in flat.enumerated() {
            let (bytes, hash) = result(index)
            inputs[entry.input].bytes += bytes
            if files[entry.input].count == 1 && entry.file == paths[entry.input] {
                inputs[entry.input].xxh64 = hexadecimal(hash, digits: 16)
            } else {
                // A directory's hash covers the relative name and the hash of each file in it.
                let line = Array("\(hexadecimal(hash, digits: 16))  \(entry.file.dropFirst(paths[entry.input].count))\n".utf8)
                line.withUnsafeBytes { directories[entry.input].update($0) }
                inputs[entry.input].xxh64 = hexadecimal(directories[entry.input].finalized(), digits: 16)
            }
        }
        return inputs
    }

    /// The path itself, or the regular files below it where it is a directory.
    private static func expanded(_ path: String) throws -> [String] {
        var isDirectory: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) else {
            throw UserError(.missingInput, "no such file or directory", at: path, advice: "check the path")
        }
        guard isDirectory.boolValue else { return [path] }
        guard let walker = FileManager.default.enumerator(atPath: path) else {
            throw UserError(.missingInput, "cannot be listed", at: path, advice: "check its permissions")
        }
        var files: [String] = []
        while let name = walker.nextObject() as? String {
            if walker.fileAttributes?[.type] as? FileAttributeType == .typeRegular { files.append((path as NSString).appendingPathComponent(name)) }
        }
        return files.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
    }

    private static func hash(file: String) throws -> (bytes: Int, hash: UInt64) {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw UserError(.missingInput, "cannot be opened: \(FileBytes.systemReason())", at: file) }
        defer { close(descriptor) }
        var hash = XXHash64()
        var total = 0
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 18, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let count = read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 && errno == EINTR { continue }
            guard count >= 0 else { throw UserError(.inputOutput, "cannot be read: \(FileBytes.systemReason())", at: file) }
            if count == 0 { return (total, hash.finalized()) }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
            total += count
        }
    }
}
