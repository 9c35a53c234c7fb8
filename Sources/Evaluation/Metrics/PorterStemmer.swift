// The Porter stemmer with the extensions of NLTK, which ROUGE's common implementation stems with.
//
// Porter 1980, "An algorithm for suffix stripping", Program 14(3):130-137. The extensions: a table of irregular words;
// four-letter words in -ies and -ied keep their e; y becomes i only after a consonant; a vowel and a consonant alone count
// as a short syllable; -alli is resolved before -bli; -fulli and -logi have rules.

/// Reduces English words to stems.
package struct PorterStemmer {
    package init() {}

    /// The word being stemmed: ASCII lower-case letters and digits.
    private var word: [UInt8] = []

    /// The stem of a word.
    ///
    /// - Parameter word: ASCII lower-case letters and digits.
    /// - Complexity: O(length) for each of the eight steps.
    package mutating func stem(_ word: some Collection<UInt8>) -> [UInt8] {
        if let irregular = Self.irregularStems[Array(word)] { return irregular }
        if word.count <= 2 { return Array(word) }
        self.word = Array(word)
        removePlural()
        removePastAndParticiple()
        replaceFinalY()
        replaceDoubleSuffix()
        apply(Self.step3) { $0.measure(of: $1) > 0 }
        apply(Self.step4) { stemmer, length in
            guard stemmer.measure(of: length) > 1 else { return false }
            let isIon = stemmer.word.count == length + 3 && stemmer.hasSuffix("ion")
            return !isIon || stemmer.word[length - 1] == UInt8(ascii: "s") || stemmer.word[length - 1] == UInt8(ascii: "t")
        }
        removeFinalE()
        if hasSuffix("ll"), measure(of: self.word.count - 1) > 1 { self.word.removeLast() }
        return self.word
    }

    // MARK: Letters

    private static func isVowelLetter(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "a") || byte == UInt8(ascii: "e") || byte == UInt8(ascii: "i") || byte == UInt8(ascii: "o") || byte == UInt8(ascii: "u")
    }

    /// Whether the letter at `index` is a consonant: y is one at the beginning and after a vowel.
    private func isConsonant(at index: Int) -> Bool {
        if Self.isVowelLetter(word[index]) { return false }
        var start = index
        while start > 0, word[start] == UInt8(ascii: "y") { start -= 1 }
        let first = !Self.isVowelLetter(word[start])
        return (index - start).isMultiple(of: 2) ? first : !first
    }

    /// Porter's m of the first `length` letters: how often a vowel is followed by a consonant.
    private func measure(of length: Int) -> Int {
        var count = 0
        var previousIsConsonant = true
        for index in 0..<length {
            let byte = word[index]
            let isConsonant = byte == UInt8(ascii: "y") ? index == 0 || !previousIsConsonant : !Self.isVowelLetter(byte)
            if isConsonant, !previousIsConsonant { count += 1 }
            previousIsConsonant = isConsonant
        }
        return count
    }

    private func containsVowel(_ length: Int) -> Bool {
        (0..<length).contains { !isConsonant(at: $0) }
    }

    private func endsWithDoubleConsonant() -> Bool {
        let count = word.count
        return count >= 2 && word[count - 1] == word[count - 2] && isConsonant(at: count - 1)
    }

    /// Whether the first `length` letters end with a short syllable: consonant, vowel, consonant other than w, x, y.
    private func endsWithShortSyllable(_ length: Int) -> Bool {
        if length == 2 { return !isConsonant(at: 0) && isConsonant(at: 1) }
        guard length >= 3, isConsonant(at: length - 3), !isConsonant(at: length - 2), isConsonant(at: length - 1) else { return false }
        let last = word[length - 1]
        return last != UInt8(ascii: "w") && last != UInt8(ascii: "x") && last != UInt8(ascii: "y")
    }

    private func hasSuffix(_ suffix: StaticString) -> Bool {
        let count = suffix.utf8CodeUnitCount
        guard word.count >= count else { return false }
        let start = word.count - count
        for index in 0..<count where word[start + index] != suffix.utf8Start[index] { return false }
        return true
    }

    private mutating func replaceSuffix(ofLength length: Int, by replacement: StaticString) {
        word.removeLast(length)
        for index in 0..<replacement.utf8CodeUnitCount { word.append(replacement.utf8Start[index]) }
    }

    // MARK: Steps

    /// A suffix and what takes its place.
    private typealias Rule = (suffix: StaticString, replacement: StaticString)

    /// Applies the first rule whose suffix the word has, if `condition` holds for the length of what is before it.
    private mutating func apply(_ rules: [Rule], where condition: (borrowing PorterStemmer, Int) -> Bool) {
        for rule in rules where hasSuffix(rule.suffix) {
            if condition(self, word.count - rule.suffix.utf8CodeUnitCount) {
                replaceSuffix(ofLength: rule.suffix.utf8CodeUnitCount, by: rule.replacement)
            }
            return
        }
    }

    /// Step 1a.
    private mutating func removePlural() {
        if word.count == 4, hasSuffix("ies") {
            word.removeLast()
        } else {
            apply([("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")]) { _, _ in true }
        }
    }

    /// Step 1b.
    private mutating func removePastAndParticiple() {
        if hasSuffix("ied") {
            word.removeLast(word.count == 4 ? 1 : 2)
            return
        }
        if hasSuffix("eed") {
            if measure(of: word.count - 3) > 0 { word.removeLast() }
            return
        }
        let suffixLength = hasSuffix("ed") ? 2 : hasSuffix("ing") ? 3 : 0
        guard suffixLength > 0, containsVowel(word.count - suffixLength) else { return }
        word.removeLast(suffixLength)
        if hasSuffix("at") || hasSuffix("bl") || hasSuffix("iz") {
            word.append(UInt8(ascii: "e"))
        } else if endsWithDoubleConsonant() {
            if !hasSuffix("l"), !hasSuffix("s"), !hasSuffix("z") { word.removeLast() }
        } else if measure(of: word.count) == 1, endsWithShortSyllable(word.count) {
            word.append(UInt8(ascii: "e"))
        }
    }

    /// Step 1c.
    private mutating func replaceFinalY() {
        if word.count > 2, hasSuffix("y"), isConsonant(at: word.count - 2) { word[word.count - 1] = UInt8(ascii: "i") }
    }

    /// Step 2.
    private mutating func replaceDoubleSuffix() {
        while hasSuffix("alli"), measure(of: word.count - 4) > 0 { word.removeLast(2) }
        apply(Self.step2) { stemmer, length in
            // The l of -logi belongs to the stem, so that geology goes the way of archaeology.
            let stemLength = stemmer.hasSuffix("logi") ? length + 1 : length
            return stemmer.measure(of: stemLength) > 0
        }
    }

    /// Step 5a.
    private mutating func removeFinalE() {
        guard hasSuffix("e") else { return }
        let length = word.count - 1
        let measure = measure(of: length)
        if measure > 1 || (measure == 1 && !endsWithShortSyllable(length)) { word.removeLast() }
    }

    // MARK: Tables

    private static let irregularStems: [[UInt8]: [UInt8]] = {
        let stems = [
            "sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news", "innings": "inning", "inning": "inning",
            "outings": "outing", "outing": "outing", "cannings": "canning", "canning": "canning", "howe": "howe", "proceed": "proceed",
            "exceed": "exceed", "succeed": "succeed",
        ]
        return Dictionary(uniqueKeysWithValues: stems.map { (Array($0.utf8), Array($1.utf8)) })
    }()

    private static let step2: [Rule] = [
        ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"), ("alli", "al"),
        ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"), ("ator", "ate"), ("alism", "al"),
        ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"), ("iviti", "ive"), ("biliti", "ble"),
        ("fulli", "ful"), ("logi", "log"),
    ]

    private static let step3: [Rule] = [
        ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
    ]

    private static let step4: [Rule] = [
        ("al", ""), ("ance", ""), ("ence", ""), ("er", ""), ("ic", ""), ("able", ""), ("ible", ""), ("ant", ""), ("ement", ""), ("ment", ""),
        ("ent", ""), ("ion", ""), ("ou", ""), ("ism", ""), ("ate", ""), ("iti", ""), ("ous", ""), ("ive", ""), ("ize", ""),
    ]
}
