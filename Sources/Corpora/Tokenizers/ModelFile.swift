// What a SentencePiece model file says about how its model cuts text, read from its protocol-buffer message (sentencepiece_model.proto).

/// The parts of a model file that decide whether words can be encoded one by one.
struct ModelFile {
    private(set) var isBPE = false
    private(set) var treatsSpaceAsSuffix = false
    private(set) var hasNormalizationRules = false
    private(set) var addsBoundary = true
    private(set) var removesExtraSpaces = true
    private(set) var escapesSpaces = true
    /// False when a piece holds a word boundary (U+2581), a space or a line break behind its first character, so that it may span two words.
    private(set) var piecesStayWithinWords = true

    /// - Returns: `nil` for bytes that are no such message.
    init?(_ bytes: [UInt8]) {
        let isRead = bytes.withUnsafeBufferPointer { bytes in
            Message(bytes).forEach { field, value in
                switch (field, value) {
                case (1, .bytes(let piece)): return readPiece(piece)
                case (2, .bytes(let trainer)): return readTrainer(trainer)
                case (3, .bytes(let normalizer)): return readNormalizer(normalizer)
                default: return true
                }
            }
        }
        if !isRead { return nil }
    }

    /// True when the ids of a text are the ids of its words, one after the other. Merges of byte pairs stay within a piece, so with pieces that stay
    /// within words no merge crosses from one word into the next, nor does one depend on another word.
    var encodesWordByWord: Bool {
        isBPE && !treatsSpaceAsSuffix && !hasNormalizationRules && addsBoundary && !removesExtraSpaces && escapesSpaces && piecesStayWithinWords
    }

    private mutating func readPiece(_ message: UnsafeBufferPointer<UInt8>) -> Bool {
        Message(message).forEach { field, value in
            guard field == 1, case .bytes(let piece) = value else { return true }
            let boundary: [UInt8] = [0xE2, 0x96, 0x81]
            var index = 0
            while index + 3 <= piece.count, piece[index..<index + 3].elementsEqual(boundary) { index += 3 }
            while index < piece.count {
                let isBoundary = index + 3 <= piece.count && piece[index..<index + 3].elementsEqual(boundary)
                let isLineBreakAmongOthers = piece[index] == UInt8(ascii: "\n") && piece.count > 1
                if isBoundary || isLineBreakAmongOthers || piece[index] == UInt8(ascii: " ") { piecesStayWithinWords = false }
                index += 1
            }
            return true
        }
    }

    private mutating func readTrainer(_ message: UnsafeBufferPointer<UInt8>) -> Bool {
        Message(message).forEach { field, value in
            switch (field, value) {
            case (3, .number(let type)): isBPE = type == 2
            case (24, .number(let flag)): treatsSpaceAsSuffix = flag != 0
            default: break
            }
            return true
        }
    }

    private mutating func readNormalizer(_ message: UnsafeBufferPointer<UInt8>) -> Bool {
        Message(message).forEach { field, value in
            switch (field, value) {
            case (2, .bytes(let rules)): hasNormalizationRules = !rules.isEmpty
            case (3, .number(let flag)): addsBoundary = flag != 0
            case (4, .number(let flag)): removesExtraSpaces = flag != 0
            case (5, .number(let flag)): escapesSpaces = flag != 0
            default: break
            }
            return true
        }
    }
}

/// A protocol-buffer message: a sequence of numbered fields.
private struct Message {
    enum Value {
        case number(UInt64)
        case bytes(UnsafeBufferPointer<UInt8>)
        /// Four or eight bytes, which nothing here reads.
        case fixed
    }

    private let bytes: UnsafeBufferPointer<UInt8>

    init(_ bytes: UnsafeBufferPointer<UInt8>) { self.bytes = bytes }

    /// Calls `body` for each field until it returns false.
    /// - Returns: false when the bytes are no message or `body` has returned false.
    func forEach(_ body: (_ field: Int, _ value: Value) -> Bool) -> Bool {
        var index = 0
        while index < bytes.count {
            guard let tag = number(at: &index) else { return false }
            let value: Value
            switch tag & 7 {
            case 0:
                guard let number = number(at: &index) else { return false }
                value = .number(number)
            case 1, 5:
                index += tag & 7 == 1 ? 8 : 4
                guard index <= bytes.count else { return false }
                value = .fixed
            case 2:
                guard let length = number(at: &index), length <= UInt64(bytes.count - index) else { return false }
                value = .bytes(UnsafeBufferPointer(rebasing: bytes[index..<index + Int(length)]))
                index += Int(length)
            default: return false
            }
            guard body(Int(truncatingIfNeeded: tag >> 3), value) else { return false }
        }
        return true
    }

    /// A number of seven bits a byte, the lowest first.
    private func number(at index: inout Int) -> UInt64? {
        var (result, shift): (UInt64, UInt64) = (0, 0)
        while index < bytes.count, shift < 64 {
            let byte = bytes[index]
            index += 1
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
            shift += 7
        }
        return nil
    }
}
