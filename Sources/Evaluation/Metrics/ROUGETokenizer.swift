// How ROUGE cuts a text into words.

/// Cuts texts into runs of ASCII letters and digits, lower-cased and stemmed, and numbers them.
struct ROUGETokenizer {
    /// Whether words longer than three letters are stemmed.
    let usesStemmer: Bool
    private var interner = TokenInterner()
    private var stemmer = PorterStemmer()
    /// The number of the stem, by the number of the word; -1 where it has not been asked for.
    private var stems: [Int32] = []

    init(usesStemmer: Bool) {
        self.usesStemmer = usesStemmer
    }

    /// The words of a text. Letters outside ASCII separate words, save the two whose lower case is an ASCII letter.
    mutating func tokens(of text: String) -> [Int32] {
        var numbers: [Int32] = []
        var word: [UInt8] = []
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x30...0x39, 0x61...0x7A: word.append(UInt8(truncatingIfNeeded: scalar.value))
            case 0x41...0x5A: word.append(UInt8(truncatingIfNeeded: scalar.value + 0x20))
            case 0x212A: word.append(UInt8(ascii: "k"))  // the sign of kelvin
            case 0x130:  // a dotted capital i becomes i and a combining dot, which ends the word
                word.append(UInt8(ascii: "i"))
                end(&word, into: &numbers)
            default: end(&word, into: &numbers)
            }
        }
        end(&word, into: &numbers)
        return numbers
    }

    private mutating func end(_ word: inout [UInt8], into numbers: inout [Int32]) {
        guard !word.isEmpty else { return }
        numbers.append(number(of: word))
        word.removeAll(keepingCapacity: true)
    }

    private mutating func number(of word: [UInt8]) -> Int32 {
        let number = word.withUnsafeBufferPointer { interner.number(of: $0) }
        guard usesStemmer, word.count > 3 else { return number }
        while stems.count < interner.count { stems.append(-1) }
        if stems[Int(number)] < 0 {
            let stem = stemmer.stem(word)
            stems[Int(number)] = stem.withUnsafeBufferPointer { interner.number(of: $0) }
        }
        return stems[Int(number)]
    }
}
