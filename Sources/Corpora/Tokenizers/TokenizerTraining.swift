// Training of SentencePiece models, with defaults that give every text back unchanged.

import CSentencePiece
import Diagnostics

/// How a tokenizer is trained. The same options and the same sample give the same model, byte for byte.
///
/// Special pieces have fixed ids: unknown 0, beginning 1, end 2, padding 3, line break 4.
public struct TokenizerTraining: Sendable, Equatable {
    /// The segmentation that is learnt.
    public enum Kind: String, Sendable, CaseIterable {
        /// A unigram language model over pieces.
        case unigram
        /// Byte-pair encoding: the most frequent pairs are merged first.
        case bpe
        /// Whole words.
        case word
        /// Single characters.
        case char
    }

    /// What happens to text before it is segmented.
    public enum Normalization: String, Sendable, CaseIterable {
        /// Nothing: decoding gives the same bytes back.
        case identity
        /// NFKC with the white-space rules of machine translation; runs of spaces become one.
        case nmtNFKC = "nmt_nfkc"
        /// The same with lower case.
        case nmtNFKCCaseFolded = "nmt_nfkc_cf"
    }

    /// How text is segmented.
    public var kind: Kind
    /// The number of pieces, special ones included; `nil` for all that a `char` or `word` model finds.
    public var vocabularySize: Int?
    /// What happens to text before.
    public var normalization: Normalization
    /// The share of the text's characters that get pieces of their own; the others are spelled in bytes.
    public var characterCoverage: Double

    /// - Parameters:
    ///   - kind: the segmentation.
    ///   - vocabularySize: pieces in all; `nil` only for `char` and `word`.
    ///   - normalization: identity unless the text is meant to change.
    ///   - characterCoverage: 0.98 ... 1; by default 1 for `char`, 0.9995 for the others.
    public init(kind: Kind, vocabularySize: Int?, normalization: Normalization = .identity, characterCoverage: Double? = nil) {
        self.kind = kind
        self.vocabularySize = vocabularySize
        self.normalization = normalization
        self.characterCoverage = characterCoverage ?? (kind == .char ? 1 : 0.9995)
    }

    /// Trains a model.
    /// - Parameter sample: the sentences to learn from.
    /// - Returns: the bytes of the model file.
    /// - Throws: `UserError` where the sample is empty, or where the vocabulary is larger or smaller than the sample allows; the message says the
    ///   limit.
    /// - Complexity: some 20 bytes of memory for each byte of the sample (unigram).
    public func train(on sample: TextSample) throws -> [UInt8] {
        guard sample.count > 0 else { throw UserError(.badData, "the input holds no text to train a tokenizer on", advice: "give files with text") }
        guard vocabularySize != nil || kind == .char || kind == .word else {
            throw UserError(.usage, "a \(kind.rawValue) tokenizer needs a vocabulary size", advice: "give --vocabulary")
        }
        let (names, values) = (options.map(\.0), options.map(\.1))
        var status = mneme_sentencepiece_status()
        let feed = SampleFeed(sample)
        var count = 0
        let trained = withCStrings(names) { names in
            withCStrings(values) { values in
                mneme_sentencepiece_train(
                    names, values, options.count,
                    { context, bytes, count in
                        guard let context, let bytes, let count else { return 0 }
                        return Unmanaged<SampleFeed>.fromOpaque(context).takeUnretainedValue().next(bytes, count)
                    }, Unmanaged.passUnretained(feed).toOpaque(), &count, &status)
            }
        }
        guard let trained else { throw error(from: withUnsafeBytes(of: status.message) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }) }
        defer { mneme_sentencepiece_free_bytes(trained) }
        let model = Array(UnsafeRawBufferPointer(start: trained, count: count))
        let size = try SentencePieceTokenizer(modelBytes: model, name: "trained model").vocabularySize
        if let vocabularySize, size < vocabularySize { throw tooLarge(limit: "\(size)") }
        return model
    }

    /// Options as SentencePiece names them.
    private var options: [(String, String)] {
        let isOpen = kind == .char || kind == .word
        return [
            ("model_type", kind.rawValue),
            // A list of characters or words is as long as the text makes it; the others reach their size exactly.
            ("vocab_size", "\(vocabularySize ?? 1 << 24)"),
            ("hard_vocab_limit", isOpen ? "false" : "true"),
            ("character_coverage", "\(characterCoverage)"),
            ("normalization_rule_name", normalization.rawValue),
            ("remove_extra_whitespaces", normalization == .identity ? "false" : "true"),
            ("add_dummy_prefix", kind == .char ? "false" : "true"),
            ("byte_fallback", kind == .char ? "false" : "true"),
            ("user_defined_symbols", "\n"),
            ("unk_id", "0"), ("bos_id", "1"), ("eos_id", "2"), ("pad_id", "3"),
            ("max_sentence_length", "1048576"),
            // Sums are taken in an order that depends on the number of threads: it is fixed, not the machine's.
            ("num_threads", "8"),
            ("minloglevel", "3"),
        ]
    }

    /// The library's message in the user's words.
    private func error(from message: String) -> UserError {
        if message.contains("too high"), let limit = message.split(separator: "<=").last.map({ $0.filter(\.isNumber) }) {
            return tooLarge(limit: limit)
        }
        if message.contains("smaller than required_chars"), let needed = message.split(separator: "vs").last?.split(separator: ".").first {
            return UserError(
                .badData, "a vocabulary of \(vocabularySize ?? 0) is too small: special pieces, bytes and single characters alone are\(needed)",
                advice: "choose a larger --vocabulary\(kind == .char ? "" : " or a lower --character-coverage")")
        }
        return UserError(.badData, "SentencePiece could not train a model: \(message)")
    }

    private func tooLarge(limit: some StringProtocol) -> UserError {
        UserError(
            .badData, "a vocabulary of \(vocabularySize ?? 0) is larger than this text allows: the largest possible is \(limit)",
            advice: "give --vocabulary \(limit) or less, or more text")
    }
}

/// Hands a sample's sentences to the trainer, one a call.
///
/// The library takes what reads like one of its special pieces, such as `<unk>`, out of the sentences that it learns from. Here it is text: a sentence is
/// divided behind the `<` of such a piece, so that all its characters are learned.
private final class SampleFeed {
    private let sample: TextSample
    private let buffer = SentenceBuffer()
    private var position = 0
    /// Bytes of the present sentence that were handed out.
    private var offset = 0

    private static let specialPieces = ["unk>", "s>", "/s>", "pad>", "0x"].map { Array($0.utf8) }

    init(_ sample: TextSample) {
        self.sample = sample
    }

    func next(_ bytes: UnsafeMutablePointer<UnsafePointer<CChar>?>, _ count: UnsafeMutablePointer<Int>) -> Int32 {
        guard position < sample.count else { return 0 }
        // The pointer must outlive this call, so it points into storage of the feed.
        sample.withSentence(position) { sentence in
            var end = sentence.count
            var search = offset
            while let open = sentence.firstByte(UInt8(ascii: "<"), from: search), end == sentence.count {
                if Self.specialPieces.contains(where: { sentence[(open + 1)...].starts(with: $0) }) { end = open + 1 }
                search = open + 1
            }
            buffer.update(with: UnsafeBufferPointer(rebasing: sentence[offset..<end]))
            (position, offset) = end == sentence.count ? (position + 1, 0) : (position, end)
        }
        bytes.pointee = UnsafePointer(buffer.base)
        count.pointee = buffer.count
        return 1
    }
}

/// Bytes at an address that stays until the next update.
private final class SentenceBuffer {
    private(set) var base: UnsafeMutablePointer<CChar>
    private(set) var count = 0
    private var capacity = 8192

    init() {
        base = .allocate(capacity: 8192)
    }

    deinit {
        base.deallocate()
    }

    func update(with text: UnsafeBufferPointer<UInt8>) {
        if text.count > capacity {
            base.deallocate()
            capacity = text.count
            base = .allocate(capacity: capacity)
        }
        count = text.count
        for index in text.indices { base[index] = CChar(bitPattern: text[index]) }
    }
}

/// Calls `body` with an array of C strings.
private func withCStrings<Result>(_ strings: [String], _ body: (UnsafePointer<UnsafePointer<CChar>?>?) throws -> Result) rethrows -> Result {
    let copies = strings.map { Array($0.utf8CString) }
    let total = copies.reduce(0) { $0 + $1.count }
    return try withUnsafeTemporaryAllocation(of: CChar.self, capacity: max(1, total)) { storage in
        var pointers: [UnsafePointer<CChar>?] = []
        var offset = 0
        for copy in copies {
            pointers.append(storage.baseAddress.map { UnsafePointer($0 + offset) })
            for character in copy {
                storage[offset] = character
                offset += 1
            }
        }
        return try pointers.withUnsafeBufferPointer { try body($0.baseAddress) }
    }
}
