// CoNLL-U: text from comments and from words, documents, and sentences that are wrong.

import Corpora
import Diagnostics
import Testing
import TestSupport

@Suite struct CoNLLUReaderTests {
    /// A word's line: number, form, and what the last column says.
    private func word(_ number: String, _ form: String, _ misc: String = "_") -> String { "\(number)\t\(form)\t_\t_\t_\t_\t_\t_\t_\t\(misc)\n" }

    @Test func textIsWhatTheCommentSaysOrTheWordsJoined() throws {
        let directory = try TemporaryDirectory()
        let spanish =
            "# sent_id = 1\n" + word("1-2", "vámonos", "SpaceAfter=No") + word("1", "vamos") + word("2", "nos")
            + word("3", "al", "Gloss=x|SpaceAfter=No|Y=z") + word("3.1", "lost") + word("4", "mar") + word("5", "New York") + "\n"
        let said = "# text =  What it says = this.\n" + word("1", "other") + "\n"
        let path = try directory.write("\u{feff}\n\n" + spanish + said, to: "es.conllu")
        let got = try Reading(.conllu, [path])
        #expect(got.sources == ["vámonosal" + "mar New York\nWhat it says = this."])
        #expect(got.errors.isEmpty && got.records[0].startsDocument && got.records[0].place.line == 3)
        let compressed = try directory.writeCompressed(Array((spanish + said).utf8), to: "two/es.conllu.gz")
        #expect(try Reading(.conllu, [compressed]).sources == got.sources)
    }

    @Test func documentsBeginWhereTheyAreSaidToAndWithFiles() throws {
        let directory = try TemporaryDirectory()
        func sentence(_ form: String) -> String { word("1", form) + "\n" }
        try directory.write(
            sentence("a") + sentence("b") + "# newdoc id = x\n# newpar\n" + sentence("c") + "# newdoc\n\n" + sentence("d"), to: "set/1.conllu")
        // The last sentence needs no blank line behind it.
        try directory.write("# newdoc\r\n" + word("1", "e"), to: "set/2.conllu")
        try directory.write("no treebank", to: "set/LICENSE.txt")
        let got = try Reading(.conllu, [directory.path + "/set"])
        #expect(got.sources == ["a\nb", "c", "d", "e"] && got.records.allSatisfy(\.startsDocument))
        #expect(userError { _ = try Reading(.conllu, [directory.path + "/set/none"]) }?.exitCode == .missingInput)
        let empty = try directory.write("# newdoc\n\n# text = nothing\n", to: "empty.conllu")
        #expect(try Reading(.conllu, [empty]).records.isEmpty)
    }

    @Test func longDocumentsComeInPieces() throws {
        let directory = try TemporaryDirectory()
        let words = (0..<9000).map { "sentence\($0)" }
        let path = try directory.write(words.map { word("1", $0) + "\n" }.joined() + "# newdoc\n" + word("1", "other"), to: "long.conllu")
        let got = try Reading(.conllu, [path])
        #expect(got.sources.dropLast().joined() == words.joined(separator: "\n") && got.sources.last == "other")
        #expect(got.records.map(\.startsDocument) == [true, false, true] && got.records.allSatisfy { $0.source.count <= PlainTextReader.pieceBytes })
    }

    @Test func wrongSentencesAreLeftOutAndNamed() throws {
        let directory = try TemporaryDirectory()
        let right = word("1", "good") + "\n"
        let wrong = [
            "1\tfew\tcolumns\n", word("2", "second"), word("1", "a") + word("1", "b"), word("x", "a"), word("1-", "a"), word("2-3", "a"),
            word("1-1", "a"), word("1-3", "abc") + word("1", "a") + word("2-3", "bc"), word("1", "a") + word("3", "c"),
        ]
        let bytes = Array(wrong.map { $0 + "\n" + right }.joined().utf8) + Array("# newdoc\n1\t".utf8) + [0xff] + Array("\n\n\(right)".utf8)
        let got = try Reading(.conllu, [try directory.write(bytes, to: "a.conllu")])
        #expect(got.sources == [Array(repeating: "good", count: wrong.count).joined(separator: "\n"), "good"])
        #expect(got.errors.count == wrong.count + 1)
        #expect(got.errors[0].what == "3 columns where a word of CoNLL-U has 10" && got.errors[0].place.line == 1)
        #expect(got.errors[1].what == "word 2 where 1 was expected" && got.errors[1].place.line == 5)
        #expect(got.errors.last?.what.hasPrefix("not UTF-8") == true)
    }
}
