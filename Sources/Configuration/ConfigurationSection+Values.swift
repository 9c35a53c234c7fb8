// The types that a key can be read as.
//
// Every read throws `UserError` (`configuration`) when the key is required and absent, or when its value is of another type
// or outside the range; the message names the key, the line, the type expected and the text found.

import Diagnostics

extension ConfigurationSection {
    // MARK: Integers

    /// An integer: `64`, `20_000`.
    public func int(_ key: String, default defaultValue: Int? = nil, in range: some RangeExpression<Int> = Int.min...Int.max) throws -> Int {
        try read(key, default: defaultValue, expected: Self.words("an integer", in: range), parse: Self.int(in: range), yaml: \.description)
    }

    /// An integer, or `nil` where the key is absent or null.
    public func optionalInt(_ key: String, in range: some RangeExpression<Int> = Int.min...Int.max) throws -> Int? {
        try readOptional(key, expected: Self.words("an integer", in: range), parse: Self.int(in: range), yaml: \.description)
    }

    /// A list of integers; a single integer counts as a list of one.
    public func ints(_ key: String, default defaultValue: [Int]? = nil, in range: some RangeExpression<Int> = Int.min...Int.max) throws -> [Int] {
        try read(
            key, default: defaultValue, expected: Self.words("a list of integers", in: range, each: true),
            parse: Self.list(of: Self.int(in: range)), yaml: { Self.yamlList($0.map(\.description)) })
    }

    // MARK: Floating-point numbers

    /// A number: `0.1`, `7e-4`, `1`, `.inf`.
    public func double(
        _ key: String, default defaultValue: Double? = nil, in range: some RangeExpression<Double> = -Double.infinity...Double.infinity
    ) throws -> Double {
        try read(
            key, default: defaultValue, expected: Self.words("a number", in: range), parse: Self.double(in: range), yaml: ConfigurationScalar.yaml)
    }

    /// A number, or `nil` where the key is absent or null.
    public func optionalDouble(_ key: String, in range: some RangeExpression<Double> = -Double.infinity...Double.infinity) throws -> Double? {
        try readOptional(key, expected: Self.words("a number", in: range), parse: Self.double(in: range), yaml: ConfigurationScalar.yaml)
    }

    /// A list of numbers; a single number counts as a list of one.
    ///
    /// - Parameter count: how many there must be, or `nil` for any number of them.
    public func doubles(
        _ key: String, default defaultValue: [Double]? = nil, count: Int? = nil,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity
    ) throws -> [Double] {
        let kind = count.map { "a list of \($0) numbers" } ?? "a list of numbers"
        let parseList = Self.list(of: Self.double(in: range))
        return try read(
            key, default: defaultValue, expected: Self.words(kind, in: range, each: true),
            parse: { node in parseList(node).flatMap { count == nil || $0.count == count ? $0 : nil } },
            yaml: { Self.yamlList($0.map(ConfigurationScalar.yaml)) })
    }

    // MARK: Truth values

    /// `true` or `false`.
    public func bool(_ key: String, default defaultValue: Bool? = nil) throws -> Bool {
        try read(key, default: defaultValue, expected: "true or false", parse: Self.bool, yaml: \.description)
    }

    /// `true` or `false`, or `nil` where the key is absent or null.
    public func optionalBool(_ key: String) throws -> Bool? {
        try readOptional(key, expected: "true or false", parse: Self.bool, yaml: \.description)
    }

    // MARK: Strings

    /// A text, taken as it is written: `1e3` stays `1e3`.
    public func string(_ key: String, default defaultValue: String? = nil) throws -> String {
        try read(key, default: defaultValue, expected: "a text", parse: Self.string, yaml: ConfigurationScalar.yaml)
    }

    /// A text, or `nil` where the key is absent or null.
    public func optionalString(_ key: String) throws -> String? {
        try readOptional(key, expected: "a text", parse: Self.string, yaml: ConfigurationScalar.yaml)
    }

    /// A list of texts; a single text counts as a list of one.
    public func strings(_ key: String, default defaultValue: [String]? = nil) throws -> [String] {
        try read(
            key, default: defaultValue, expected: "a list of texts", parse: Self.list(of: Self.string),
            yaml: { Self.yamlList($0.map { text in ConfigurationScalar.yaml(text) }) })
    }

    // MARK: Choices

    /// One of a few words.
    public func choice(_ key: String, default defaultValue: String? = nil, of words: [String]) throws -> String {
        do {
            return try read(
                key, default: defaultValue, expected: "one of " + words.joined(separator: ", "),
                parse: { node in Self.string(node).flatMap { words.contains($0) ? $0 : nil } }, yaml: ConfigurationScalar.yaml)
        } catch {
            guard let found = try? optionalString(key), let meant = Spelling.likelyMeaning(of: found, among: words) else { throw error }
            throw illTyped(key, expected: "one of " + words.joined(separator: ", "), advice: "did you mean '\(meant)'?")
        }
    }

    /// One of the cases of an enumeration whose raw values are the words of the file.
    public func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ key: String, default defaultValue: Choice? = nil, of type: Choice.Type = Choice.self
    ) throws -> Choice {
        let word = try choice(key, default: defaultValue?.rawValue, of: Choice.allCases.map(\.rawValue))
        guard let choice = Choice(rawValue: word) else { preconditionFailure("a case of \(Choice.self) has no raw value '\(word)'") }
        return choice
    }

    // MARK: Intervals

    /// How often: `500` (steps), `30 s`, `10 min`, `2 h`, `1 d` or `never`.
    public func interval(_ key: String, default defaultValue: ConfigurationInterval? = nil) throws -> ConfigurationInterval {
        try read(
            key, default: defaultValue, expected: Self.intervalWords, parse: Self.interval, yaml: ConfigurationScalar.yaml)
    }

    /// How often, or `nil` where the key is absent or null.
    public func optionalInterval(_ key: String) throws -> ConfigurationInterval? {
        try readOptional(key, expected: Self.intervalWords, parse: Self.interval, yaml: ConfigurationScalar.yaml)
    }

    // MARK: Parsing of nodes

    private static let intervalWords = "a number of steps (500), a time (30 s, 10 min, 2 h) or never"

    private static func int(in range: some RangeExpression<Int>) -> (ConfigurationNode) -> Int? {
        { node in plain(node).flatMap(ConfigurationScalar.int).flatMap { range.contains($0) ? $0 : nil } }
    }

    private static func double(in range: some RangeExpression<Double>) -> (ConfigurationNode) -> Double? {
        { node in plain(node).flatMap(ConfigurationScalar.double).flatMap { range.contains($0) ? $0 : nil } }
    }

    private static func bool(_ node: ConfigurationNode) -> Bool? {
        plain(node).flatMap(ConfigurationScalar.bool)
    }

    private static func interval(_ node: ConfigurationNode) -> ConfigurationInterval? {
        string(node).flatMap(ConfigurationScalar.interval)
    }

    private static func string(_ node: ConfigurationNode) -> String? {
        guard case .scalar(let text, _) = node.content else { return nil }
        return text
    }

    /// The text of a scalar without quotes: what may be a number or a truth value.
    private static func plain(_ node: ConfigurationNode) -> String? {
        guard case .scalar(let text, isPlain: true) = node.content else { return nil }
        return text
    }

    private static func list<Element>(of element: @escaping (ConfigurationNode) -> Element?) -> (ConfigurationNode) -> [Element]? {
        { node in
            guard case .list(let nodes) = node.content else { return element(node).map { [$0] } }
            let elements = nodes.compactMap(element)
            return elements.count == nodes.count ? elements : nil
        }
    }

    private static func yamlList(_ elements: [String]) -> String {
        "[" + elements.joined(separator: ", ") + "]"
    }

    /// `an integer of at least 1`, `a number from 0 up to but not 1`.
    private static func words<Bound>(_ kind: String, in range: some RangeExpression<Bound>, each: Bool = false) -> String {
        let joint = each ? "\(kind), each" : kind
        switch range {
        case let range as PartialRangeFrom<Bound>:
            let isPositive = (range.lowerBound as? Double) == .leastNonzeroMagnitude
            return isPositive ? "\(joint) greater than 0" : "\(joint) of at least \(range.lowerBound)"
        case let range as PartialRangeThrough<Bound>: return "\(joint) of at most \(range.upperBound)"
        case let range as PartialRangeUpTo<Bound>: return "\(joint) below \(range.upperBound)"
        case let range as Range<Bound>: return "\(joint) from \(range.lowerBound) up to but not \(range.upperBound)"
        case let range as ClosedRange<Bound>:
            let isUnlimited = (range.lowerBound as? Int) == .min || (range.lowerBound as? Double) == -.infinity
            return isUnlimited ? kind : "\(joint) from \(range.lowerBound) to \(range.upperBound)"
        default: return kind
        }
    }
}
