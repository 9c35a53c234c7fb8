// The symbols of generated biographies, and the words that people read for them.

import Diagnostics
import Foundation

/// What is known of a person.
public enum BiographyAttribute: Int, Sendable, CaseIterable {
    case birthDate, birthCity, university, major, employer, workCity, pronoun

    /// What it is called in keys of records and on the command line.
    public var name: String { Self.names[rawValue] }

    private static let names = ["birth date", "birth city", "university", "major", "employer", "work city", "pronoun"]

    /// The attribute of a name; `nil` where there is none.
    public init?(name: String) {
        guard let place = Self.names.firstIndex(of: name) else { return nil }
        self = Self.allCases[place]
    }

    /// The ways in which biographies and questions say it; none shares a word with another of the same attribute, or with the name.
    public var phrasings: [String] {
        switch self {
        case .birthDate: ["born on", "came into this world at", "whose life began", "natal day"]
        case .birthCity: ["hails from", "native of", "grew up around", "childhood home in"]
        case .university: ["studied at", "alma mater", "went through college with", "academic education by"]
        case .major: ["specialised in", "field", "took the degree of", "learned about"]
        case .employer: ["works for", "job with", "is paid by", "career inside"]
        case .workCity: ["office in", "employed around", "labours near", "daily commute to"]
        case .pronoun: ["known as", "is called", "we say", "referred to by"]
        }
    }

    /// The kinds of the symbols that its value is made of.
    var kinds: [BiographySymbols.Kind] {
        switch self {
        case .birthDate: [.day, .month, .year]
        case .birthCity, .workCity: [.city]
        case .university: [.university]
        case .major: [.major]
        case .employer: [.employer]
        case .pronoun: [.pronoun]
        }
    }

    /// Symbols of its value.
    public var valueLength: Int { kinds.count }

    /// The attribute that a question ends with.
    public static func asked(by question: [Int32]) -> BiographyAttribute? {
        guard let last = question.last else { return nil }
        let place = Int(last) - BiographySymbols.Kind.attribute.start
        return (0..<BiographySymbols.Kind.attribute.count).contains(place) ? allCases[place / (1 + BiographySymbols.phrasingCount)] : nil
    }

    /// Whether a symbol is an attribute's name, rather than one of its phrasings.
    public static func isName(_ symbol: Int32?) -> Bool { allCases.contains { BiographySymbols.symbol($0, phrasing: nil) == symbol } }

    /// The bits of a value that nothing else tells: 0 for the work city, which follows from the employer.
    ///
    /// - Source: Allen-Zhu and Li 2024, "Physics of language models: part 3.3, knowledge capacity scaling laws", section 2.
    public var bits: Double { self == .workCity ? 0 : kinds.reduce(0) { $0 + log2(Double($1.count)) } }
}

/// The symbols: numbers from 0, kind by kind.
public enum BiographySymbols {
    /// A kind of symbols.
    enum Kind: Int, CaseIterable {
        case mark, first, middle, last, attribute, day, month, year, city, university, major, employer, pronoun

        /// How many there are.
        var count: Int {
            switch self {
            case .mark: 2
            case .first, .middle: 400
            case .last: 1000
            case .attribute: BiographyAttribute.allCases.count * (1 + BiographySymbols.phrasingCount)
            case .day: 28
            case .month: 12
            case .year, .city: 200
            case .university: 300
            case .major: 100
            case .employer: 263
            case .pronoun: 2
            }
        }

        /// The symbol of its first.
        var start: Int { Self.starts[rawValue] }

        private static let starts = allCases.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    }

    /// The ways to say an attribute, beside its name.
    public static let phrasingCount = 4
    /// All symbols.
    public static let count = Kind.allCases.reduce(0) { $0 + $1.count }
    /// Stands before each sequence.
    public static let begin: Int32 = 0
    /// Stands behind each biography.
    public static let end: Int32 = 1

    static func symbol(_ kind: Kind, _ number: Int) -> Int32 { Int32(kind.start + number) }

    /// The symbol of an attribute: its name, or one of its phrasings.
    public static func symbol(_ attribute: BiographyAttribute, phrasing: Int?) -> Int32 {
        symbol(.attribute, attribute.rawValue * (1 + phrasingCount) + (phrasing.map { $0 + 1 } ?? 0))
    }

    /// The word, or the words, of a symbol.
    public static func text(_ symbol: Int32) -> String {
        guard let kind = Kind.allCases.last(where: { $0.start <= Int(symbol) }), (0..<count).contains(Int(symbol)) else { return "?" }
        return texts[kind.rawValue][Int(symbol) - kind.start]
    }

    /// The symbol of words of a kind; `nil` where it has none of that name.
    static func symbol(_ kind: Kind, named text: some StringProtocol) -> Int32? { numbers[kind.rawValue][String(text)].map { symbol(kind, $0) } }

    private static let texts: [[String]] = Kind.allCases.map { kind in
        switch kind {
        case .mark: ["<begin>", "<end>"]
        case .attribute: BiographyAttribute.allCases.flatMap { [$0.name] + $0.phrasings }
        case .day: (1...28).map { "\($0)" }
        case .month:
            ["January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December"]
        case .year: (1800..<2000).map { "\($0)" }
        case .university: (0..<kind.count).map { "University-of-\(word($0, kind))" }
        case .employer: (0..<kind.count).map { "\(word($0, kind))-Works" }
        case .major: (0..<kind.count).map { "\(word($0, kind))-studies" }
        case .pronoun: ["she", "he"]
        case .first, .middle, .last, .city: (0..<kind.count).map { word($0, kind) }
        }
    }
    private static let numbers: [[String: Int]] = texts.map { texts in Dictionary(texts.enumerated().map { ($1, $0) }) { first, _ in first } }

    /// A word made up of syllables: another one for each number below 4,096 of a kind.
    private static func word(_ number: Int, _ kind: Kind) -> String {
        let (onsets, vowels) = (Array("bdfghjklmnprstvz"), Array("aeio"))
        // An odd factor permutes the numbers of 12 bits.
        var rest = (number * 1365 + kind.rawValue * 977) & 4095
        var word = ""
        for _ in 0..<2 {
            word.append(onsets[rest & 15])
            word.append(vowels[rest >> 4 & 3])
            rest >>= 6
        }
        return word.prefix(1).uppercased() + word.dropFirst() + ["", "n", "ra", "s", "l"][min(kind.rawValue, 4)]
    }
}
