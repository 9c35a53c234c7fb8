// The words of stories, questions and answers, numbered.

import Diagnostics
import Foundation
import Storage

/// Words by number. 0 is padding and no word; the others are numbered in the order in which the training data first names them.
public struct StoryVocabulary: Sendable, Equatable {
    /// The words by number; the first is empty.
    public private(set) var words: [String] = [""]
    private var numbers: [String: Int32] = [:]
    /// The words of the longest sentence or question of the training data.
    public internal(set) var longestSentence = 1
    /// The sentences of the longest story of the training data.
    public internal(set) var longestStory = 1
    /// The answers by class, where they are chosen from a list and are no words; `nil` where every answer is a word.
    public internal(set) var answers: [String]?

    /// Whether white space and case are Unicode's; vocabularies of before that was recorded know those of ASCII alone.
    public private(set) var readsUnicode = true

    /// A vocabulary of padding alone.
    public init() {}

    /// V, padding counted.
    public var count: Int { words.count }

    /// The number of a word; `nil` for one that the training data does not hold.
    public subscript(word: String) -> Int32? { numbers[word] }

    /// The number of a word, which is added where it is new.
    public mutating func add(_ word: String) -> Int32 {
        if let known = numbers[word] { return known }
        let number = Int32(words.count)
        words.append(word)
        numbers[word] = number
        return number
    }

    /// The words of a line: in lower case, without the full stop, question or exclamation mark at the end, divided at white space.
    public func split(_ text: some Collection<UInt8>) -> [String] {
        var words = Array(text).withUnsafeBufferPointer { $0.words(readsUnicode ? .unicode : .ascii).map { Array($0) } }
        let marks: Set<UInt8> = [0x2e, 0x3f, 0x21]
        while var last = words.popLast() {
            while let byte = last.last, marks.contains(byte) { last.removeLast() }
            if last.isEmpty { continue }
            words.append(last)
            break
        }
        return words.map { folded($0) }
    }

    /// A word or an answer in lower case.
    func folded(_ text: some Collection<UInt8>) -> String {
        if readsUnicode, text.contains(where: { $0 >= 0x80 }) { return String(decoding: text, as: UTF8.self).lowercased() }
        return String(decoding: text.map { $0 >= 0x41 && $0 <= 0x5a ? $0 | 0x20 : $0 }, as: UTF8.self)
    }

    // MARK: vocabulary.json

    /// The name of a vocabulary's file in a run directory.
    public static let fileName = "vocabulary.json"

    private struct File: Codable {
        var version: Int
        var longestSentence: Int
        var longestStory: Int
        var words: [String]
        var answers: [String]?
        /// Absent in files of before it was recorded, which means false.
        var unicode: Bool?
    }

    /// The vocabulary as JSON: the same bytes for the same words.
    public var json: [UInt8] {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            return Array(
                try encoder.encode(
                    File(
                        version: 1, longestSentence: longestSentence, longestStory: longestStory, words: words, answers: answers,
                        unicode: readsUnicode ? true : nil)))
                + [0x0a]
        }
    }

    /// Reads what `json` gave.
    /// - Throws: `UserError` where the file is absent, damaged or of a later version.
    public init(contentsOf path: String) throws {
        guard Directory.exists(path) != nil else {
            throw UserError(.missingInput, "cannot read the vocabulary", at: path, advice: "the run directory is incomplete: copy it again")
        }
        let data = Data(try DurableFile.read(path))
        guard let file = try? JSONDecoder().decode(File.self, from: data), file.version == 1, file.words.first == "" else {
            throw UserError(
                .badData, "is no vocabulary of version 1", at: path, advice: "copy the run directory again, or use the program that wrote it")
        }
        self.init()
        for word in file.words.dropFirst() { _ = add(word) }
        guard words == file.words else { throw UserError(.badData, "names a word twice", at: path, advice: "copy the run directory again") }
        longestSentence = max(1, file.longestSentence)
        longestStory = max(1, file.longestStory)
        answers = file.answers
        readsUnicode = file.unicode ?? false
    }

    /// A number that differs, nearly surely, where the words differ.
    public var fingerprint: String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        for word in words + (answers ?? []) { for byte in Array(word.utf8) + [0] { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 } }
        let digits = String(mixedBits(hash), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}
