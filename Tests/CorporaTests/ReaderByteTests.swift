import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct ReaderByteTests {
    /// All lines of a file with their faults.
    private func lines(_ path: String, limit: Int = ReaderOptions.defaultMaximumLineBytes) throws -> (
        lines: [[UInt8]], faults: [RecordError], bytes: [Int]
    ) {
        let reader = try LineReader(path: path, maximumLineBytes: limit)
        var lines: [[UInt8]] = []
        var faults: [RecordError] = []
        var bytes: [Int] = []
        while try reader.advance() {
            if let fault = reader.fault { faults.append(fault) } else { lines.append(Array(reader.line)) }
            bytes.append(reader.lineByte)
            #expect(reader.lineNumber == bytes.count)
        }
        #expect(try reader.advance() == false)
        return (lines, faults, bytes)
    }

    /// Text of lines with lengths that cross the buffer's sizes.
    private func longText(lines: Int) -> [UInt8] {
        var text: [UInt8] = []
        for index in 0..<lines {
            text.append(contentsOf: "line \(index) ".utf8)
            text.append(contentsOf: repeatElement(UInt8(ascii: "a") + UInt8(index % 26), count: index * index % 7919))
            text.append(0x0a)
        }
        return text
    }

    @Test func linesEndAtLineFeedsAndCarriageReturnsOnly() throws {
        let directory = try TemporaryDirectory()
        let text = "one\r\ntwo\u{2028}still\u{85}two\u{0c}\n\ncarriage\rreturns\nlast"
        let got = try lines(try directory.write(text, to: "a.txt"))
        let expected = ["one", "two\u{2028}still\u{85}two\u{0c}", "", "carriage", "returns", "last"]
        #expect(got.lines == expected.map { Array($0.utf8) })
        #expect(got.bytes == [0, 5, 23, 24, 33, 41])
        #expect(got.faults.isEmpty)
    }

    @Test(arguments: [
        ("", []), ("\n", [""]), ("a", ["a"]), ("a\n", ["a"]), ("a\n\n", ["a", ""]), ("\r\n", [""]), ("\u{feff}a\nb", ["a", "b"]), ("\r", [""]),
    ])
    func smallFiles(_ text: String, _ expected: [String]) throws {
        let directory = try TemporaryDirectory()
        let got = try lines(try directory.write(text, to: "a.txt"))
        #expect(got.lines == expected.map { Array($0.utf8) })
    }

    @Test func linesAcrossBuffersPlainAndCompressed() throws {
        let directory = try TemporaryDirectory()
        let text = longText(lines: 700)
        let expected = text.split(separator: 0x0a, omittingEmptySubsequences: false).dropLast().map(Array.init)
        let plain = try lines(try directory.write(text, to: "a.txt"))
        #expect(plain.lines == expected)
        let compressed = try lines(try directory.writeCompressed(text, to: "a.txt.gz"))
        #expect(compressed.lines == expected)
        #expect(compressed.bytes == plain.bytes)
    }

    @Test func longLinesAreFaultsAndPassedOver() throws {
        let directory = try TemporaryDirectory()
        let long = String(repeating: "x", count: 1_000_000)
        let got = try lines(try directory.write("a\n\(long)\nb\n\(long)", to: "a.txt"), limit: 1000)
        #expect(got.lines == [Array("a".utf8), Array("b".utf8)])
        #expect(got.faults.map(\.place.line) == [2, 4])
        #expect(got.faults.map(\.place.byte) == [2, 1_000_005])
        #expect(got.faults.allSatisfy { $0.what.contains("1000") })
        let whole = try lines(directory.path + "/a.txt", limit: 1_000_000)
        #expect(whole.lines.map(\.count) == [1, 1_000_000, 1, 1_000_000])
    }

    @Test func invalidUTF8IsReportedWithItsByte() throws {
        let directory = try TemporaryDirectory()
        let bytes = Array("good\nb\u{e4}".utf8) + [0x20, 0xff, 0x20] + Array("d\ngood again\n".utf8)
        let got = try lines(try directory.write(bytes, to: "a.txt"))
        #expect(got.lines == [Array("good".utf8), Array("good again".utf8)])
        #expect(got.faults.count == 1)
        #expect(got.faults.first?.place == RecordPlace(file: directory.path + "/a.txt", line: 2, byte: 5))
        #expect(got.faults.first?.what == "not UTF-8: byte 0xff at byte 9")
    }

    @Test func validationAgreesWithTheStandardLibrary() {
        // Every sequence of up to three bytes from the classes' borders, at every offset of a 32-byte block.
        let borders: [UInt8] = [
            0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xee, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff,
        ]
        for a in borders {
            for b in borders {
                for c in borders {
                    for tail in [[], [0x80 as UInt8], [0x41]] {
                        let bytes = [a, b, c] + tail
                        let isValid = String(validating: bytes, as: UTF8.self) != nil
                        let found = bytes.withUnsafeBufferPointer(firstInvalidUTF8)
                        #expect((found == nil) == isValid, "\(bytes)")
                        if let found { #expect(String(validating: bytes[..<found], as: UTF8.self) != nil) }
                    }
                }
            }
        }
        for offset in 0..<70 {
            for wrong in [[0xff as UInt8], [0xe2, 0x82], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xc0, 0x80]] {
                let bytes = [UInt8](repeating: 0x61, count: offset) + wrong
                #expect(bytes.withUnsafeBufferPointer(firstInvalidUTF8) == offset)
                let right = [UInt8](repeating: 0x61, count: offset) + Array("€𝄞é".utf8) + [UInt8](repeating: 0x61, count: 40)
                #expect(right.withUnsafeBufferPointer(firstInvalidUTF8) == nil)
            }
        }
    }

    @Test func concatenatedMembersAndPadding() throws {
        let directory = try TemporaryDirectory()
        let first = try Data(contentsOf: URL(fileURLWithPath: directory.writeCompressed(Array("one\ntw".utf8), to: "a.gz")))
        let second = try Data(contentsOf: URL(fileURLWithPath: directory.writeCompressed(Array("o\nthree\n".utf8), to: "b.gz")))
        let both = try directory.write(Array(first + second), to: "both.gz")
        #expect(try lines(both).lines == ["one", "two", "three"].map { Array($0.utf8) })
        let padded = try directory.write(Array(first + second) + [UInt8](repeating: 0, count: 512), to: "padded.gz")
        #expect(try lines(padded).lines.count == 3)
        let followed = try directory.write(Array(first) + Array("rubbish".utf8), to: "followed.gz")
        let error = userError { _ = try lines(followed) }
        #expect(error?.exitCode == .badData)
        #expect(error?.place == "\(followed), byte \(first.count)")
    }

    @Test func truncatedAndDamagedGzip() throws {
        let directory = try TemporaryDirectory()
        let whole = Array(try Data(contentsOf: URL(fileURLWithPath: directory.writeCompressed(longText(lines: 300), to: "a.gz"))))
        for count in [2, 9, 10, 11, 100, whole.count / 2, whole.count - 9, whole.count - 1] {
            let path = try directory.write(Array(whole.prefix(count)), to: "cut.gz")
            let error = userError { _ = try lines(path) }
            #expect(error?.exitCode == .badData, "cut at \(count)")
            #expect(error?.place == "\(path), byte \(count)")
        }
        for (offset, what) in [(whole.count / 2, "content"), (whole.count - 6, "checksum")] {
            var damaged = whole
            damaged[offset] ^= 0x55
            let path = try directory.write(damaged, to: "damaged.gz")
            #expect(userError { _ = try lines(path) }?.exitCode == .badData, "\(what)")
        }
        let plain = try directory.write("not compressed", to: "plain.gz")
        #expect(userError { _ = try lines(plain) }?.exitCode == .badData)
        let empty = try directory.write("", to: "empty.gz")
        #expect(userError { _ = try lines(empty) }?.exitCode == .badData)
        // The content decides, not the name.
        let unnamed = try directory.write(whole, to: "unnamed.txt")
        #expect(try lines(unnamed).lines.count == 300)
    }

    @Test func missingAndUnreadableInput() throws {
        let directory = try TemporaryDirectory()
        let missing = userError { _ = try LineReader(path: directory.path + "/none.txt") }
        #expect(missing?.exitCode == .missingInput)
        #expect(missing?.description.contains("none.txt") == true)
        #expect(userError { _ = try LineReader(path: directory.path) }?.exitCode == .missingInput)
    }

    @Test func digestsEqualPublishedVectors() {
        // FIPS 180 examples, and lengths around the block's end (values from coreutils' sha1sum).
        let vectors = [
            ("", "da39a3ee5e6b4b0d3255bfef95601890afd80709"),
            ("abc", "a9993e364706816aba3e25717850c26c9cd0d89d"),
            ("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", "84983e441c3bd26ebaae4aa1f95129e5e54670f1"),
            (String(repeating: "a", count: 55), "c1c8bbdc22796e28c0e15163d20899b65621d65a"),
            (String(repeating: "a", count: 64), "0098ba824b5c16427bd7a1122a5a442a25ec644d"),
            (String(repeating: "a", count: 1_000_000), "34aa973cd4c4daa4f61eeb2bdbad27316534016f"),
        ]
        for (message, expected) in vectors {
            let digest = SHA1Digest(of: message.utf8)
            #expect(digest.hexadecimal == expected)
            #expect(SHA1Digest(hexadecimal: expected.uppercased()) == digest)
        }
        #expect(SHA1Digest(hexadecimal: "da39") == nil)
        #expect(SHA1Digest(hexadecimal: String(repeating: "g", count: 40)) == nil)
    }
}
