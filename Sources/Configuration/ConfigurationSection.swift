// Typed reads of one section, each recorded.

import Diagnostics

/// One section of a configuration while it is read; a reference, so that several readers share what was asked for.
///
/// A read comes in three forms: `int("lanes")` requires the key, `int("lanes", default: 64)` gives a default,
/// `optionalInt("lanes")` gives `nil` when the key is absent or null. An ill-typed value is a `UserError` (`configuration`)
/// that names the key, its line, the type expected and the text found.
public final class ConfigurationSection {
    /// The keys that lead here from the top: empty for the root.
    public let path: [String]
    /// Where the section was written: `file:line`, the file alone when it is absent, or `--set key`.
    public let place: String
    /// Whether the section is written in the file or made by an override.
    public let isPresent: Bool

    private let pairs: [(key: String, value: ConfigurationNode)]
    private weak var parent: ConfigurationSection?
    private var answers: [(key: String, answer: Answer)] = []

    /// What was answered when a key was asked for.
    private enum Answer {
        /// Nothing: the key is optional and absent.
        case absent
        case value(yaml: String)
        case section(ConfigurationSection)
    }

    init(path: [String], node: ConfigurationNode?, place: String, parent: ConfigurationSection?) {
        self.path = path
        self.place = place
        self.parent = parent
        isPresent = node != nil
        if case .section(let pairs) = node?.content { self.pairs = pairs } else { pairs = [] }
    }

    /// The keys that are written in this section, in the order of the file.
    public var keys: [String] { pairs.map(\.key) }

    /// The dotted name of a key: `optimizer.learningRate`.
    public func name(of key: String) -> String {
        (path + [key]).joined(separator: ".")
    }

    /// The section called `key` inside this one; an absent one is empty. Asking twice gives the same section.
    ///
    /// - Throws: `UserError` when something else than a section stands there.
    public func section(_ key: String) throws -> ConfigurationSection {
        if case .section(let known) = answers.first(where: { $0.key == key })?.answer { return known }
        let node = pairs.first { $0.key == key }?.value
        switch node?.content {
        case nil, .section: break
        default:
            guard let node, node.isNull else { throw illTyped(key, expected: "a section") }
        }
        let child = ConfigurationSection(path: path + [key], node: node, place: node?.place.description ?? place, parent: self)
        record(key, .section(child))
        return child
    }

    /// The section called `key`, or `nil` when it is absent or null.
    ///
    /// - Throws: `UserError` when something else than a section stands there.
    public func optionalSection(_ key: String) throws -> ConfigurationSection? {
        guard let node = pairs.first(where: { $0.key == key })?.value, !node.isNull else {
            if !answers.contains(where: { $0.key == key }) { record(key, .absent) }
            return nil
        }
        return try section(key)
    }

    /// An error about the value of `key`, at the place where it is written: for checks that go beyond one value.
    ///
    /// - Parameters:
    ///   - key: a key of this section.
    ///   - what: what is wrong, without the key's name: `is 64, which 3 ranks do not divide`.
    ///   - advice: what the user can do.
    public func error(_ key: String, _ what: String, advice: String? = nil) -> UserError {
        let place = pairs.first { $0.key == key }?.value.place.description ?? place
        return UserError(.configuration, "'\(name(of: key))' \(what)", at: place, advice: advice)
    }

    /// Checks that every key written in this section, and in the sections read inside it, was asked for.
    ///
    /// - Throws: `UserError` that names the first unknown key, its line and the nearest valid key.
    public func finish() throws {
        for (key, value) in pairs {
            switch answers.first(where: { $0.key == key })?.answer {
            case .section(let child): try child.finish()
            case .absent, .value: break
            case nil:
                throw UserError(.configuration, "unknown key '\(name(of: key))'", at: value.place.description, advice: adviceForUnknown(key))
            }
        }
    }

    // MARK: Reading

    /// Reads `key` if it is written and not null.
    ///
    /// - Parameters:
    ///   - expected: the type in words, for the error: `an integer of at least 1`.
    ///   - parse: the value, or `nil` when the node is ill-typed.
    ///   - yaml: the text to write into the resolved configuration.
    func readOptional<Value>(
        _ key: String, expected: String, parse: (ConfigurationNode) -> Value?, yaml: (Value) -> String
    ) throws -> Value? {
        guard let node = pairs.first(where: { $0.key == key })?.value, !node.isNull else {
            record(key, .absent)
            return nil
        }
        guard let value = parse(node) else { throw illTyped(key, expected: expected) }
        record(key, .value(yaml: yaml(value)))
        return value
    }

    /// Reads `key`, or answers `default` where it is absent; without a default the key is required.
    func read<Value>(
        _ key: String, default defaultValue: Value?, expected: String, parse: (ConfigurationNode) -> Value?, yaml: (Value) -> String
    ) throws -> Value {
        if pairs.contains(where: { $0.key == key && $0.value.isNull }) { throw illTyped(key, expected: expected) }
        if let value = try readOptional(key, expected: expected, parse: parse, yaml: yaml) { return value }
        guard let defaultValue else { throw missing(key) }
        record(key, .value(yaml: yaml(defaultValue)))
        return defaultValue
    }

    private func record(_ key: String, _ answer: Answer) {
        if let index = answers.firstIndex(where: { $0.key == key }) {
            answers[index].answer = answer
        } else {
            answers.append((key, answer))
        }
    }

    // MARK: Errors

    /// The error for a value of another type than the one asked for.
    func illTyped(_ key: String, expected: String, advice: String? = nil) -> UserError {
        let found = pairs.first { $0.key == key }?.value.found ?? "found no value"
        return error(key, "must be \(expected), \(found)", advice: advice)
    }

    private func missing(_ key: String) -> UserError {
        let what = "missing key '\(name(of: key))'"
        if let slip = probableSlip(for: key) { return UserError(.configuration, what, at: place, advice: slip) }
        return UserError(.configuration, what, at: place, advice: "write it there or give --set \(name(of: key))=VALUE")
    }

    /// A question about a written key that nobody has asked for and that looks like `key`, or like a section on the way to it.
    private func probableSlip(for key: String) -> String? {
        let unasked = pairs.filter { pair in !answers.contains { $0.key == pair.key } }
        if let slip = Spelling.likelyMeaning(of: key, among: unasked.map(\.key)), let value = unasked.first(where: { $0.key == slip })?.value {
            return "is '\(name(of: slip))' \(value.place.phrase) meant to be '\(name(of: key))'?"
        }
        guard !isPresent, let parent, let name = path.last else { return nil }
        return parent.probableSlip(for: name)
    }

    private func adviceForUnknown(_ key: String) -> String {
        let valid = answers.map(\.key)
        if let meant = Spelling.likelyMeaning(of: key, among: valid) { return "did you mean '\(meant)'?" }
        if let elsewhere = root.dottedNames(of: key).first { return "did you mean '\(elsewhere)'?" }
        guard !valid.isEmpty else { return "this section has no keys" }
        return "valid keys here, nearest first: " + Spelling.ranked(valid, nearestTo: key).joined(separator: ", ")
    }

    private var root: ConfigurationSection { parent?.root ?? self }

    /// The dotted names under which a key of this name was asked for, in this section and below.
    private func dottedNames(of key: String) -> [String] {
        answers.flatMap { asked -> [String] in
            let own = asked.key == key ? [name(of: key)] : []
            if case .section(let child) = asked.answer { return own + child.dottedNames(of: key) }
            return own
        }
    }

    // MARK: The resolved configuration

    /// The lines of what was read in this section.
    func resolvedYAML(indentation: String) -> String {
        var text = ""
        for (key, answer) in answers {
            let keyText = indentation + ConfigurationScalar.yaml(key) + ":"
            switch answer {
            case .absent: break
            case .value(let yaml): text += "\(keyText) \(yaml)\n"
            case .section(let child):
                let inner = child.resolvedYAML(indentation: indentation + "  ")
                if !inner.isEmpty {
                    text += keyText + "\n" + inner
                } else if child.isPresent {
                    text += keyText + " {}\n"
                }
            }
        }
        return text
    }
}
