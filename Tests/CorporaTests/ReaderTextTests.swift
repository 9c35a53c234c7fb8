import Corpora
import Diagnostics
import TestSupport
import Testing

@Suite struct ReaderTextTests {
    @Test func lineDocuments() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("one\r\n\ntwo", to: "a.txt")
        let got = try Reading(.text, [path]) { $0.documents = .line }
        #expect(got.sources == ["one", "", "two"])
        #expect(got.records.allSatisfy { $0.startsDocument && $0.target == nil && $0.label == -1 })
        #expect(got.records.map(\.place.line) == [1, 2, 3])
    }

    @Test func paragraphDocuments() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("\n\na\nb\r\n \t\r\nc\n\n\nd", to: "a.txt")
        let got = try Reading(.text, [path]) { $0.documents = .paragraph }
        #expect(got.sources == ["a\nb", "c", "d"])
        #expect(got.records.map(\.place.line) == [3, 6, 9])
        #expect(got.records.allSatisfy { $0.startsDocument })
    }

    @Test func longParagraphsComeInPieces() throws {
        let directory = try TemporaryDirectory()
        let lines = (0..<3000).map { "line \($0) " + String(repeating: "ä", count: $0 % 90) }
        let path = try directory.write(lines.joined(separator: "\n") + "\n\nnext", to: "a.txt")
        let got = try Reading(.text, [path]) { $0.documents = .paragraph }
        #expect(got.records.count > 3)
        #expect(got.records.map(\.startsDocument) == [true] + Array(repeating: false, count: got.records.count - 2) + [true])
        #expect(got.records.allSatisfy { $0.source.count <= 64 << 10 })
        #expect(got.sources.dropLast().joined() == lines.joined(separator: "\n"))
        #expect(got.sources.last == "next")
    }

    @Test func aFileIsOneDocumentWithItsLineFeeds() throws {
        let directory = try TemporaryDirectory()
        let a = try directory.write("one\r\n\r\ntwo\n", to: "a.txt")
        let b = try directory.write("\u{feff}three", to: "b.txt")
        let empty = try directory.write("", to: "c.txt")
        let got = try Reading(.text, [b, empty, a])
        #expect(got.sources == ["three", "one\n\ntwo\n"])
        #expect(got.records.allSatisfy { $0.startsDocument })
    }

    @Test(arguments: ["lines", "words", "characters"])
    func aLargeFileComesInPieces(_ kind: String) throws {
        let directory = try TemporaryDirectory()
        let unit = ["lines": "some words, ein Wörterbuch\n", "words": "wört ", "characters": "a€𝄞é"][kind] ?? ""
        let text = String(repeating: unit, count: 400_000 / unit.utf8.count)
        let plain = try Reading(.text, [try directory.write(text, to: "a.txt")])
        #expect(plain.sources.joined() == text)
        #expect(plain.records.allSatisfy { $0.source.count <= 64 << 10 && $0.source.count > 65_000 || $0.place.byte > 330_000 })
        #expect(plain.records.map(\.startsDocument) == plain.records.indices.map { $0 == 0 })
        var byte = 0
        for record in plain.records {
            #expect(record.place.byte == byte)
            byte += record.source.count
            if kind == "lines" { #expect(record.source.last == 0x0a) }
            if kind == "words" { #expect(record.source.last == 0x20) }
        }
        let compressed = try Reading(.text, [try directory.writeCompressed(Array(text.utf8), to: "a.txt.gz")])
        #expect(compressed.sources == plain.sources)
    }

    @Test func aBadPieceIsLeftOutAndNamed() throws {
        let directory = try TemporaryDirectory()
        var bytes = Array(String(repeating: "twelve bytes\n", count: 20_000).utf8)
        bytes[100_003] = 0xff
        let path = try directory.write(bytes, to: "a.txt")
        let got = try Reading(.text, [path])
        #expect(got.errors.map(\.place) == [RecordPlace(file: path, line: 100_003 / 13 + 1, byte: 100_003)])
        #expect(got.records.map(\.startsDocument) == [true, true, false])
    }

    @Test func blankTextBeforeADocumentDoesNotJoinDocuments() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(String(repeating: "\n", count: 70_000) + "text", to: "a.txt")
        let got = try Reading(.text, [path])
        #expect(got.records.map(\.startsDocument) == [true, true])
    }

    @Test func directoriesAreWalkedInOrder() throws {
        let directory = try TemporaryDirectory()
        for name in ["b.txt", "a/z.txt", "a/B.txt", "c.txt", ".hidden", "a/.git/x"] { try directory.write(name, to: name) }
        #expect(try Reading(.text, [directory.path + "/"]).sources == ["a/B.txt", "a/z.txt", "b.txt", "c.txt"])
    }

    @Test func missingInputsAreNamed() throws {
        let directory = try TemporaryDirectory()
        let missing = directory.path + "/nowhere"
        for format in CorpusFormat.allCases {
            let error = userError { _ = try format.makeReader(inputs: [missing, missing]) }
            #expect(error?.exitCode == .missingInput)
            #expect(error?.description.contains(missing) == true)
            #expect(userError { _ = try format.makeReader(inputs: []) }?.exitCode == .usage)
        }
        for format in [CorpusFormat.text, .babi, .cnnDailyMail] {
            #expect(userError { _ = try format.makeReader(inputs: [directory.path]) }?.exitCode == .missingInput)
        }
    }
}
