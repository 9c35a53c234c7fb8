// Keys from texts.

import Storage

/// Makes the keys of texts.
public protocol TextEncoder {
    /// What it is, for the bank's list of generations.
    var generation: BankGeneration { get }
    /// The keys of texts, each as many elements as the generation's width.
    /// - Throws: `UserError` (.badData) for a text that has no key.
    func keys(_ texts: [String]) throws -> [[Float]]
}

extension TextEncoder {
    /// The key of one text.
    /// - Throws: as ``keys(_:)``.
    public func key(_ text: String) throws -> [Float] { try keys([text])[0] }
}

/// The encoders that a bank can name.
public enum TextEncoders {
    /// Their names.
    public static let names = [hashedNGrams, run]

    /// ``HashedNGrams``, which needs no model.
    public static let hashedNGrams = "hashed-ngrams"

    /// The model of the run that the bank belongs to; see ``MemoryBank/runEncoder``.
    public static let run = "run"

    /// An encoder that needs no model, by its name; `nil` where there is none.
    public static func named(_ name: String, width: Int) -> (any TextEncoder)? {
        name == hashedNGrams ? HashedNGrams(width: width) : nil
    }
}

/// Counts of words and of their parts of three letters, hashed into a vector of length 1: texts that share words or their stems have keys
/// that are alike.
///
/// Letters are compared in lower case. Each word, and each three letters in a row of a word with a mark at its ends, adds 1 or -1, by a bit
/// of its hash, to the element that its hash names.
///
/// - Source: Weinberger et al. 2009, Feature Hashing for Large Scale Multitask Learning, equation 2.
public struct HashedNGrams: TextEncoder, Sendable {
    private let width: Int

    /// An encoder whose keys have `width` elements.
    public init(width: Int) { self.width = width }

    public var generation: BankGeneration { BankGeneration(model: TextEncoders.hashedNGrams, normalization: "l2", width: width) }

    public func keys(_ texts: [String]) -> [[Float]] { texts.map(key) }

    /// The key of a text.
    public func key(_ text: String) -> [Float] {
        var counts = [Double](repeating: 0, count: width)
        func add(_ feature: [UInt8]) {
            let hash = XXHash64.of(feature)
            counts[Int((hash >> 1) % UInt64(width))] += hash & 1 == 0 ? 1 : -1
        }
        for word in text.lowercased().split(whereSeparator: { !$0.isLetter && !$0.isNumber }) {
            let marked = Array("<\(word)>")
            add(Array(word.utf8))
            for start in 0..<max(0, marked.count - 2) { add([0] + Array(String(marked[start..<(start + 3)]).utf8)) }
        }
        let length = counts.reduce(0) { $0 + $1 * $1 }.squareRoot()
        return counts.map { length > 0 ? Float($0 / length) : 0 }
    }
}
