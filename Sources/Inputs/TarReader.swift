// Members of a tar archive, one after another: ustar, pax and GNU tar.

import Diagnostics

/// The header of a member.
struct TarHeader {
    var name: [UInt8]
    var size: Int
    var type: UInt8

    static let blockBytes = 512

    /// Whether bytes begin with a header: its checksum says so.
    static func isHeader(_ bytes: [UInt8]) -> Bool {
        guard bytes.count >= blockBytes, bytes[0] != 0, let wanted = number(bytes[148..<156]) else { return false }
        let sum = (0..<blockBytes).reduce(0) { $0 + ((148..<156).contains($1) ? 0x20 : Int(bytes[$1])) }
        return sum == wanted
    }

    init?(_ block: [UInt8]) {
        guard Self.isHeader(block), let size = Self.number(block[124..<136]) else { return nil }
        name = Self.text(block[0..<100])
        if block[257..<262].elementsEqual("ustar".utf8), block[262] == 0 {
            let prefix = Self.text(block[345..<500])
            if !prefix.isEmpty { name = prefix + [UInt8(ascii: "/")] + name }
        }
        self.size = size
        type = block[156]
    }

    private static func text(_ field: ArraySlice<UInt8>) -> [UInt8] { Array(field.prefix { $0 != 0 }) }

    /// A number in octal digits, or, where its first bit is set, in binary.
    private static func number(_ field: ArraySlice<UInt8>) -> Int? {
        guard let first = field.first else { return nil }
        if first & 0x80 != 0 {
            var value = Int(first & 0x3f)
            for byte in field.dropFirst() {
                guard value < 1 << 54 else { return nil }
                value = value << 8 | Int(byte)
            }
            return value
        }
        let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0 && $0 != 0x20 }
        guard !digits.isEmpty else { return 0 }
        return Int(String(decoding: digits, as: UTF8.self), radix: 8)
    }
}

/// A walk through a tar archive. What it reads is the current member's content.
final class TarReader: ByteStream {
    /// A member that is a file: its name as bytes without `./` before it, and its size.
    struct Member {
        var name: [UInt8]
        var size: Int
    }

    private let source: any ByteStream
    private let path: String
    /// Bytes of the current member that were not read yet, and its padding.
    private var left = 0
    private var padding = 0
    /// Names of links and devices so far, which hold no text.
    private(set) var links: [[UInt8]] = []

    /// - Parameters:
    ///   - source: the archive's bytes, decompressed.
    ///   - path: the archive, as messages name it.
    init(_ source: any ByteStream, path: String) {
        self.source = source
        self.path = path
    }

    /// Goes to the next member that is a file; passes over directories, links and devices.
    /// - Throws: `UserError(.badData)` for an archive that ends early or is damaged.
    func next() throws -> Member? {
        var longName: [UInt8]?
        var size: Int?
        while true {
            try pass(left + padding)
            (left, padding) = (0, 0)
            let block = try bytes(TarHeader.blockBytes, mayEnd: true)
            // Two blocks of zeros end an archive; some writers leave them out.
            if block.isEmpty || block.allSatisfy({ $0 == 0 }) { return nil }
            guard let header = TarHeader(block) else { throw failure("is damaged: a member's header is wrong") }
            padding = (TarHeader.blockBytes - header.size % TarHeader.blockBytes) % TarHeader.blockBytes
            left = header.size
            switch header.type {
            case UInt8(ascii: "x"), UInt8(ascii: "L"):
                guard header.size <= 1 << 20 else { throw failure("is damaged: a member's name has \(header.size) bytes") }
                let content = try bytes(header.size)
                left = 0
                if header.type == UInt8(ascii: "L") {
                    longName = Array(content.prefix { $0 != 0 })
                } else {
                    let records = Self.records(content)
                    longName = records["path"] ?? longName
                    size = records["size"].flatMap { Int(String(decoding: $0, as: UTF8.self)) } ?? size
                }
            case UInt8(ascii: "0"), 0, UInt8(ascii: "7"):
                let name = longName ?? header.name
                if name.last == UInt8(ascii: "/") {
                    (longName, size) = (nil, nil)
                    continue
                }
                left = size ?? header.size
                padding = (TarHeader.blockBytes - left % TarHeader.blockBytes) % TarHeader.blockBytes
                return Member(name: name.starts(with: Array("./".utf8)) ? Array(name.dropFirst(2)) : name, size: left)
            case UInt8(ascii: "S"):
                throw failure("holds a sparse file, \(PathText.shown(PathText.text(of: longName ?? header.name))), which Mneme does not read")
            case UInt8(ascii: "g"), UInt8(ascii: "K"), UInt8(ascii: "V"), UInt8(ascii: "5"):
                // Of the whole archive; of a link; a label; a directory.
                if header.type == UInt8(ascii: "5") { (longName, size) = (nil, nil) }
            default:
                links.append(longName ?? header.name)
                (longName, size) = (nil, nil)
            }
        }
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        guard left > 0 else { return 0 }
        let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(left)))
        guard count > 0 else { throw failure("ends in the middle of a member") }
        left -= count
        return count
    }

    /// The records of a pax header: `length key=value\n` each.
    private static func records(_ content: [UInt8]) -> [String: [UInt8]] {
        var records: [String: [UInt8]] = [:]
        var rest = content[...]
        while let space = rest.firstIndex(of: 0x20), let length = Int(String(decoding: rest[..<space], as: UTF8.self)),
            length > space - rest.startIndex + 1, length <= rest.count
        {
            let record = rest[(space + 1)..<(rest.startIndex + length - 1)]
            if let equals = record.firstIndex(of: UInt8(ascii: "=")) {
                records[String(decoding: record[..<equals], as: UTF8.self)] = Array(record[(equals + 1)...])
            }
            rest = rest.dropFirst(length)
        }
        return records
    }

    private func bytes(_ count: Int, mayEnd: Bool = false) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var filled = 0
        while filled < count {
            let got = try bytes.withUnsafeMutableBytes { try source.read(into: UnsafeMutableRawBufferPointer(rebasing: $0[filled...])) }
            if got == 0 {
                guard mayEnd, filled == 0 else { throw failure("ends in the middle of a member") }
                return []
            }
            filled += got
        }
        return bytes
    }

    private func pass(_ count: Int) throws {
        var left = count
        try withUnsafeTemporaryAllocation(byteCount: 32 << 10, alignment: 16) { buffer in
            while left > 0 {
                let got = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer.prefix(left)))
                guard got > 0 else { throw failure("ends in the middle of a member") }
                left -= got
            }
        }
    }

    private func failure(_ what: String) -> UserError {
        UserError(.badData, "the tar archive \(what)", at: path, advice: "copy or download it again, or unpack it first")
    }
}
