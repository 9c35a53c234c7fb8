// What is declared about a key, and which keys there are.

/// What a session that resumes a run does when a key no longer says what the run was trained with.
public enum ResumeRule: String, Sendable, Codable, CaseIterable {
    /// Changes nothing that is learned: the session goes on.
    case free
    /// Changes what is learned from here on: the session says so and goes on.
    case noted
    /// Makes another run of it: the session is refused unless the user accepts the change.
    case refused
}

/// One key of a run file, as the line that reads it declares it.
public struct ConfigurationKey: Sendable, Equatable, Codable {
    /// Words of another key without which this one does not exist: `optimizer.kind` must be `sgd` or `rmsprop`.
    public struct Condition: Sendable, Hashable, Codable {
        /// The dotted name of the other key.
        public var key: String
        /// What it must say.
        public var words: [String]
        /// What it may not say.
        public var otherWords: [String]

        /// `optimizer.kind is sgd or rmsprop`, or `optimizer.kind is not adamw`, whichever is shorter.
        public var phrase: String {
            let isShorter = otherWords.count < words.count
            let listed = isShorter ? otherWords : words
            let joined = listed.count < 2 ? listed.joined() : listed.dropLast().joined(separator: ", ") + " or " + (listed.last ?? "")
            return "\(key) is \(isShorter ? "not " : "")\(joined)"
        }
    }

    /// The dotted name: `optimizer.learningRate`.
    public var name: String
    /// What its value may be, in words: `an integer of at least 1`.
    public var type: String
    /// The words that it may be, where it is a choice.
    public var choices: [String]
    /// What holds where it is absent, as it would be written or in words; `nil` where the key is required.
    public var defaultValue: String?
    /// What it decides, in one sentence.
    public var meaning: String
    /// What a session that resumes does when it differs.
    public var onResume: ResumeRule
    /// When the key exists: all of these hold. Empty for a key that always does.
    public var conditions: [Condition] = []

    /// The dotted name of its section; empty at the top level.
    public var section: String { name.split(separator: ".").dropLast().joined(separator: ".") }

    /// The conditions as a phrase; empty without conditions.
    public var conditionPhrase: String { conditions.map(\.phrase).joined(separator: " and ") }
}

/// One key with the value that it has in a run.
public struct ConfigurationValue: Sendable, Equatable {
    /// The dotted name.
    public var name: String { key.name }
    /// The value as the resolved configuration writes it; `null` where an optional key is absent.
    public var value: String
    /// What the reader declared.
    public var key: ConfigurationKey
}

// MARK: All keys

extension ConfigurationTree {
    /// Every key that a reader may ask for, with the words of other keys on which it depends.
    ///
    /// The reader itself is the list: it reads an empty file in which required keys have some value that fits, then the same file with every
    /// word of every choice that it asked for, and so on with the choices that appear with a word. A key is therefore found where it depends on
    /// a choice, or on two of which the second exists, or has its words, because of the first; not where it depends on anything else.
    ///
    /// - Parameter read: reads a tree as the program does. It must accept what fits each key's declaration.
    /// - Returns: the keys section by section, in the order of reading. A key that is declared in two ways is listed twice, with its
    ///   conditions.
    /// - Throws: what `read` throws.
    /// - Complexity: one reading for each word of each choice.
    public static func keys(_ read: (ConfigurationTree) throws -> Void) throws -> [ConfigurationKey] {
        var readings: [Reading] = []
        var pending: [[String]] = [[]]
        var seen: Set<[String]> = []
        while !pending.isEmpty {
            let overrides = pending.removeFirst()
            let tree = try ConfigurationTree(yaml: "", file: "run.yaml", overrides: overrides, fillsIn: true)
            try read(tree)
            let reading = Reading(tree.values)
            readings.append(reading)
            for value in tree.values where seen.insert([value.name] + value.key.choices).inserted {
                pending += value.key.choices.filter { $0 != value.value }.map { overrides + ["\(value.name)=\($0)"] }
            }
        }
        var keys: [ConfigurationKey] = []
        for key in readings.flatMap(\.keys) where !keys.contains(key) { keys.append(key) }
        for index in keys.indices { keys[index].conditions = conditions(of: keys[index], in: readings) }
        return keys.grouped { $0.section.prefix { $0 != "." } }.flatMap { $0.grouped(by: \.section).flatMap(\.self) }
    }

    /// What one reading asked for.
    private struct Reading {
        var keys: [ConfigurationKey]
        /// The word of every choice.
        var words: [String: String]

        init(_ values: [ConfigurationValue]) {
            keys = values.map(\.key)
            words = Dictionary(uniqueKeysWithValues: values.filter { !$0.key.choices.isEmpty }.map { ($0.name, $0.value) })
        }
    }

    /// The fewest choices whose words say in which readings the key was asked for. Kinds, and choices of its own section and of those around
    /// it, come first.
    private static func conditions(of key: ConfigurationKey, in readings: [Reading]) -> [ConfigurationKey.Condition] {
        let asked = readings.map { $0.keys.contains(key) }
        if asked.allSatisfy(\.self) { return [] }
        let choices = Array(Set(readings.flatMap(\.words.keys)).subtracting([key.name])).sorted { first, second in
            func nearness(_ name: String) -> Int {
                zip(name.split(separator: "."), key.name.split(separator: ".")).prefix { $0 == $1 }.count
            }
            func rank(_ name: String) -> Int { name.hasSuffix(".kind") ? 0 : 1 }
            return (-nearness(first), rank(first), first) < (-nearness(second), rank(second), second)
        }
        let candidates = choices.compactMap { choice -> (condition: ConfigurationKey.Condition, holds: [Bool])? in
            let words = zip(readings, asked).filter(\.1).map { $0.0.words[choice] }
            guard words.allSatisfy({ $0 != nil }) else { return nil }
            let held = words.compactMap(\.self).unique
            let condition = ConfigurationKey.Condition(
                key: choice, words: held, otherWords: readings.compactMap { $0.words[choice] }.unique.filter { !held.contains($0) })
            // A choice that may say anything is no condition: it only happens to exist where the key does.
            guard !condition.otherWords.isEmpty else { return nil }
            return (condition, readings.map { $0.words[choice].map(condition.words.contains) ?? false })
        }
        for first in candidates where first.holds == asked { return [first.condition] }
        for (index, first) in candidates.enumerated() {
            for second in candidates[(index + 1)...] where zip(first.holds, second.holds).map({ $0 && $1 }) == asked {
                return [first.condition, second.condition]
            }
        }
        return []
    }
}

extension Array {
    /// The elements in groups of equal `label`, groups and elements in the order of the array.
    func grouped<Label: Hashable>(by label: (Element) -> Label) -> [[Element]] {
        let labels = map(label)
        return labels.unique.map { group in zip(self, labels).filter { $0.1 == group }.map(\.0) }
    }
}

extension Array where Element: Hashable {
    /// The elements without repetitions.
    fileprivate var unique: [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}
