// Biographies of made-up people: facts in numbers that are known to the bit, to measure how many of them a model recalls.
//
// Legend: N people.

import Diagnostics

/// N people with full names that occur once, each with a value for every attribute: a function of the seed, computed person by person, so that any number of
/// them takes no memory. People behind the first N are there too, for tests of what was never trained on.
///
/// A person has 47.6 bits of values: day, month and year of birth (28 x 12 x 200), the cities of birth and of work (200, the latter a function of the
/// employer), university (300), major (100), employer (263) and pronoun (2). A biography is the name, three symbols of 400, 400 and 1,000, and the
/// attributes in random order, each with its value.
///
/// - Source: Allen-Zhu and Li 2024, "Physics of language models: part 3.3, knowledge capacity scaling laws", section 2 (bioS), with a symbol for each word.
public struct Biographies: Sendable, Equatable {
    /// N.
    public let people: Int
    /// What everything about them is a function of.
    public let seed: UInt64

    /// The most people there can be.
    public static let mostPeople = BiographySymbols.Kind.first.count * BiographySymbols.Kind.middle.count * BiographySymbols.Kind.last.count
    /// The bits of one person's values.
    public static let bitsPerPerson = BiographyAttribute.allCases.reduce(0) { $0 + $1.bits }
    /// The symbols of a biography, marks included.
    public static let length = 2 + 3 + BiographyAttribute.allCases.reduce(0) { $0 + 1 + $1.kinds.count }

    /// - Parameters:
    ///   - people: N, from 1 to ``mostPeople``.
    ///   - seed: what everything is a function of.
    public init(people: Int, seed: UInt64) {
        require((1...Self.mostPeople).contains(people), "\(people) people")
        (self.people, self.seed) = (people, seed)
    }

    // MARK: A person

    /// The three symbols of a person's name.
    public func name(of person: Int) -> [Int32] {
        var number = Permutation(count: Self.mostPeople, seed: seed, stream: 0)[person]
        return ([.first, .middle, .last] as [BiographySymbols.Kind]).map { kind in
            defer { number /= kind.count }
            return BiographySymbols.symbol(kind, number % kind.count)
        }
    }

    /// The symbols of a person's value.
    public func value(of attribute: BiographyAttribute, _ person: Int) -> [Int32] {
        if attribute == .workCity {
            // Every person of an employer works in one city.
            let employer = value(of: .employer, person)[0]
            var choices = SeededChoices(seed: seed, path: [2, UInt64(employer)])
            return [BiographySymbols.symbol(.city, choices.below(BiographySymbols.Kind.city.count))]
        }
        var choices = SeededChoices(seed: seed, path: [1, UInt64(person), UInt64(attribute.rawValue)])
        return attribute.kinds.map { BiographySymbols.symbol($0, choices.below($0.count)) }
    }

    /// The phrasing that no biography of a person uses for an attribute: questions that use it share no word with what was trained on.
    public func heldOutPhrasing(of attribute: BiographyAttribute, _ person: Int) -> Int {
        var choices = SeededChoices(seed: seed, path: [3, UInt64(person), UInt64(attribute.rawValue)])
        return choices.below(BiographySymbols.phrasingCount)
    }

    // MARK: Sequences

    /// Where a biography says an attribute.
    public struct Place: Sendable, Equatable {
        /// What is said there.
        public let attribute: BiographyAttribute
        /// The position of the phrasing; the value's symbols follow it.
        public let position: Int
        /// Symbols of the value.
        public var valueLength: Int { attribute.valueLength }
    }

    /// A person's biography: attributes in random order, in phrasings that are drawn anew each time.
    func biography(of person: Int, _ choices: inout SeededChoices) -> (symbols: [Int32], places: [Place]) {
        var symbols = [BiographySymbols.begin] + name(of: person)
        var places: [Place] = []
        for attribute in choices.shuffled(BiographyAttribute.allCases) {
            let number = choices.below(BiographySymbols.phrasingCount - 1)
            let phrasing = number < heldOutPhrasing(of: attribute, person) ? number : number + 1
            places.append(Place(attribute: attribute, position: symbols.count))
            symbols.append(BiographySymbols.symbol(attribute, phrasing: phrasing))
            symbols += value(of: attribute, person)
        }
        return (symbols + [BiographySymbols.end], places)
    }

    /// The start of a biography up to an attribute: a name and a way to ask for it; `nil` says the attribute by its name.
    public func question(_ attribute: BiographyAttribute, of person: Int, phrasing: Int?) -> [Int32] {
        [BiographySymbols.begin] + name(of: person) + [BiographySymbols.symbol(attribute, phrasing: phrasing)]
    }

    // MARK: Text

    /// A person's name in words.
    public func nameText(of person: Int) -> String { Self.text(name(of: person)) }

    /// What a record of a fact is called, and what its key is made from: `Name Name Name | birth city`.
    public func keyText(_ attribute: BiographyAttribute, of person: Int) -> String { "\(nameText(of: person)) | \(attribute.name)" }

    /// Symbols in words.
    public static func text(_ symbols: some Sequence<Int32>) -> String { symbols.map(BiographySymbols.text).joined(separator: " ") }

    /// The symbols that a key's text stands for: those of ``question(_:of:phrasing:)``, with the attribute's name or any of its phrasings.
    /// - Throws: `UserError` (.badData) that says which part is not known.
    public static func question(_ text: String) throws -> [Int32] {
        let parts = text.split(separator: "|", maxSplits: 1).map { $0.trimmingPrefix(while: \.isWhitespace) }
        let words = parts.first?.split(whereSeparator: \.isWhitespace) ?? []
        guard parts.count == 2, words.count == 3 else {
            throw UserError(.badData, "'\(text)' asks for no fact", advice: "write 'First Middle Last | birth city'")
        }
        let name = try zip([BiographySymbols.Kind.first, .middle, .last], words).map { kind, word in
            guard let symbol = BiographySymbols.symbol(kind, named: word) else {
                throw UserError(.badData, "'\(word)' is no \(kind) name that the run knows", advice: "give a name of its people's parts")
            }
            return symbol
        }
        let asked = parts[1].split(whereSeparator: \.isWhitespace).joined(separator: " ")
        guard let attribute = BiographySymbols.symbol(.attribute, named: asked) else {
            throw UserError(
                .badData, "'\(asked)' is no attribute", advice: "ask for \(BiographyAttribute.allCases.map(\.name).joined(separator: ", "))")
        }
        return [BiographySymbols.begin] + name + [attribute]
    }

    /// The symbols of an attribute's value in words; `nil` where it has none of that name.
    public static func value(_ text: String, of attribute: BiographyAttribute) -> [Int32]? {
        let words = text.split(whereSeparator: \.isWhitespace)
        let symbols = zip(attribute.kinds, words).compactMap { BiographySymbols.symbol($0, named: $1) }
        return symbols.count == attribute.kinds.count && words.count == symbols.count ? symbols : nil
    }
}
