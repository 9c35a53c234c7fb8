// A file of JSON lines that grows at its end and shows when one of its lines was lost, changed or cut.

import Diagnostics
import Foundation

/// A log of JSON objects, one a line. Each line ends with the member `chain`: the XXH64, in sixteen hexadecimal digits, of the chain of the
/// line before (eight bytes, little-endian; of none before the first line) and of the line's own bytes up to that member.
///
/// So a line that is missing, doubled, changed or in another order is found where it stands. A line without an end is what a crash has left
/// of the last one: readers pass over it, and the next append takes its place. It detects accidents, and is no defence against a forger.
public struct ChainedLog: Sendable {
    /// The file.
    public let path: String
    private var chain: UInt64?
    /// Bytes up to the end of the last whole line.
    private var byteCount = 0
    /// Lines so far.
    public private(set) var lineCount = 0
    /// Bytes of an unfinished line behind the last whole one.
    public private(set) var unfinishedByteCount = 0

    private static let member = Array(",\"chain\":\"".utf8)
    private static let end = Array("\"}".utf8)

    /// Reads the log; one that does not exist is empty.
    /// - Parameter each: takes each line's JSON object, in order, with the line's number from 1.
    /// - Throws: `UserError` (.badData) with the line that is damaged, (.inputOutput), and what `each` throws.
    public init(_ path: String, each: (_ json: ArraySlice<UInt8>, _ line: Int) throws -> Void = { _, _ in }) throws {
        self.path = path
        guard Directory.exists(path) != nil else { return }
        let bytes = try DurableFile.read(path)
        var start = 0
        while let lineEnd = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            let line = bytes[start..<lineEnd]
            let tail = Self.member.count + 16 + Self.end.count
            let object = line.dropLast(tail)
            guard line.count > tail, line[object.endIndex...].starts(with: Self.member),
                line.suffix(Self.end.count).elementsEqual(Self.end),
                let stored = UInt64(
                    String(decoding: line[object.endIndex...].dropFirst(Self.member.count).prefix(16), as: UTF8.self), radix: 16),
                stored == Self.chain(chain, object)
            else {
                throw UserError(
                    .badData, "the line is damaged, or a line before it was lost", at: "\(path):\(lineCount + 1)",
                    advice: "restore the file from a copy")
            }
            lineCount += 1
            try each(object + [UInt8(ascii: "}")], lineCount)
            chain = stored
            start = lineEnd + 1
        }
        byteCount = start
        unfinishedByteCount = bytes.count - start
    }

    /// Adds values as lines; they are on the disk when it returns, all of them or, after a crash, the first few.
    /// - Throws: `UserError` (.inputOutput); the file may then hold some of the lines.
    public mutating func append(_ values: [some Encodable]) throws {
        guard !values.isEmpty else { return }
        var (text, chain) = ([UInt8](), chain)
        for value in values {
            let object = Array(try JSONText.line(value).utf8.dropLast())
            require(object.count > 1, "a line of a log has a member")
            let next = Self.chain(chain, object[...])
            let digits = String(next, radix: 16)
            text +=
                object + Self.member + Array((String(repeating: "0", count: 16 - digits.count) + digits).utf8) + Self.end + [
                    UInt8(ascii: "\n")
                ]
            chain = next
        }
        try Failpoint.logAppend.pass(path)
        let isNew = Directory.exists(path) == nil
        let descriptor = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_CLOEXEC, 0o666) }
        guard descriptor >= 0 else { throw DurableFile.failure("written", path) }
        do {
            defer { close(descriptor) }
            guard ftruncate(descriptor, off_t(byteCount)) == 0, lseek(descriptor, 0, SEEK_END) == off_t(byteCount) else {
                throw DurableFile.failure("written", path)
            }
            try text.withUnsafeBytes { try DurableFile.writeAll($0, descriptor, path) }
            guard fsync(descriptor) == 0 else { throw DurableFile.failure("written", path) }
        }
        if isNew { try Directory.synchronize(Directory.parent(of: path)) }
        byteCount += text.count
        unfinishedByteCount = 0
        lineCount += values.count
        self.chain = chain
    }

    private static func chain(_ previous: UInt64?, _ object: ArraySlice<UInt8>) -> UInt64 {
        var hash = XXHash64()
        if let previous { withUnsafeBytes(of: previous.littleEndian) { hash.update($0) } }
        object.withUnsafeBytes { hash.update($0) }
        return hash.finalized()
    }
}
