// The file of a dictionary memory: an append-only log of changes that is checked and replayed. checkpoints/FORMAT.md describes it.

import CZlib
import Diagnostics
import Foundation
import Storage

/// The file behind a ``DictionaryMemory``.
///
/// The first line names the format, its version, the rules and the file's generation, a random number that no other file has: by it an owner knows
/// the file that it has read, whatever has been renamed over it since. Each further line is one change: a checksum, a word, and the fields of the
/// change, separated by tabs. A checksum covers its line and, by starting from the checksum before it, all lines before, so that a line that is changed,
/// missing or out of place is found.
///
/// What a crash can do: a change is one write at the end of the file, followed by fsync, so that it is there or is a last line that is not whole.
/// Such a line is dropped, and cut off by the next change. Everything before it is intact, or is an error.
///
/// Processes take turns by a lock of the file (flock). When the log has grown far beyond what it holds, it is written anew beside itself and renamed.
/// Version 1 has no generation: such a file is read whole before each change, and the first change writes it anew.
final class DictionaryLog {
    static let format = "mneme-dictionary"
    static let version = 2

    let path: String
    /// What was dropped from the end when the file was last read.
    private(set) var repair: String?
    /// What has been read: the file's generation, the end of its last whole line, the checksum there, and the number of changes.
    private var state = State()

    private struct State {
        /// `nil` for a file of version 1.
        var generation: String?
        var end = 0
        var checksum: UInt = 0
        var changes = 0
    }

    init(path: String) { self.path = path }

    // MARK: Reading

    /// The whole dictionary.
    func read() throws -> DictionaryContents {
        let descriptor = withSystemPath(path) { open($0, O_RDONLY) }
        guard descriptor >= 0 else {
            guard errno == ENOENT else { throw failure("open the file") }
            throw UserError(
                .missingInput, "there is no such file", at: path, advice: "name a run directory of a knowledge task, or create the file first")
        }
        defer { close(descriptor) }
        return try read(descriptor)
    }

    private func read(_ descriptor: Int32) throws -> DictionaryContents {
        let bytes = try bytes(descriptor, from: 0)
        guard let end = bytes.firstIndex(of: UInt8(ascii: "\n")), let header = Header(bytes[..<end]) else {
            throw UserError(.badData, "is no dictionary of version 1 or \(Self.version)", at: path, advice: "restore the file from a copy")
        }
        var contents = header.empty
        state = State(generation: header.generation, end: end + 1, checksum: Self.checksum(0, bytes[...end]), changes: 0)
        try replay(bytes[(end + 1)...], into: &contents)
        return contents
    }

    /// Applies the changes that another process may have added behind what was read.
    private func replay(_ bytes: ArraySlice<UInt8>, into contents: inout DictionaryContents) throws {
        repair = nil
        var rest = bytes
        while !rest.isEmpty {
            let end = rest.firstIndex(of: UInt8(ascii: "\n"))
            guard let end, let (change, checksum) = Self.change(rest[..<end], after: state.checksum) else {
                if end == nil || end == rest.endIndex - 1 {
                    repair = "the last change (\(rest.count) bytes at byte \(state.end)) was cut off and is dropped"
                    return
                }
                throw UserError(
                    .badData, "change \(state.changes + 1) does not fit its checksum, and changes follow it", at: "\(path): byte \(state.end)",
                    advice: "restore the file from a copy")
            }
            _ = contents.apply(change)
            state.checksum = checksum
            state.changes += 1
            state.end += end + 1 - rest.startIndex
            rest = rest[(end + 1)...]
        }
    }

    // MARK: Writing

    /// Writes a change to the file and makes it.
    /// - Returns: how many values it touched; a change that touches none is not written.
    func append(_ change: DictionaryChange, to contents: inout DictionaryContents) throws -> Int {
        try locked { descriptor in
            var fresh = contents
            if let generation = state.generation, try generation == self.generation(descriptor) {
                try replay(bytes(descriptor, from: state.end)[...], into: &fresh)
            } else {
                fresh = try read(descriptor)
            }
            contents = fresh
            let touched = fresh.apply(change)
            if touched == 0 { return 0 }
            if state.generation == nil {
                try rewrite(fresh)
                contents = fresh
                return touched
            }
            let (line, checksum) = Self.line(change, after: state.checksum)
            guard ftruncate(descriptor, off_t(state.end)) == 0 else { throw failure("cut off what a crash has left") }
            do {
                try Self.write(line, to: descriptor, at: state.end, path)
            } catch {
                ftruncate(descriptor, off_t(state.end))
                throw error
            }
            state.end += line.count
            state.checksum = checksum
            state.changes += 1
            contents = fresh
            if state.changes > 4 * contents.valueCount + 256 { try rewrite(contents) }
            return touched
        }
    }

    /// Writes a whole dictionary in the place of the file.
    func replace(by contents: DictionaryContents) throws {
        if Directory.exists(path) != nil { try locked { _ in try rewrite(contents) } } else { try rewrite(contents) }
    }

    /// Writes the file beside itself and renames it.
    private func rewrite(_ contents: DictionaryContents) throws {
        let partial = "\(path).partial-\(getpid())"
        let descriptor = withSystemPath(partial) { open($0, O_RDWR | O_CREAT | O_TRUNC, 0o644) }
        guard descriptor >= 0 else { throw failure("create the file") }
        defer { close(descriptor) }
        do {
            let generation = UInt64.random(in: 0 ... .max)
            try Self.write(Self.bytes(of: contents, generation: String(generation, radix: 16)), to: descriptor, at: 0, path)
            guard withSystemPaths(partial, path, rename) == 0 else { throw failure("rename the new file") }
        } catch {
            withSystemPath(partial, unlink)
            throw error
        }
        try Directory.synchronize(Directory.parent(of: path))
        _ = try read(descriptor)
    }

    /// Runs `body` while this process alone may change the file.
    private func locked<Result>(_ body: (Int32) throws -> Result) throws -> Result {
        while true {
            let descriptor = withSystemPath(path) { open($0, O_RDWR) }
            guard descriptor >= 0 else { throw failure("open the file") }
            defer { close(descriptor) }
            while flock(descriptor, LOCK_EX) != 0 { guard errno == EINTR else { throw failure("lock the file") } }
            // The file may have been replaced while this process waited for it. While both are open, two files have two numbers.
            var (named, opened) = (stat(), stat())
            guard withSystemPath(path, { stat($0, &named) }) == 0 else { throw failure("find the file") }
            guard fstat(descriptor, &opened) == 0 else { throw failure("look at the file") }
            if named.st_ino == opened.st_ino, named.st_dev == opened.st_dev { return try body(descriptor) }
        }
    }

    /// The generation that the first line of an open file names; `nil` where it names none.
    private func generation(_ descriptor: Int32) throws -> String? {
        let bytes = try bytes(descriptor, from: 0, atMost: 128)
        return bytes.firstIndex(of: UInt8(ascii: "\n")).flatMap { Header(bytes[..<$0]) }?.generation
    }

    private func bytes(_ descriptor: Int32, from start: Int, atMost limit: Int = .max) throws -> [UInt8] {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw failure("look at the file") }
        let size = min(Int(status.st_size) - start, limit)
        guard size >= 0 else { throw UserError(.badData, "has become shorter than it was", at: path, advice: "restore the file from a copy") }
        var bytes = [UInt8](repeating: 0, count: size)
        var done = 0
        while done < size {
            let count = bytes.withUnsafeMutableBytes { pread(descriptor, $0.baseAddress! + done, size - done, off_t(start + done)) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw failure("read the file") }
            if count == 0 { break }
            done += count
        }
        return done == size ? bytes : Array(bytes[..<done])
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32, at place: Int, _ path: String) throws {
        var done = 0
        while done < bytes.count {
            let count = bytes.withUnsafeBytes { pwrite(descriptor, $0.baseAddress! + done, bytes.count - done, off_t(place + done)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw failure("write the file", at: path) }
            done += count
        }
        guard fsync(descriptor) == 0 else { throw failure("write the file to disk", at: path) }
    }

    private func failure(_ action: String) -> UserError { Self.failure(action, at: path) }

    private static func failure(_ action: String, at path: String) -> UserError {
        UserError(.inputOutput, "cannot \(action): \(String(cString: strerror(errno)))", at: path, advice: "check the permissions and the free space")
    }

    // MARK: Lines

    /// The bytes of a file that holds `contents` and nothing else: without a generation one of version 1, the same for the same contents.
    static func bytes(of contents: DictionaryContents, generation: String? = nil) -> [UInt8] {
        var bytes = Array(Header(contents, generation: generation).line.utf8)
        var checksum = checksum(0, bytes[...])
        for entry in contents.entries {
            for value in entry.values {
                let (line, next) = line(.put(key: entry.key, value: value), after: checksum)
                bytes += line
                checksum = next
            }
        }
        return bytes
    }

    /// What the first line says.
    private struct Header {
        /// The dictionary without an entry.
        let empty: DictionaryContents
        /// A number in hexadecimal; `nil` in version 1.
        let generation: String?

        init(_ contents: DictionaryContents, generation: String?) {
            empty = DictionaryContents(keyCase: contents.keyCase, duplicates: contents.duplicates)
            self.generation = generation
        }

        /// `nil` for a line, given without its end, of another format or version.
        init?(_ line: ArraySlice<UInt8>) {
            let fields = String(decoding: line, as: UTF8.self).split(separator: " ").map(String.init)
            guard fields.count >= 4, fields[0] == format, fields.count == (fields[1] == "1" ? 4 : 5), ["1", "\(version)"].contains(fields[1]),
                let keyCase = KeyCase(rawValue: fields[2]), let duplicates = DuplicateRule(rawValue: fields[3])
            else { return nil }
            empty = DictionaryContents(keyCase: keyCase, duplicates: duplicates)
            generation = fields.count == 5 ? fields[4] : nil
        }

        /// The line with its end.
        var line: String {
            let rules = "\(empty.keyCase.rawValue) \(empty.duplicates.rawValue)"
            return generation.map { "\(format) \(version) \(rules) \($0)\n" } ?? "\(format) 1 \(rules)\n"
        }
    }

    private static func checksum(_ previous: UInt, _ bytes: ArraySlice<UInt8>) -> UInt {
        bytes.withUnsafeBufferPointer { crc32_z(previous, $0.baseAddress, $0.count) }
    }

    private static func line(_ change: DictionaryChange, after checksum: UInt) -> (bytes: [UInt8], checksum: UInt) {
        let fields: [String]
        switch change {
        case .put(let key, let value): fields = ["put", key, value]
        case .update(let key, let old, let new): fields = old.map { ["update", key, $0, new] } ?? ["set", key, new]
        case .delete(let key, let value): fields = value.map { ["remove", key, $0] } ?? ["delete", key]
        }
        let text = Array(fields.map(escaped).joined(separator: [UInt8(ascii: "\t")]))
        let next = Self.checksum(checksum, text[...])
        let digits = String(next, radix: 16)
        return (Array("\(String(repeating: "0", count: 8 - digits.count))\(digits)\t".utf8) + text + [UInt8(ascii: "\n")], next)
    }

    /// The change of a line without its end; `nil` where the checksum or the fields do not fit.
    private static func change(_ line: ArraySlice<UInt8>, after checksum: UInt) -> (DictionaryChange, UInt)? {
        guard line.count > 9, line[line.startIndex + 8] == UInt8(ascii: "\t"),
            let stored = UInt(String(decoding: line.prefix(8), as: UTF8.self), radix: 16)
        else { return nil }
        let text = line.dropFirst(9)
        guard Self.checksum(checksum, text) == stored else { return nil }
        let fields = text.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false).map(unescaped)
        switch (String(decoding: text.prefix { $0 != UInt8(ascii: "\t") }, as: UTF8.self), fields.count) {
        case ("put", 3): return (.put(key: fields[1], value: fields[2]), stored)
        case ("update", 4): return (.update(key: fields[1], old: fields[2], new: fields[3]), stored)
        case ("set", 3): return (.update(key: fields[1], old: nil, new: fields[2]), stored)
        case ("remove", 3): return (.delete(key: fields[1], value: fields[2]), stored)
        case ("delete", 2): return (.delete(key: fields[1], value: nil), stored)
        default: return nil
        }
    }

    /// Tabs, line ends and backslashes as two characters.
    private static func escaped(_ text: String) -> [UInt8] {
        var result: [UInt8] = []
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "\\"): result += [byte, byte]
            case 0x09: result += Array("\\t".utf8)
            case 0x0a: result += Array("\\n".utf8)
            case 0x0d: result += Array("\\r".utf8)
            default: result.append(byte)
            }
        }
        return result
    }

    private static func unescaped(_ bytes: ArraySlice<UInt8>) -> String {
        guard bytes.contains(0x5c) else { return String(decoding: bytes, as: UTF8.self) }
        var result: [UInt8] = []
        var escapes = false
        for byte in bytes {
            if escapes {
                result.append(byte == UInt8(ascii: "t") ? 0x09 : byte == UInt8(ascii: "n") ? 0x0a : byte == UInt8(ascii: "r") ? 0x0d : byte)
                escapes = false
            } else if byte == 0x5c {
                escapes = true
            } else {
                result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
