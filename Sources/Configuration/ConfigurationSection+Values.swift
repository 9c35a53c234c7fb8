// The reads of a section, by the type of the value. Each is the declaration of its key.
//
// Every read takes the key, its meaning in one sentence, and:
//   default      what holds where the key is absent; without it the key is required;
//   defaultText  the default in words, where it is computed from other keys (`4 times model.width`) or stands for `nil`;
//   in           the values that it may have;
//   onResume     what a session that resumes does when the value differs; the section's rule where it is left out.
// It throws `UserError` (`configuration`) when the key is required and absent, or when its value is of another type or outside the range;
// the message names the key, the line, the type expected and the text found. A key that is read twice is declared by the last read.

extension ConfigurationSection {
    /// An integer: `64`, `20_000`.
    public func int(
        _ key: String, _ meaning: String, default value: Int? = nil, defaultText: String? = nil,
        in range: some RangeExpression<Int> = Int.min...Int.max, onResume: ResumeRule? = nil
    ) throws -> Int {
        try read(key, meaning, .int(in: range), default: value, defaultText: defaultText, onResume: onResume)
    }

    /// An integer, or `nil` where the key is absent or null.
    public func optionalInt(
        _ key: String, _ meaning: String, defaultText: String? = nil, in range: some RangeExpression<Int> = Int.min...Int.max,
        onResume: ResumeRule? = nil
    ) throws -> Int? {
        try readOptional(key, meaning, .int(in: range), defaultText: defaultText, onResume: onResume)
    }

    /// A list of integers; a single integer counts as a list of one.
    public func ints(
        _ key: String, _ meaning: String, default value: [Int]? = nil, defaultText: String? = nil,
        in range: some RangeExpression<Int> = Int.min...Int.max, onResume: ResumeRule? = nil
    ) throws -> [Int] {
        let type = ConfigurationType<Int>.int(in: range).list(listWords("a list of integers", range))
        return try read(key, meaning, type, default: value, defaultText: defaultText, onResume: onResume)
    }

    /// A number: `0.1`, `7e-4`, `1`, `.inf`.
    public func double(
        _ key: String, _ meaning: String, default value: Double? = nil, defaultText: String? = nil,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity, onResume: ResumeRule? = nil
    ) throws -> Double {
        try read(key, meaning, .double(in: range), default: value, defaultText: defaultText, onResume: onResume)
    }

    /// A number, or `nil` where the key is absent or null.
    public func optionalDouble(
        _ key: String, _ meaning: String, defaultText: String? = nil,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity, onResume: ResumeRule? = nil
    ) throws -> Double? {
        try readOptional(key, meaning, .double(in: range), defaultText: defaultText, onResume: onResume)
    }

    /// A list of numbers; a single number counts as a list of one.
    ///
    /// - Parameter count: how many there must be, or `nil` for any number of them.
    public func doubles(
        _ key: String, _ meaning: String, default value: [Double]? = nil, defaultText: String? = nil, count: Int? = nil,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity, onResume: ResumeRule? = nil
    ) throws -> [Double] {
        let words = listWords(count.map { "a list of \($0) numbers" } ?? "a list of numbers", range)
        return try read(
            key, meaning, ConfigurationType<Double>.double(in: range).list(words, count: count), default: value, defaultText: defaultText,
            onResume: onResume)
    }

    /// `true` or `false`.
    public func bool(
        _ key: String, _ meaning: String, default value: Bool? = nil, defaultText: String? = nil, onResume: ResumeRule? = nil
    ) throws -> Bool {
        try read(key, meaning, .bool, default: value, defaultText: defaultText, onResume: onResume)
    }

    /// A text, taken as it is written: `1e3` stays `1e3`.
    public func string(
        _ key: String, _ meaning: String, default value: String? = nil, defaultText: String? = nil, onResume: ResumeRule? = nil
    ) throws -> String {
        try read(key, meaning, .string, default: value, defaultText: defaultText, onResume: onResume)
    }

    /// A text, or `nil` where the key is absent or null.
    public func optionalString(
        _ key: String, _ meaning: String, defaultText: String? = nil, onResume: ResumeRule? = nil
    ) throws -> String? {
        try readOptional(key, meaning, .string, defaultText: defaultText, onResume: onResume)
    }

    /// A list of texts; a single text counts as a list of one.
    public func strings(
        _ key: String, _ meaning: String, default value: [String]? = nil, defaultText: String? = nil, onResume: ResumeRule? = nil
    ) throws -> [String] {
        try read(
            key, meaning, ConfigurationType<String>.string.list("a list of texts"), default: value, defaultText: defaultText,
            onResume: onResume)
    }

    /// One of a few words. Other keys may depend on it.
    public func choice(
        _ key: String, _ meaning: String, default value: String? = nil, of words: [String], onResume: ResumeRule? = nil
    ) throws -> String {
        try read(key, meaning, .choice(of: words), default: value, defaultText: nil, onResume: onResume)
    }

    /// One of the cases of an enumeration whose raw values are the words of the file. Other keys may depend on it.
    ///
    /// - Parameter cases: those that are allowed.
    public func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ key: String, _ meaning: String, default value: Choice? = nil, of cases: [Choice] = Array(Choice.allCases),
        onResume: ResumeRule? = nil
    ) throws -> Choice {
        let word = try choice(key, meaning, default: value?.rawValue, of: cases.map(\.rawValue), onResume: onResume)
        guard let choice = Choice(rawValue: word) else { preconditionFailure("a case of \(Choice.self) has no raw value '\(word)'") }
        return choice
    }

    /// How often: `500` (steps), `30 s`, `10 min`, `2 h`, `1 d` or `never`.
    public func interval(
        _ key: String, _ meaning: String, default value: ConfigurationInterval? = nil, onResume: ResumeRule? = nil
    ) throws -> ConfigurationInterval {
        try read(key, meaning, .interval, default: value, defaultText: nil, onResume: onResume)
    }
}

/// `a list of integers, each of at least 1`.
private func listWords<Bound>(_ kind: String, _ range: some RangeExpression<Bound>) -> String {
    let words = rangeWords("\(kind), each", range)
    return words.hasSuffix(", each") ? kind : words
}
