// Members of a zip archive, found by the directory at its end.

import CZlib
import Diagnostics
import Glibc

/// An open zip archive.
final class ZipReader {
    /// A member that is a file.
    struct Member {
        var name: [UInt8]
        var size: Int
        var compressedSize: Int
        var checksum: UInt32
        /// 0: stored; 8: deflated.
        var method: Int
        var isEncrypted: Bool
        var headerOffset: Int
    }

    let members: [Member]
    /// Names of links, which hold no text.
    let links: [[UInt8]]
    private let places: [[UInt8]: Int]
    private let file: FileBytes
    private let path: String

    /// Reads the directory.
    /// - Throws: `UserError(.badData)` for an archive that is damaged or cut off.
    init(path: String) throws {
        self.path = path
        file = try FileBytes(path: path)
        var status = stat()
        guard fstat(file.descriptor, &status) == 0 else { throw UserError(.inputOutput, "cannot be looked at: \(systemReason())", at: path) }
        (members, links) = try Self.directory(file, Int(status.st_size), path)
        places = Dictionary(members.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { first, _ in first })
    }

    /// The member of a name; `nil` where there is none.
    func member(named name: [UInt8]) -> Member? { places[name].map { members[$0] } }

    private static func directory(_ file: FileBytes, _ size: Int, _ path: String) throws -> (members: [Member], links: [[UInt8]]) {
        // The end of the directory: 22 bytes, and a comment of up to 65,535.
        let tail = try bytes(file, max(0, size - 65_557), min(size, 65_557), path)
        guard let end = stride(from: tail.count - 22, through: 0, by: -1).first(where: { tail[$0...].starts(with: [0x50, 0x4b, 0x05, 0x06]) }) else {
            throw failure("has no directory at its end", path)
        }
        var count = number(tail, end + 10, 2)
        var length = number(tail, end + 12, 4)
        var offset = number(tail, end + 16, 4)
        if end >= 20, tail[(end - 20)...].starts(with: [0x50, 0x4b, 0x06, 0x07]) {
            let record = try bytes(file, number(tail, end - 20 + 8, 8), 56, path)
            guard record.starts(with: [0x50, 0x4b, 0x06, 0x06]) else { throw failure("is damaged", path) }
            (count, length, offset) = (number(record, 32, 8), number(record, 40, 8), number(record, 48, 8))
        }
        guard length <= size, length >= 0 else { throw failure("is damaged", path) }
        let directory = try bytes(file, offset, length, path)
        var members: [Member] = []
        var links: [[UInt8]] = []
        var at = 0
        for _ in 0..<max(0, count) {
            guard at + 46 <= directory.count, directory[at...].starts(with: [0x50, 0x4b, 0x01, 0x02]) else { throw failure("is damaged", path) }
            let (nameLength, extraLength, commentLength) = (
                number(directory, at + 28, 2), number(directory, at + 30, 2), number(directory, at + 32, 2)
            )
            guard at + 46 + nameLength + extraLength <= directory.count else { throw failure("is damaged", path) }
            var member = Member(
                name: Array(directory[(at + 46)..<(at + 46 + nameLength)]), size: number(directory, at + 24, 4),
                compressedSize: number(directory, at + 20, 4), checksum: UInt32(number(directory, at + 16, 4)), method: number(directory, at + 10, 2),
                isEncrypted: number(directory, at + 8, 2) & 1 != 0, headerOffset: number(directory, at + 42, 4))
            readLargeSizes(directory[(at + 46 + nameLength)..<(at + 46 + nameLength + extraLength)], into: &member)
            // The high half of the external attributes is a Unix mode where a Unix made the entry; links hold no text.
            let mode = number(directory, at + 38, 4) >> 16
            let isLink = number(directory, at + 5, 1) == 3 && mode & 0o170000 == 0o120000
            if isLink { links.append(member.name) } else if member.name.last != UInt8(ascii: "/") { members.append(member) }
            at += 46 + nameLength + extraLength + commentLength
        }
        return (members, links)
    }

    /// Sizes beyond 32 bits stand in an extra field.
    private static func readLargeSizes(_ extra: ArraySlice<UInt8>, into member: inout Member) {
        var rest = Array(extra)[...]
        while rest.count >= 4 {
            let bytes = Array(rest)
            let (kind, length) = (number(bytes, 0, 2), number(bytes, 2, 2))
            guard 4 + length <= bytes.count else { return }
            if kind == 1 {
                var at = 4
                for field in [\Member.size, \Member.compressedSize, \Member.headerOffset] where member[keyPath: field] == 0xffff_ffff {
                    guard at + 8 <= 4 + length else { return }
                    member[keyPath: field] = number(bytes, at, 8)
                    at += 8
                }
            }
            rest = rest.dropFirst(4 + length)
        }
    }

    /// The content of a member.
    /// - Throws: `UserError(.badData)` for a member that is encrypted or compressed by another method.
    func stream(of member: Member) throws -> any ByteStream {
        guard !member.isEncrypted else { throw Self.failure("holds an encrypted member, \(Self.shown(member))", path) }
        let header = try Self.bytes(file, member.headerOffset, 30, path)
        guard header.starts(with: [0x50, 0x4b, 0x03, 0x04]) else { throw Self.failure("is damaged", path) }
        let start = member.headerOffset + 30 + Self.number(header, 26, 2) + Self.number(header, 28, 2)
        switch member.method {
        case 0, 8: return ZipMember(file, from: start, member, path)
        default: throw Self.failure("holds \(Self.shown(member)) by compression method \(member.method), which Mneme does not read", path)
        }
    }

    fileprivate static func shown(_ member: Member) -> String { PathText.shown(PathText.text(of: member.name)) }

    fileprivate static func bytes(_ file: FileBytes, _ offset: Int, _ count: Int, _ path: String) throws -> [UInt8] {
        guard count >= 0, offset >= 0 else { throw failure("is damaged", path) }
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = bytes.withUnsafeMutableBytes { pread(file.descriptor, $0.baseAddress! + filled, count - filled, off_t(offset + filled)) }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw UserError(.inputOutput, "cannot be read: \(systemReason())", at: path) }
            guard got > 0 else { throw failure("is cut off", path) }
            filled += got
        }
        return bytes
    }

    /// A number as little-endian bytes; negative where it is beyond all sizes.
    private static func number(_ bytes: [UInt8], _ at: Int, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 | Int(bytes[at + $1]) << (8 * $1) }
    }

    fileprivate static func failure(_ what: String, _ path: String) -> UserError {
        UserError(.badData, "the zip archive \(what)", at: path, advice: "copy or download it again, or unpack it first")
    }
}

/// The content of one member, whose checksum is verified at its end.
private final class ZipMember: ByteStream {
    private let file: FileBytes
    private let member: ZipReader.Member
    private let path: String
    private var offset: Int
    private var left: Int
    private var made = 0
    private var checksum = crc32(0, nil, 0)
    private let stream: UnsafeMutablePointer<z_stream>?
    private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 64)
    private var finished = false

    init(_ file: FileBytes, from offset: Int, _ member: ZipReader.Member, _ path: String) {
        self.file = file
        self.member = member
        self.path = path
        self.offset = offset
        left = member.compressedSize
        guard member.method == 8 else {
            stream = nil
            return
        }
        let stream = UnsafeMutablePointer<z_stream>.allocate(capacity: 1)
        stream.initialize(to: z_stream())
        // Negative: a deflated stream without a header.
        let result = inflateInit2_(stream, -15, ZLIB_VERSION, CInt(MemoryLayout<z_stream>.size))
        require(result == Z_OK, "zlib refused to start with code \(result)")
        self.stream = stream
    }

    deinit {
        if let stream {
            inflateEnd(stream)
            stream.deallocate()
        }
        input.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard !finished else { return 0 }
        let count =
            try stream.map { try inflated($0, into: buffer) } ?? readStored(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(left)))
        checksum = crc32(checksum, buffer.bindMemory(to: UInt8.self).baseAddress, UInt32(count))
        made += count
        if count == 0 {
            finished = true
            guard made == member.size, UInt32(truncatingIfNeeded: checksum) == member.checksum else { throw damaged() }
        }
        return count
    }

    private func readStored(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while !buffer.isEmpty {
            let count = pread(file.descriptor, buffer.baseAddress, buffer.count, off_t(offset))
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw UserError(.inputOutput, "cannot be read: \(systemReason())", at: path) }
            guard count > 0 else { throw damaged() }
            offset += count
            left -= count
            return count
        }
        return 0
    }

    private func inflated(_ stream: UnsafeMutablePointer<z_stream>, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        stream.pointee.next_out = buffer.bindMemory(to: UInt8.self).baseAddress
        stream.pointee.avail_out = UInt32(min(buffer.count, 1 << 30))
        let room = Int(stream.pointee.avail_out)
        while true {
            if stream.pointee.avail_in == 0 {
                let count = try readStored(into: UnsafeMutableRawBufferPointer(rebasing: input.prefix(left)))
                stream.pointee.next_in = input.bindMemory(to: UInt8.self).baseAddress
                stream.pointee.avail_in = UInt32(count)
            }
            let result = inflate(stream, Z_NO_FLUSH)
            let produced = room - Int(stream.pointee.avail_out)
            if produced > 0 || result == Z_STREAM_END { return produced }
            guard result == Z_OK, stream.pointee.avail_in > 0 || left > 0 else { throw damaged() }
        }
    }

    private func damaged() -> UserError { ZipReader.failure("is damaged at \(ZipReader.shown(member))", path) }
}
