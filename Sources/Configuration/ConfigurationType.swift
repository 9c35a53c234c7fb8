// What a value may be: how its type is said in errors and lists, how it is read, and how it is written.

/// The type of a key.
struct ConfigurationType<Value> {
    /// As it stands in a sentence: `an integer of at least 1`.
    let words: String
    /// The words that the value may be, for a choice.
    var choices: [String] = []
    /// The value, or `nil` when the node is of another type or out of range.
    let parse: (ConfigurationNode) -> Value?
    /// The text that reads back to the same value.
    let yaml: (Value) -> String
    /// The largest value, for a number that is too large; `nil` where the node is something else.
    var limit: (ConfigurationNode) -> String? = { _ in nil }

    /// Some value of the type, for readings that are interested in declarations alone.
    var anyValue: Value? {
        (choices + ["1", "0", "0.5", "true"] + (1...20).map { "\(1 << $0)" }).lazy
            .compactMap { parse(ConfigurationNode(content: .scalar(text: $0, isPlain: true), place: .line(1, file: ""))) }.first
    }

    /// Lists of the type; a single value counts as a list of one.
    ///
    /// - Parameters:
    ///   - words: as it stands in a sentence.
    ///   - count: how many there must be, or `nil` for any number of them.
    func list(_ words: String, count: Int? = nil) -> ConfigurationType<[Value]> {
        ConfigurationType<[Value]>(
            words: words,
            parse: { node in
                guard case .list(let nodes) = node.content else { return count ?? 1 == 1 ? parse(node).map { [$0] } : nil }
                let elements = nodes.compactMap(parse)
                return elements.count == nodes.count && count ?? nodes.count == nodes.count ? elements : nil
            },
            yaml: { "[" + $0.map(yaml).joined(separator: ", ") + "]" })
    }
}

extension ConfigurationType<Int> {
    /// A range without an end ends at `SizeLimits.count`: sizes are multiplied.
    static func int(in range: some RangeExpression<Int>) -> Self {
        let most =
            switch range {
            case is PartialRangeFrom<Int>: SizeLimits.count
            case let range as ClosedRange<Int>: range.upperBound
            default: Int.max
            }
        return Self(
            words: rangeWords("an integer", range),
            parse: { $0.plain.flatMap(ConfigurationScalar.int).flatMap { range.contains($0) && $0 <= most ? $0 : nil } }, yaml: \.description,
            limit: { node in
                guard let text = node.plain, ConfigurationScalar.isAbove(text, most) else { return nil }
                return "an integer of at most \(most)"
            })
    }
}

extension ConfigurationType<Double> {
    static func double(in range: some RangeExpression<Double>) -> Self {
        Self(
            words: rangeWords("a number", range),
            parse: { $0.plain.flatMap(ConfigurationScalar.double).flatMap { range.contains($0) ? $0 : nil } },
            yaml: ConfigurationScalar.yaml)
    }
}

extension ConfigurationType<Bool> {
    static var bool: Self { Self(words: "true or false", parse: { $0.plain.flatMap(ConfigurationScalar.bool) }, yaml: \.description) }
}

extension ConfigurationType<String> {
    static var string: Self { Self(words: "a text", parse: \.text, yaml: ConfigurationScalar.yaml) }

    static func choice(of words: [String]) -> Self {
        Self(
            words: "one of " + words.joined(separator: ", "), choices: words,
            parse: { node in node.text.flatMap { words.contains($0) ? $0 : nil } }, yaml: ConfigurationScalar.yaml)
    }
}

extension ConfigurationType<ConfigurationInterval> {
    static var interval: Self {
        Self(
            words: "a number of steps (500), a time (30 s, 10 min, 2 h) or never", parse: { $0.text.flatMap(ConfigurationScalar.interval) },
            yaml: ConfigurationScalar.yaml)
    }
}

extension ConfigurationNode {
    /// The text of a scalar.
    fileprivate var text: String? { if case .scalar(let text, _) = content { text } else { nil } }
    /// The text of a scalar without quotes: what may be a number or a truth value.
    fileprivate var plain: String? { if case .scalar(let text, isPlain: true) = content { text } else { nil } }
}

/// `an integer of at least 1`, `a number from 0 up to but not 1`.
func rangeWords<Bound>(_ kind: String, _ range: some RangeExpression<Bound>) -> String {
    func isPositive(_ bound: Bound) -> Bool { bound as? Double == .leastNonzeroMagnitude }
    switch range {
    case let range as PartialRangeFrom<Bound>:
        return isPositive(range.lowerBound) ? "\(kind) greater than 0" : "\(kind) of at least \(range.lowerBound)"
    case let range as PartialRangeThrough<Bound>: return "\(kind) of at most \(range.upperBound)"
    case let range as PartialRangeUpTo<Bound>: return "\(kind) below \(range.upperBound)"
    case let range as Range<Bound> where isPositive(range.lowerBound): return "\(kind) greater than 0 and below \(range.upperBound)"
    case let range as ClosedRange<Bound> where isPositive(range.lowerBound): return "\(kind) greater than 0 and at most \(range.upperBound)"
    case let range as Range<Bound>: return "\(kind) from \(range.lowerBound) up to but not \(range.upperBound)"
    case let range as ClosedRange<Bound>:
        let isUnlimited = (range.lowerBound as? Int) == .min || (range.lowerBound as? Double) == -.infinity
        if !isUnlimited, (range.upperBound as? Int) == .max { return "\(kind) of at least \(range.lowerBound)" }
        return isUnlimited ? kind : "\(kind) from \(range.lowerBound) to \(range.upperBound)"
    default: return kind
    }
}
