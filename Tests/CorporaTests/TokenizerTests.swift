// Tokenizers: every text comes back, models are reproducible, and wrong sizes are told in one line.

import Corpora
import Diagnostics
import Foundation
import Storage
import TestSupport
import Testing

/// Texts that tokenizers like to spoil.
let awkwardTexts = [
    "", " ", "  ", "\n", "\n\n", " \n", "\n ", "hello world", "  two spaces before", "after  ", "a\nb\n\nc\n", "\n x", "tab\tand\r\nreturn",
    "a\u{2581}b", "\u{2581}",
    "\u{2581}\n\u{2581} \u{2581}", "\n\u{2581}x", "中文 and 😀 \u{2028} \u{85}", "<s> </s> <unk> <pad> <0x41>", "nul \0 inside", "e\u{301} ﬁ Å \u{2585}",
    "\u{feff}mark",
]

@Suite struct TokenizerTests {
    @Test(arguments: [TokenizerTraining.Kind.unigram, .bpe])
    func everyTextComesBack(_ kind: TokenizerTraining.Kind) throws {
        let tokenizer = try tokenizer(kind, 330)
        #expect(tokenizer.vocabularySize == 330)
        for text in awkwardTexts + syntheticLines(50) {
            #expect(tokenizer.decode(tokenizer.encode(text)) == text, "\(kind) \(text.debugDescription)")
        }
        let long = syntheticLines(400).joined(separator: "\n") + "\u{2581}\n \n" + syntheticLines(200).joined(separator: " ")
        #expect(tokenizer.decode(tokenizer.encode(long)) == long)
    }

    /// A tokenizer that looks words up gives the library's own ids, also the second time, and where a text continues another.
    @Test func lookingWordsUpChangesNothing() throws {
        let (lookingUp, plain) = (try tokenizer(.bpe, 330), try tokenizer(.bpe, 330))
        plain.looksUpWords = false
        let lines = awkwardTexts + syntheticLines(50) + [String(repeating: "longword", count: 20) + " a", "x\n  y\n\n z  ", " \n \n  w", "  "]
        for text in lines + lines + [lines.joined(separator: "\n"), lines.joined(separator: " ")] {
            #expect(lookingUp.encode(text) == plain.encode(text), "\(text.debugDescription)")
            let bytes = Array(text.utf8)
            let continued = [lookingUp, plain].map { tokenizer in
                bytes.withUnsafeBufferPointer { tokenizer.withEncoded($0, continuing: true) { Array($0) } }
            }
            #expect(continued[0] == continued[1], "\(text.debugDescription)")
        }
    }

    @Test(.enabled(if: dataFolder != nil, "MNEME_DATA is not set")) func lookingWordsUpChangesNothingOnRealText() throws {
        let folder = try #require(dataFolder)
        let text = try [
            "wmt-ende-opennmt/src-train.txt", "wmt-ende-opennmt/tgt-train.txt", "news-commentary-fren/nc-5k.fr", "wmt16-enro/newsdev2016.ro",
        ]
            .map { try String(contentsOfFile: "\(folder)/\($0)", encoding: .utf8) }.joined()
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
        let model = try TokenizerTraining(kind: .bpe, vocabularySize: 2000).train(on: sample(Array(lines.prefix(5000))))
        let (lookingUp, plain) = (
            try SentencePieceTokenizer(modelBytes: model, name: "test"),
            try SentencePieceTokenizer(modelBytes: model, name: "test"))
        plain.looksUpWords = false
        #expect(lines.count > 20_000)
        for line in lines where lookingUp.encode(line) != plain.encode(line) { Issue.record("\(line)") }
        #expect(lookingUp.encode(text) == plain.encode(text))
    }

    @Test func wordsKeepTheirLines() throws {
        let tokenizer = try tokenizer(.word, nil)
        for text in ["hello world", "Mary went to the kitchen on day 3.\n\nJohn journeyed", "\n", " a  b ", "never seen 😀"] {
            #expect(tokenizer.decode(tokenizer.encode(text)) == text, "\(text.debugDescription)")
        }
    }

    @Test func specialPiecesHaveFixedIDs() throws {
        let tokenizer = try tokenizer(.unigram, 330)
        #expect(
            tokenizer.unknownID == 0 && tokenizer.beginningID == 1 && tokenizer.endID == 2 && tokenizer.paddingID == 3 && tokenizer.lineBreakID == 4)
        #expect(tokenizer.pieces.count == 330)
        #expect(tokenizer.id(ofPiece: tokenizer.piece(300)) == 300)
        #expect(tokenizer.id(ofPiece: "no such piece") == nil)
        #expect(tokenizer.isControl(3) && !tokenizer.isControl(300))
        #expect(tokenizer.decode([1, 2, 3]) == "")
    }

    @Test(arguments: [TokenizerTraining.Kind.unigram, .bpe])
    func trainingIsReproducible(_ kind: TokenizerTraining.Kind) throws {
        let (first, second) = (try tokenizer(kind, 325), try tokenizer(kind, 325))
        #expect(first.modelBytes == second.modelBytes)
        #expect(first.fingerprint == second.fingerprint && first.fingerprint.count == 64)
        #expect(try tokenizer(kind, 326).fingerprint != first.fingerprint)
    }

    @Test(arguments: [TokenizerTraining.Kind.unigram, .bpe, .word, .char])
    func tooLargeAVocabularyNamesTheLargest(_ kind: TokenizerTraining.Kind) throws {
        let error = #expect(throws: UserError.self) { try tokenizer(kind, 50_000) }
        let limit = try #require(error?.description.split(separator: " ").compactMap { Int($0.filter(\.isNumber)) }.last { $0 < 50_000 })
        #expect(error?.exitCode == .badData && error?.description.contains("largest possible is \(limit)") == true, "\(error?.description ?? "")")
        if kind != .unigram { #expect(try tokenizer(kind, limit).vocabularySize == limit) }
    }

    @Test func tooSmallAVocabularyIsRefused() {
        let error = #expect(throws: UserError.self) { try tokenizer(.bpe, 100) }
        #expect(error?.description.contains("too small") == true, "\(error?.description ?? "")")
    }

    @Test func emptyInputAndForeignFilesAreRefused() {
        #expect(throws: UserError.self) { try TokenizerTraining(kind: .bpe, vocabularySize: 300).train(on: TextSample(limit: 100)) }
        #expect(throws: UserError.self) { try SentencePieceTokenizer(modelBytes: Array("not a model".utf8), name: "x.model") }
        #expect(throws: UserError.self) { try SentencePieceTokenizer(modelBytes: [], name: "x.model") }
        let error = #expect(throws: UserError.self) { try SentencePieceTokenizer(path: "/nonexistent/x.model") }
        #expect(error?.exitCode == .missingInput)
    }

    @Test func aContinuationHasNoWordBoundary() throws {
        let tokenizer = try tokenizer(.bpe, 330)
        let (head, tail) = (Array("the kit".utf8), Array("chen and more".utf8))
        let ids = tokenizer.encode(head) + tail.withUnsafeBufferPointer { tokenizer.withEncoded($0, continuing: true) { Array($0) } }
        #expect(tokenizer.decode(ids) == "the kitchen and more")
    }

    @Test func aSampleIsBoundedAndSpreadOverTheInput() {
        let lines = (0..<5000).map { "line \($0)" }
        let small = sample(lines, limit: 4000)
        #expect(small.byteCount <= 4000 && small.byteCount > 2000)
        #expect(small.sentencesSeen == 5000)
        var numbers: [Int] = []
        small.forEach { numbers.append(Int(String(decoding: $0.dropFirst(5), as: UTF8.self))!) }
        #expect(numbers == numbers.sorted() && numbers.count == small.count)
        #expect(numbers.first! < 250 && numbers.last! > 4750)
        #expect(sample(["x" + String(repeating: "é", count: 10_000)]).count == 5)
    }

    /// The library leaves what reads like a special piece out of what it learns from.
    @Test func charactersOfWhatReadsLikeASpecialPieceAreLearned() throws {
        let text = "a <unk> b </s><s> <pad> <0x4F> <"
        let tokenizer = try SentencePieceTokenizer(
            modelBytes: TokenizerTraining(kind: .char, vocabularySize: nil).train(on: sample([text, "c <q>"])), name: "test")
        #expect(!tokenizer.encode(text).contains(tokenizer.unknownID) && tokenizer.decode(tokenizer.encode(text)) == text)
    }

    @Test(.enabled(if: dataFolder != nil, "needs MNEME_DATA"))
    func tinyShakespeareHasItsCharacters() throws {
        let text = try Data(contentsOf: URL(fileURLWithPath: dataFolder! + "/lm/tinyshakespeare/input.txt"))
        var sample = TextSample(limit: 1 << 24)
        Array(text).withUnsafeBufferPointer { sample.add($0) }
        let tokenizer = try SentencePieceTokenizer(modelBytes: TokenizerTraining(kind: .char, vocabularySize: nil).train(on: sample), name: "test")
        #expect(tokenizer.vocabularySize == 65 + 4)
        let ids = tokenizer.encode(Array(text))
        #expect(ids.count == text.count && !ids.contains(tokenizer.unknownID))
        #expect(ids.withUnsafeBufferPointer { tokenizer.decode($0) } == Array(text))
    }

    @Test func digestsEqualTheStandardsVectors() {
        #expect(SHA256.hexadecimalDigest(of: []) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(SHA256.hexadecimalDigest(of: Array("abc".utf8)) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        var hash = SHA256()
        var fast = XXHash64()
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        million.withUnsafeBytes { bytes in
            var start = 0
            var step = 1
            while start < bytes.count {
                let portion = UnsafeRawBufferPointer(rebasing: bytes[start..<min(bytes.count, start + step)])
                hash.update(portion)
                fast.update(portion)
                start += step
                step = step % 97 + 1
            }
        }
        #expect(hash.finalized() == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        var whole = XXHash64()
        million.withUnsafeBytes { whole.update($0) }
        #expect(whole.finalized() == fast.finalized())
        #expect(fast.finalized() == 0xdc48_3aaa_9b4f_dc40)
        #expect(XXHash64().finalized() == 0xef46_db37_51d8_e999)
        var short = XXHash64()
        Array("abc".utf8).withUnsafeBytes { short.update($0) }
        #expect(short.finalized() == 0x44bc_2cf5_ad77_0999)
    }

    @Test func wordsAreCountedBetweenWhiteSpace() {
        func counted(_ text: String) -> Int {
            Array(text.utf8).withUnsafeBufferPointer { WordCount.wordsAndLineEnds(in: $0) }
        }
        #expect(counted("") == 0)
        #expect(counted("one") == 2)
        #expect(counted(" one\ttwo \n\nthree\r\n") == 6)
        #expect(counted("a b\nc") == 5)
    }
}
