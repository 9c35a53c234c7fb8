// One section of a configuration while it is read: what was asked for, and what was answered.

import Diagnostics

/// One section of a configuration while it is read; a reference, so that several readers share what was asked for.
///
/// A read declares its key: name, meaning, type, default and what a session that resumes does when the value differs. It comes in three
/// forms: `int("lanes", "...")` requires the key, `int("lanes", "...", default: 64)` gives a default, `optionalInt("lanes", "...")` gives
/// `nil` when the key is absent or null. An ill-typed value is a `UserError` (`configuration`) that names the key, its line, the type
/// expected and the text found.
public final class ConfigurationSection {
    /// The keys that lead here from the top: empty for the root.
    public let path: [String]
    /// Where the section was written: `file:line`, the file alone when it is absent, or `--set key`.
    public let place: String
    /// Whether the section is written in the file or made by an override.
    public let isPresent: Bool

    private var pairs: [(key: String, value: ConfigurationNode)]
    private weak var parent: ConfigurationSection?
    private var answers: [(key: String, answer: Answer)] = []
    private let onResume: ResumeRule
    /// Required keys that are absent have some value that fits, since only the declarations are of interest.
    package let fillsIn: Bool
    private var ownNotices: [String] = []

    /// What was answered when a key was asked for.
    private enum Answer {
        /// The value as the resolved configuration writes it; `nil` where the key is optional and absent.
        case value(String?, ConfigurationKey)
        case section(ConfigurationSection)
    }

    init(
        path: [String], node: ConfigurationNode?, place: String, parent: ConfigurationSection?, onResume: ResumeRule = .refused,
        fillsIn: Bool
    ) {
        self.path = path
        self.place = place
        self.parent = parent
        self.onResume = onResume
        self.fillsIn = fillsIn
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
    /// - Parameter onResume: what a session that resumes does when a key of the section differs and its declaration does not say; `nil` for
    ///   what this section has.
    /// - Throws: `UserError` when something else than a section stands there.
    public func section(_ key: String, onResume: ResumeRule? = nil) throws -> ConfigurationSection {
        if case .section(let known) = answers.first(where: { $0.key == key })?.answer { return known }
        let node = pairs.first { $0.key == key }?.value
        switch node?.content {
        case nil, .section: break
        default:
            guard let node, node.isNull else { throw illTyped(key, expected: "a section") }
        }
        let child = ConfigurationSection(
            path: path + [key], node: node, place: node?.place.description ?? place, parent: self, onResume: onResume ?? self.onResume,
            fillsIn: fillsIn)
        record(key, .section(child))
        return child
    }

    /// Takes the value of a key under its earlier spelling, with a notice; before the key is read.
    ///
    /// - Throws: `UserError` where both spellings are written.
    public func rename(_ earlier: String, to key: String) throws {
        guard let index = pairs.firstIndex(where: { $0.key == earlier }) else { return }
        guard !keys.contains(key) else {
            throw error(
                earlier, "is the earlier spelling of '\(name(of: key))', which is there too", advice: "remove '\(name(of: earlier))'")
        }
        pairs[index].key = key
        ownNotices.append("\(pairs[index].value.place.description): '\(name(of: earlier))' is now spelled '\(name(of: key))'")
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
    /// - Parameter known: every key that there is under other choices, for advice.
    /// - Throws: `UserError` that names the first unknown key, its line and the nearest valid key.
    public func finish(known: () -> [ConfigurationKey] = { [] }) throws {
        for (key, value) in pairs {
            switch answers.first(where: { $0.key == key })?.answer {
            case .section(let child): try child.finish(known: known)
            case .value: break
            case nil:
                throw UserError(
                    .configuration, "unknown key '\(name(of: key))'", at: value.place.description,
                    advice: adviceForUnknown(key, known: known()))
            }
        }
    }

    // MARK: Reading

    /// Reads `key` if it is written and not null.
    func readOptional<Value>(
        _ key: String, _ meaning: String, _ type: ConfigurationType<Value>, defaultText: String?, onResume: ResumeRule?
    ) throws -> Value? {
        try read(key, declare(key, meaning, type, default: defaultText ?? "none", onResume), type)
    }

    /// Reads `key`, or answers `default` where it is absent; without a default the key is required.
    func read<Value>(
        _ key: String, _ meaning: String, _ type: ConfigurationType<Value>, default defaultValue: Value?, defaultText: String?,
        onResume: ResumeRule?
    ) throws -> Value {
        if pairs.contains(where: { $0.key == key && $0.value.isNull }) { throw illTyped(key, expected: type.words) }
        let declaration = declare(key, meaning, type, default: defaultValue.map { defaultText ?? type.yaml($0) }, onResume)
        if let value = try read(key, declaration, type) { return value }
        guard let value = defaultValue ?? (fillsIn ? type.anyValue : nil) else { throw missing(key) }
        record(key, .value(type.yaml(value), declaration))
        return value
    }

    private func read<Value>(_ key: String, _ declaration: ConfigurationKey, _ type: ConfigurationType<Value>) throws -> Value? {
        guard let node = pairs.first(where: { $0.key == key })?.value, !node.isNull else {
            record(key, .value(nil, declaration))
            return nil
        }
        guard let value = type.parse(node) else { throw illTyped(key, expected: type.limit(node) ?? type.words, choices: type.choices) }
        record(key, .value(type.yaml(value), declaration))
        return value
    }

    private func declare<Value>(
        _ key: String, _ meaning: String, _ type: ConfigurationType<Value>, default defaultText: String?, _ onResume: ResumeRule?
    ) -> ConfigurationKey {
        ConfigurationKey(
            name: name(of: key), type: type.words, choices: type.choices, defaultValue: defaultText, meaning: meaning,
            onResume: onResume ?? self.onResume)
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
    private func illTyped(_ key: String, expected: String, choices: [String] = []) -> UserError {
        let node = pairs.first { $0.key == key }?.value
        var advice: String?
        if case .scalar(let text, _) = node?.content, let meant = Spelling.likelyMeaning(of: text, among: choices) {
            advice = "did you mean '\(meant)'?"
        }
        return error(key, "must be \(expected), \(node?.found ?? "found no value")", advice: advice)
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

    private func adviceForUnknown(_ key: String, known: [ConfigurationKey]) -> String {
        let phrases = known.filter { $0.name == name(of: key) }.map(\.conditionPhrase).filter { !$0.isEmpty }
        if !phrases.isEmpty { return "it is a key where " + phrases.joined(separator: ", or ") }
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

    /// What was read in this section and below, in the order of reading.
    var values: [ConfigurationValue] {
        answers.flatMap { asked -> [ConfigurationValue] in
            switch asked.answer {
            case .value(let value, let key): [ConfigurationValue(value: value ?? "null", key: key)]
            case .section(let child): child.values
            }
        }
    }

    /// Lines for the user about this section and those below.
    var notices: [String] {
        ownNotices + answers.flatMap { asked -> [String] in if case .section(let child) = asked.answer { child.notices } else { [] } }
    }

    /// The lines of what was read in this section.
    func resolvedYAML(indentation: String) -> String {
        var text = ""
        for (key, answer) in answers {
            let keyText = indentation + ConfigurationScalar.yaml(key) + ":"
            switch answer {
            case .value(let yaml, _): if let yaml { text += "\(keyText) \(yaml)\n" }
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
