// Files of facts as earlier versions have left them: read whole, cut off anywhere, damaged.

import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing
import Training

/// Files that an earlier version wrote: of a new run, and of one whose facts were put, replaced and deleted.
enum FormerFiles {
    static let new = """
        mneme-dictionary 1 exact collect
        1e5a94e1\tput\tKismet\u{1f}directed by\tWilliam Dieterle
        82470dcb\tput\tKismet\u{1f}starred actors\tRonald Colman
        ded87ddf\tput\tKismet\u{1f}starred actors\tMarlene Dietrich
        2e4dcae8\tput\tGigi\u{1f}release year\t1958

        """
    static let edited = """
        mneme-dictionary 2 exact collect 7208ab8ce0db384f
        abf71604\tput\tKismet\u{1f}directed by\tWilliam Dieterle
        cc685ca5\tput\tKismet\u{1f}starred actors\tRonald Colman
        d665c103\tput\tKismet\u{1f}starred actors\tMarlene Dietrich
        098bf456\tput\tGigi\u{1f}release year\t1958
        ce6e7f68\tput\tKismet\u{1f}release year\t1943
        ca670073\tset\tKismet\u{1f}release year\t1944
        148e0d43\tput\tKismet\u{1f}starred actors\tA\\\\B
        d4c78b71\tdelete\tGigi\u{1f}release year
        36160d3f\tremove\tKismet\u{1f}starred actors\tRonald Colman

        """
    static let factsOfEdited = [
        KnowledgeFact("Kismet", "directed by", "William Dieterle"), KnowledgeFact("Kismet", "starred actors", "Marlene Dietrich"),
        KnowledgeFact("Kismet", "starred actors", "A\\B"), KnowledgeFact("Kismet", "release year", "1944"),
    ]

    /// A file of version 1 with changes of its own, each a word and its fields.
    static func file(_ changes: [[String]], folded: Bool = false) -> [UInt8] {
        var bytes = Array("mneme-dictionary 1 \(folded ? "folded" : "exact") collect\n".utf8)
        var checksum = crc(bytes, after: 0)
        for change in changes {
            let text = Array(change.joined(separator: "\t").utf8)
            checksum = crc(text, after: checksum)
            let digits = String(checksum, radix: 16)
            bytes += Array("\(String(repeating: "0", count: 8 - digits.count))\(digits)\t".utf8) + text + [0x0a]
        }
        return bytes
    }

    private static func crc(_ bytes: [UInt8], after previous: UInt32) -> UInt32 {
        var crc: UInt32 = ~previous
        for byte in bytes {
            crc ^= UInt32(byte)
            for _ in 0..<8 {
                let isOdd = crc & 1 == 1
                crc >>= 1
                if isOdd { crc ^= 0xedb8_8320 }
            }
        }
        return ~crc
    }
}

@Suite struct FormerFactsTests {
    private func read(_ bytes: some Sequence<UInt8>, _ directory: String) throws -> FormerFacts {
        let path = "\(directory)/facts.memory"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return try FormerFacts(path: path)
    }

    @Test("files of both versions are read: puts, replaced, removed and deleted facts, escaped characters, the rule for cases")
    func whole() throws {
        try withScratchDirectory { directory in
            let new = try read(FormerFiles.new.utf8, directory)
            #expect(new.facts.map(\.object) == ["William Dieterle", "Ronald Colman", "Marlene Dietrich", "1958"] && new.repair == nil)
            let edited = try read(FormerFiles.edited.utf8, directory)
            #expect(edited.facts == FormerFiles.factsOfEdited && edited.repair == nil)
            let changes = [
                ["put", "The\u{1f}in", "a"], ["put", "the\u{1f}IN", "b"], ["update", "THE\u{1f}in", "a", "b"], ["put", "Title", "A\\tsentence\\\\.\\n"],
                ["put", "gone", "x"], ["remove", "gone", "x"], ["put", "gone", "y"],
            ]
            let folded = try read(FormerFiles.file(changes, folded: true), directory)
            #expect(
                folded.facts == [
                    KnowledgeFact("The", "in", "b"), KnowledgeFact("Title", nil, "A\tsentence\\.\n"), KnowledgeFact("gone", nil, "y"),
                ])
            #expect(try read(FormerFiles.file(changes), directory).facts.count == 4)
        }
    }

    @Test("wherever the end of the file is cut off, every whole change before it is there")
    func tornEnd() throws {
        try withScratchDirectory { directory in
            let whole = FormerFiles.file((0..<3).map { ["put", "key \($0)", "value"] })
            let ends = whole.indices.filter { whole[$0] == 0x0a }.map { $0 + 1 }
            for length in 0...whole.count {
                guard length >= ends[0] else {
                    #expect(throws: UserError.self) { try read(whole[..<length], directory) }
                    continue
                }
                let facts = try read(whole[..<length], directory)
                #expect(facts.facts.count == ends.count { $0 <= length } - 1, "\(length) bytes")
                #expect((facts.repair == nil) == ends.contains(length))
            }
        }
    }

    @Test("damage before the last change is an error that says where: a changed byte, a missing, a repeated and an exchanged line, another format")
    func damage() throws {
        try withScratchDirectory { directory in
            let lines = String(decoding: FormerFiles.file((0..<4).map { ["put", "key \($0)", "value"] }), as: UTF8.self).split(separator: "\n").map(String.init)
            func refused(_ lines: [String]) {
                let error = #expect(throws: UserError.self) { try read((lines.joined(separator: "\n") + "\n").utf8, directory) }
                #expect(error?.exitCode == .badData && error?.description.contains("\(directory)/facts.memory") == true)
            }
            var changed = lines
            changed[2] = changed[2].replacing("value", with: "valve")
            refused(changed)
            refused(lines.indices.filter { $0 != 2 }.map { lines[$0] })
            refused(lines[0...2] + [lines[2]] + lines[3...])
            changed = lines
            changed.swapAt(2, 3)
            refused(changed)
            for header in ["mneme-dictionary 2 exact collect", "mneme-dictionary 1 loose collect", "mneme-dictionary 3 exact collect 12", ""] {
                refused([header] + lines)
            }
            let missing = #expect(throws: UserError.self) { try FormerFacts(path: "\(directory)/none") }
            #expect(missing?.exitCode == .missingInput)
        }
    }
}
