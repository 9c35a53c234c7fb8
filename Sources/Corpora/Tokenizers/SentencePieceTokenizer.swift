// Text to ids and back, by a SentencePiece model.

import CSentencePiece
import Diagnostics
import Storage

/// A SentencePiece model: encodes UTF-8 bytes into ids and decodes ids into bytes.
///
/// Models trained by `TokenizerTraining` with its default options give every text back: `decode(encode(x)) == x`, line breaks, runs of spaces and
/// characters the training text never had included. SentencePiece itself turns U+2581 into a space; where the model has byte pieces, such a character
/// is encoded as its three bytes instead (`word` models excepted).
///
/// The object may move between threads; its calls must not overlap, since results pass through buffers of its own.
///
/// - Source: Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer and detokenizer for neural text
///   processing", 2018; Kudo, "Subword regularization", 2018 (unigram); Sennrich, Haddow and Birch, 2016 (BPE).
public final class SentencePieceTokenizer: @unchecked Sendable {
    /// The number of pieces; ids are 0 ..< this.
    public let vocabularySize: Int
    /// SHA-256 of the model file, in hexadecimal. Two tokenizers with the same fingerprint give the same ids.
    public let fingerprint: String
    /// The model file's bytes.
    public let modelBytes: [UInt8]
    /// The id that stands for what the vocabulary cannot say.
    public let unknownID: Int32
    /// The id that begins a sequence, or -1 where the model has none.
    public let beginningID: Int32
    /// The id that ends a document or a sequence, or -1 where the model has none.
    public let endID: Int32
    /// The id that fills up short rows, or -1 where the model has none.
    public let paddingID: Int32
    /// The id of a line break where the vocabulary has a piece for it, as models trained here have; else -1.
    public let lineBreakID: Int32

    private let model: OpaquePointer
    /// Ids of the bytes E2 96 81 (U+2581), empty where the model has no byte pieces.
    private let spaceSymbolByteIDs: [Int32]
    /// The piece SentencePiece puts before a text (U+2581), by which a continuation is told from a beginning.
    private let spaceSymbolID: Int32
    /// True when the model itself makes a line break a piece of its own; `word` models do not, so their lines are encoded and decoded one by one.
    private let splitsAtLineBreaks: Bool
    /// The ids of one encoding, reused.
    @usableFromInline var ids: [Int32] = []
    /// A line break and the text that continues after it, reused.
    private var continuation: [UInt8] = []
    /// The ids of earlier words, for models whose ids of a text are those of its words.
    private let words: WordCache?
    /// False encodes whole portions through the library even where words could be looked up: the same ids, more slowly.
    package var looksUpWords = true

    /// Longer texts are encoded in portions that begin at line breaks: the same ids in less memory and time.
    private static let portionLength = 4096

    /// Loads a model file.
    /// - Throws: `UserError` where the file cannot be read or is no SentencePiece model.
    public convenience init(path: String) throws {
        try self.init(modelBytes: DurableFile.read(path), name: path)
    }

    /// Loads a model from the bytes of a model file.
    /// - Parameters:
    ///   - modelBytes: the file's bytes.
    ///   - name: where they came from, for error messages.
    /// - Throws: `UserError` where they are no SentencePiece model.
    public init(modelBytes: [UInt8], name: String) throws {
        var status = mneme_sentencepiece_status()
        let loaded = modelBytes.isEmpty ? nil : modelBytes.withUnsafeBytes { mneme_sentencepiece_load($0.baseAddress, $0.count, &status) }
        guard let model = loaded else {
            throw UserError(.badData, "not a SentencePiece model", at: name, advice: "give a file that `mneme tokenizer train` wrote")
        }
        self.model = model
        self.modelBytes = modelBytes
        fingerprint = SHA256.hexadecimalDigest(of: modelBytes)
        vocabularySize = Int(mneme_sentencepiece_vocabulary_size(model))
        unknownID = mneme_sentencepiece_unknown_id(model)
        beginningID = mneme_sentencepiece_beginning_id(model)
        endID = mneme_sentencepiece_end_id(model)
        paddingID = mneme_sentencepiece_padding_id(model)
        lineBreakID = Self.id(of: "\n", in: model) ?? -1
        spaceSymbolID = Self.id(of: "\u{2581}", in: model) ?? -1
        let byteIDs = ["<0xE2>", "<0x96>", "<0x81>"].compactMap { Self.id(of: $0, in: model) }.filter { mneme_sentencepiece_is_byte(model, $0) == 1 }
        spaceSymbolByteIDs = byteIDs.count == 3 ? byteIDs : []
        splitsAtLineBreaks = lineBreakID >= 0 && Self.encodesLineBreakAlone(model, lineBreakID)
        let encodesWordByWord = splitsAtLineBreaks && spaceSymbolID >= 0 && ModelFile(modelBytes)?.encodesWordByWord == true
        words = encodesWordByWord ? WordCache() : nil
    }

    deinit {
        mneme_sentencepiece_free(model)
    }

    private static func id(of piece: String, in model: OpaquePointer) -> Int32? {
        let bytes = Array(piece.utf8)
        let id = bytes.withUnsafeBytes { mneme_sentencepiece_id(model, $0.baseAddress?.assumingMemoryBound(to: CChar.self), $0.count) }
        return id == mneme_sentencepiece_unknown_id(model) ? nil : id
    }

    private static func encodesLineBreakAlone(_ model: OpaquePointer, _ lineBreakID: Int32) -> Bool {
        var status = mneme_sentencepiece_status()
        var result: UnsafePointer<Int32>?
        let count = mneme_sentencepiece_encode(model, "a\na", 3, &result, &status)
        return UnsafeBufferPointer(start: result, count: Int(max(0, count))).contains(lineBreakID)
    }

    /// Writes a model file, in one step.
    /// - Throws: `UserError(.inputOutput)`; a file that was there is then untouched.
    public static func write(_ modelBytes: [UInt8], to path: String) throws {
        try DurableFile.replace(path, by: modelBytes)
    }

    // MARK: Encoding

    /// Encodes UTF-8 bytes and hands the ids to `body`; no memory is allocated once buffers have grown.
    ///
    /// - Parameters:
    ///   - text: valid UTF-8, borrowed.
    ///   - continuing: true when `text` goes on where an encoded text ended, so that no word boundary is put before it.
    ///   - body: receives the ids (int32), valid only during the call.
    /// - Complexity: O(bytes); on one core of 2024 about as fast as the library for unigram models, several times as fast for BPE models, whose words
    ///   are looked up.
    @inlinable
    public func withEncoded<Result>(
        _ text: UnsafeBufferPointer<UInt8>, continuing: Bool = false, _ body: (UnsafeBufferPointer<Int32>) throws -> Result
    ) rethrows -> Result {
        gather(text, continuing: continuing)
        return try ids.withUnsafeBufferPointer(body)
    }

    /// Puts the ids of a text into `ids`.
    @usableFromInline
    func gather(_ text: UnsafeBufferPointer<UInt8>, continuing: Bool) {
        ids.removeAll(keepingCapacity: true)
        if splitsAtLineBreaks {
            var isContinuation = continuing
            for portion in TextPortions(text, longest: Self.portionLength) {
                appendPortion(portion, continuing: isContinuation)
                isContinuation = true
            }
        } else if lineBreakID >= 0 {
            appendLines(text)
        } else {
            appendEncoded(text)
        }
    }

    /// Encodes UTF-8 bytes.
    /// - Returns: ids, int32.
    public func encode(_ text: [UInt8]) -> [Int32] {
        text.withUnsafeBufferPointer { withEncoded($0) { Array($0) } }
    }

    /// Encodes a string.
    /// - Returns: ids, int32.
    public func encode(_ text: String) -> [Int32] {
        encode(Array(text.utf8))
    }

    /// Encodes one portion, with U+2581 as bytes where the model can say it.
    private func appendPortion(_ portion: UnsafeBufferPointer<UInt8>, continuing: Bool) {
        guard !spaceSymbolByteIDs.isEmpty else { return appendPlain(portion, continuing: continuing) }
        var start = 0
        var isContinuation = continuing
        while let found = Self.firstSpaceSymbol(in: portion, from: start) {
            appendPlain(UnsafeBufferPointer(rebasing: portion[start..<found]), continuing: isContinuation)
            ids.append(contentsOf: spaceSymbolByteIDs)
            isContinuation = true
            start = found + 3
        }
        appendPlain(UnsafeBufferPointer(rebasing: portion[start...]), continuing: isContinuation)
    }

    /// Encodes line by line, with the line break's id between lines.
    private func appendLines(_ text: UnsafeBufferPointer<UInt8>) {
        var start = 0
        while let end = text.firstByte(UInt8(ascii: "\n"), from: start) {
            appendEncoded(UnsafeBufferPointer(rebasing: text[start..<end]))
            ids.append(lineBreakID)
            start = end + 1
        }
        appendEncoded(UnsafeBufferPointer(rebasing: text[start...]))
    }

    /// Encodes text without U+2581.
    private func appendPlain(_ text: UnsafeBufferPointer<UInt8>, continuing: Bool) {
        if let words, looksUpWords { appendWords(text, continuing: continuing, words) } else { appendAtOnce(text, continuing: continuing) }
    }

    /// Encodes word by word: a word is its leading spaces and what follows up to the next space or line break.
    private func appendWords(_ text: UnsafeBufferPointer<UInt8>, continuing: Bool, _ words: WordCache) {
        let (space, lineBreak) = (UInt8(ascii: " "), UInt8(ascii: "\n"))
        var start = 0
        var isAfterBoundary = !continuing
        while start < text.count {
            var end = start
            while end < text.count, text[end] == space { end += 1 }
            while end < text.count, text[end] != space, text[end] != lineBreak { end += 1 }
            let word = UnsafeBufferPointer(rebasing: text[start..<end])
            if word.isEmpty {
                if isAfterBoundary { ids.append(spaceSymbolID) }
                ids.append(lineBreakID)
                end += 1
            } else if word.count > WordCache.longestWord {
                appendWord(word, isAfterBoundary: isAfterBoundary)
            } else {
                let hash = WordCache.hash(word, isAfterBoundary: isAfterBoundary)
                if !words.append(word, hash: hash, isAfterBoundary: isAfterBoundary, to: &ids) {
                    let first = ids.count
                    appendWord(word, isAfterBoundary: isAfterBoundary)
                    words.insert(word, hash: hash, isAfterBoundary: isAfterBoundary, ids: ids[first...])
                }
            }
            isAfterBoundary = false
            start = end
        }
    }

    /// Encodes one word through the library, which puts a word boundary before every text that it is given.
    private func appendWord(_ word: UnsafeBufferPointer<UInt8>, isAfterBoundary: Bool) {
        guard !isAfterBoundary, word.first == UInt8(ascii: " ") else { return appendAtOnce(word, continuing: !isAfterBoundary) }
        if word.count == 1 { ids.append(spaceSymbolID) } else { appendEncoded(UnsafeBufferPointer(rebasing: word[1...])) }
    }

    /// Encodes text without U+2581 in one call of the library.
    private func appendAtOnce(_ text: UnsafeBufferPointer<UInt8>, continuing: Bool) {
        guard continuing, !text.isEmpty else { return appendEncoded(text) }
        if text[0] == UInt8(ascii: "\n") {
            // The library puts its word boundary before the line break, where it is a piece of its own.
            return appendEncoded(text, droppingBoundary: true)
        }
        // A line break before the text keeps the word boundary away from it; both pieces are dropped again.
        continuation.removeAll(keepingCapacity: true)
        continuation.append(UInt8(ascii: "\n"))
        continuation.append(contentsOf: text)
        continuation.withUnsafeBufferPointer { appendEncoded($0, droppingBoundary: true, droppingLineBreak: true) }
    }

    private func appendEncoded(_ text: UnsafeBufferPointer<UInt8>, droppingBoundary: Bool = false, droppingLineBreak: Bool = false) {
        guard !text.isEmpty else { return }
        var status = mneme_sentencepiece_status()
        var result: UnsafePointer<Int32>?
        let count = UnsafeRawBufferPointer(text).withMemoryRebound(to: CChar.self) {
            mneme_sentencepiece_encode(model, $0.baseAddress, $0.count, &result, &status)
        }
        precondition(count >= 0, "SentencePiece could not encode a text with a loaded model")
        let encoded = UnsafeBufferPointer(start: result, count: Int(count))
        var first = 0
        if droppingBoundary, first < encoded.count, encoded[first] == spaceSymbolID { first += 1 }
        if droppingLineBreak {
            precondition(first < encoded.count && encoded[first] == lineBreakID, "a line break is always a piece of its own")
            first += 1
        }
        ids.append(contentsOf: encoded[first...])
    }

    /// Where the bytes E2 96 81 begin, at or after `start`.
    private static func firstSpaceSymbol(in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Int? {
        var position = start
        while let found = text.firstByte(0xe2, from: position) {
            if found + 2 < text.count, text[found + 1] == 0x96, text[found + 2] == 0x81 { return found }
            position = found + 1
        }
        return nil
    }

    // MARK: Decoding

    /// Decodes ids into UTF-8 bytes; control pieces (bos, eos, padding) stand for no text.
    /// - Precondition: every id is in 0 ..< `vocabularySize`.
    public func decode(_ ids: UnsafeBufferPointer<Int32>) -> [UInt8] {
        precondition(ids.allSatisfy { $0 >= 0 && $0 < vocabularySize }, "an id is outside the vocabulary")
        guard lineBreakID >= 0 && !splitsAtLineBreaks else { return decodeLine(ids[...]) }
        let lines = ids.split(separator: lineBreakID, omittingEmptySubsequences: false).map { withSpaces(decodeLine($0)) }
        return Array(lines.joined(separator: [UInt8(ascii: "\n")]))
    }

    /// Spaces for U+2581: a `word` model spells an unknown word in bytes together with the boundary before it.
    private func withSpaces(_ line: [UInt8]) -> [UInt8] {
        line.withUnsafeBufferPointer { line in
            var text: [UInt8] = []
            var start = 0
            while let found = Self.firstSpaceSymbol(in: line, from: start) {
                text.append(contentsOf: line[start..<found])
                if found > 0 { text.append(UInt8(ascii: " ")) }
                start = found + 3
            }
            text.append(contentsOf: line[start...])
            return text
        }
    }

    private func decodeLine(_ line: Slice<UnsafeBufferPointer<Int32>>) -> [UInt8] {
        let ids = UnsafeBufferPointer(rebasing: line)
        guard !ids.isEmpty else { return [] }
        var status = mneme_sentencepiece_status()
        var result: UnsafePointer<CChar>?
        let count = mneme_sentencepiece_decode(model, ids.baseAddress, ids.count, &result, &status)
        precondition(count >= 0, "SentencePiece could not decode ids of its vocabulary")
        return Array(UnsafeRawBufferPointer(start: result, count: Int(count)))
    }

    /// Decodes ids into a string; bytes that are no UTF-8 become U+FFFD.
    public func decode(_ ids: [Int32]) -> String {
        String(decoding: ids.withUnsafeBufferPointer { decode($0) }, as: UTF8.self)
    }

    // MARK: Vocabulary

    /// The text of a piece, with U+2581 for a space; control and byte pieces in angle brackets.
    /// - Precondition: `id` is in 0 ..< `vocabularySize`.
    public func piece(_ id: Int32) -> String {
        precondition(id >= 0 && id < vocabularySize, "an id is outside the vocabulary")
        var count = 0
        let bytes = mneme_sentencepiece_piece(model, id, &count)
        return String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    }

    /// All pieces in the order of their ids.
    public var pieces: [String] {
        (0..<Int32(vocabularySize)).map { piece($0) }
    }

    /// The id of a piece, or `nil` where the vocabulary has no such piece.
    public func id(ofPiece piece: String) -> Int32? {
        piece == self.piece(unknownID) ? unknownID : Self.id(of: piece, in: model)
    }

    /// True for pieces that stand for no text: bos, eos, padding.
    public func isControl(_ id: Int32) -> Bool {
        mneme_sentencepiece_is_control(model, id) == 1
    }
}
