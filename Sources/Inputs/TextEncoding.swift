// Text in other encodings than UTF-8, made UTF-8 on its way.

import CInputs
import Diagnostics
import Glibc

/// Encodings that are told from a text's first bytes: by a byte order mark, by the zeros that UTF-16 and UTF-32 put between the letters of most
/// languages, or by what an XML declaration says.
enum TextEncoding {
    /// Byte order marks with the encodings that they stand for, longer ones first. UTF-8 keeps its mark: the readers know it.
    static let marks: [(bytes: [UInt8], encoding: String)] = [
        ([0xff, 0xfe, 0, 0], "UTF-32LE"), ([0, 0, 0xfe, 0xff], "UTF-32BE"), ([0xff, 0xfe], "UTF-16LE"), ([0xfe, 0xff], "UTF-16BE"),
    ]

    /// The encoding, as iconv names it, of text that begins so, and the bytes of its mark; `nil` where it is taken for UTF-8.
    static func detect(_ start: [UInt8]) -> (encoding: String, markBytes: Int)? {
        if let mark = marks.first(where: { start.starts(with: $0.bytes) }) { return (mark.encoding, mark.bytes.count) }
        if let wide = withoutMark(start) { return (wide, 0) }
        return declared(start).map { ($0, 0) }
    }

    /// UTF-16 or UTF-32 without a mark: zeros stand in the same half of every unit that has one, and nearly every unit has one; in a longer text one
    /// unit in twenty is enough, as spaces and digits are among the letters of other alphabets.
    private static func withoutMark(_ start: [UInt8]) -> String? {
        var zeros = [0, 0, 0, 0]
        for (index, byte) in start.enumerated() where byte == 0 { zeros[index & 3] += 1 }
        guard zeros != [0, 0, 0, 0], start.count >= 4 else { return nil }
        let quarter = start.count / 4
        if zeros[3] == quarter, zeros[2] * 10 >= quarter * 7, zeros[0] * 4 <= quarter { return "UTF-32LE" }
        if zeros[0] >= quarter, zeros[1] * 10 >= quarter * 7, zeros[3] * 4 <= quarter { return "UTF-32BE" }
        let (high, low) = (zeros[0] + zeros[2], zeros[1] + zeros[3])
        guard start.count % 2 == 0 else { return nil }
        let units = start.count / 2
        func areEnough(_ zeros: Int) -> Bool { zeros * 10 >= units * 7 || units >= 32 && zeros * 20 >= units }
        if high == 0, areEnough(low) { return "UTF-16LE" }
        if low == 0, areEnough(high) { return "UTF-16BE" }
        return nil
    }

    /// What an XML declaration names, unless it is UTF-8 or an encoding that it cannot be, since the declaration could be read.
    private static func declared(_ start: [UInt8]) -> String? {
        var text = start[...]
        if text.starts(with: [0xef, 0xbb, 0xbf]) { return nil }
        guard text.starts(with: Array("<?xml".utf8)), let end = text.firstIndex(of: UInt8(ascii: ">")) else { return nil }
        text = text[..<end]
        let declaration = String(decoding: text, as: UTF8.self)
        guard let key = declaration.firstRange(of: "encoding"),
            let quote = declaration[key.upperBound...].first(where: { $0 == "\"" || $0 == "'" })
        else { return nil }
        let value = declaration[key.upperBound...].split(separator: quote, omittingEmptySubsequences: false)
        guard value.count > 1 else { return nil }
        let name = value[1].uppercased()
        let isPlain = name.isEmpty || name.hasPrefix("UTF") || name.hasPrefix("UCS") || name.hasPrefix("ISO-10646") || name.hasSuffix("ASCII")
        return isPlain ? nil : name
    }
}

/// A stream of another encoding as UTF-8. What is ill-formed there is ill-formed here too: it becomes a byte that no UTF-8 holds, which readers
/// find and report with its place.
final class ConvertedBytes: ByteStream {
    private let source: any ByteStream
    private let converter: UnsafeMutableRawPointer
    /// Bytes of one unit: what is passed over where one is ill-formed.
    private let unit: Int
    private let input = UnsafeMutableRawBufferPointer.allocate(byteCount: 32 << 10, alignment: 64)
    private var start = 0
    private var end = 0
    private var atEnd = false
    private var spilled: [UInt8] = []

    /// Room for what any encoding's character becomes.
    private static let longestCharacter = 16

    /// - Parameters:
    ///   - encoding: as iconv names it.
    ///   - markBytes: bytes at the beginning that are no text.
    /// - Throws: `UserError(.badData)` for an encoding that the system does not know.
    init(_ source: any ByteStream, encoding: String, markBytes: Int, path: String) throws {
        self.source = source
        unit = encoding.hasPrefix("UTF-32") ? 4 : encoding.hasPrefix("UTF-16") ? 2 : 1
        guard let converter = mneme_converter_open(encoding) else {
            input.deallocate()
            throw UserError(
                .badData, "is in the encoding \(encoding), which this system does not know", at: path, advice: "convert it to UTF-8, e.g. with iconv")
        }
        self.converter = converter
        while start < markBytes, try fill() { start = min(markBytes, end) }
    }

    deinit {
        mneme_converter_close(converter)
        input.deallocate()
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        if !spilled.isEmpty {
            let count = min(spilled.count, buffer.count)
            buffer.copyBytes(from: spilled[..<count])
            spilled.removeFirst(count)
            return count
        }
        guard buffer.count >= Self.longestCharacter else {
            // No room for every character: one is made elsewhere and handed out in parts.
            var count = 0
            spilled = try [UInt8](unsafeUninitializedCapacity: Self.longestCharacter) { spill, filled in
                count = try convert(into: UnsafeMutableRawBufferPointer(start: spill.baseAddress, count: Self.longestCharacter))
                filled = count
            }
            return try count == 0 ? 0 : read(into: buffer)
        }
        return try convert(into: buffer)
    }

    private func convert(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            if start == end, !(try fill()) { return 0 }
            var (taken, made) = (end - start, buffer.count)
            let bytes = input.bindMemory(to: UInt8.self).baseAddress
            let result = mneme_converter_run(converter, bytes.map { $0 + start }, &taken, buffer.bindMemory(to: UInt8.self).baseAddress, &made)
            start += taken
            switch result {
            case MNEME_INPUT_ILL_FORMED:
                if made == 0 { return illFormed(buffer) }
            case MNEME_INPUT_INCOMPLETE:
                if made == 0, !(try fill()) { return illFormed(buffer) }
            default: break
            }
            if made > 0 { return made }
        }
    }

    private func illFormed(_ buffer: UnsafeMutableRawBufferPointer) -> Int {
        start = min(end, start + unit)
        buffer[0] = 0xff
        return 1
    }

    /// Reads more behind what is left. False at the end.
    private func fill() throws -> Bool {
        guard !atEnd else { return false }
        if start > 0 {
            memmove(input.baseAddress!, input.baseAddress! + start, end - start)
            end -= start
            start = 0
        }
        let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: input[end...]))
        end += count
        if count == 0 { atEnd = true }
        return count > 0
    }
}
