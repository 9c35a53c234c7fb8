// The parsed text of a configuration: values with the places they came from.

import Diagnostics
import Yams

/// Where a value was written.
enum ConfigurationPlace {
    /// A line of the configuration file, counted from 1.
    case line(Int, file: String)
    /// An override of the command line, by its dotted key.
    case override(String)

    /// As it stands at the head of an error.
    var description: String {
        switch self {
        case .line(let line, let file): "\(file):\(line)"
        case .override(let key): "--set \(key)"
        }
    }

    /// As it stands inside a sentence: `line 7`, `--set a.b`.
    var phrase: String {
        switch self {
        case .line(let line, _): "on line \(line)"
        case .override(let key): "in --set \(key)"
        }
    }
}

/// One value of a configuration file: a scalar, a list or a section.
struct ConfigurationNode {
    /// What was written.
    indirect enum Content {
        /// A scalar as written; `isPlain` where it stood without quotes, so that it may be a number, a truth value or null.
        case scalar(text: String, isPlain: Bool)
        case list([ConfigurationNode])
        /// Keys in the order of the file.
        case section([(key: String, value: ConfigurationNode)])
    }

    var content: Content
    var place: ConfigurationPlace

    /// Whether this is YAML's null: `~`, `null`, or nothing at all.
    var isNull: Bool {
        guard case .scalar(let text, isPlain: true) = content else { return false }
        return text.isEmpty || text == "~" || text.lowercased() == "null"
    }

    /// What stands here, for the end of an error: `found 'many'`.
    var found: String {
        switch content {
        case _ where isNull: "found no value"
        case .scalar(let text, isPlain: true): "found '\(text)'"
        case .scalar(let text, isPlain: false): "found the quoted text '\(text)'"
        case .list: "found a list"
        case .section: "found a section"
        }
    }
}

extension ConfigurationNode {
    /// Parses one YAML document.
    ///
    /// - Parameters:
    ///   - yaml: the text; an empty text is an empty section.
    ///   - file: the name that errors give.
    ///   - override: the dotted key when the text is the value of `--set`: every place is then that override.
    /// - Throws: `UserError` (`configuration`) with the line and column where the text is not YAML, has a key twice or more than one document.
    static func parse(_ yaml: String, file: String, override: String? = nil) throws -> ConfigurationNode {
        let origin = Origin(file: file, override: override)
        do {
            guard let root = try Yams.compose(yaml: yaml, .default, .default, .utf8) else {
                return ConfigurationNode(content: .scalar(text: "", isPlain: true), place: origin.place(line: 1))
            }
            return try ConfigurationNode(root, origin: origin)
        } catch let error as YamlError {
            throw error.userError(in: yaml, origin: origin)
        }
    }

    /// Takes over a node of the YAML library with its line.
    private init(_ node: Node, origin: Origin) throws {
        place = origin.place(line: node.mark?.line ?? 1)
        switch node {
        case .scalar(let scalar):
            content = .scalar(text: scalar.string, isPlain: scalar.style == .plain || scalar.style == .any)
        case .sequence(let sequence):
            content = .list(try sequence.map { try ConfigurationNode($0, origin: origin) })
        case .mapping(let mapping):
            var pairs: [(key: String, value: ConfigurationNode)] = []
            var merged: [(key: String, value: ConfigurationNode)] = []
            for (keyNode, valueNode) in mapping {
                let keyPlace = origin.place(line: keyNode.mark?.line ?? 1)
                guard case .scalar(let key) = keyNode else {
                    throw UserError(.configuration, "a key must be a word, found a list or a section", at: keyPlace.description)
                }
                if key.string == "<<", key.style == .plain || key.style == .any {
                    merged += try Self.merged(valueNode, at: keyPlace, origin)
                    continue
                }
                guard !pairs.contains(where: { $0.key == key.string }) else {
                    throw UserError.duplicateKey(key.string, at: keyPlace)
                }
                var value = try ConfigurationNode(valueNode, origin: origin)
                value.place = keyPlace
                pairs.append((key.string, value))
            }
            // What is written in the section itself goes before what is merged, and of that the first.
            for pair in merged where !pairs.contains(where: { $0.key == pair.key }) { pairs.append(pair) }
            content = .section(pairs)
        case .alias(let alias):
            throw UserError(.configuration, "an alias to '\(alias.anchor.rawValue)' leads nowhere", at: place.description)
        }
    }
}

extension ConfigurationNode {
    /// The keys that a merge key `<<` brings: those of a section, or of several, the first of which goes before the others.
    /// - Source: https://yaml.org/type/merge.html
    private static func merged(_ node: Node, at place: ConfigurationPlace, _ origin: Origin) throws -> [(key: String, value: ConfigurationNode)] {
        let value = try ConfigurationNode(node, origin: origin)
        switch value.content {
        case .section(let pairs): return pairs
        case .list(let elements):
            let sections = elements.compactMap { if case .section(let pairs) = $0.content { pairs } else { nil } }
            if sections.count == elements.count { return sections.flatMap(\.self) }
        default: break
        }
        throw UserError(
            .configuration, "the merge key '<<' takes a section or a list of sections, \(value.found)", at: place.description,
            advice: "write <<: *NAME, where &NAME stands before a section")
    }
}

/// What a text is called in errors.
private struct Origin {
    let file: String
    let override: String?

    func place(line: Int) -> ConfigurationPlace {
        override.map(ConfigurationPlace.override) ?? .line(line, file: file)
    }

    /// `file:line:column`, or the override.
    func position(line: Int, column: Int) -> String {
        override.map { "--set \($0)" } ?? "\(file):\(line):\(column)"
    }
}

extension UserError {
    fileprivate static func duplicateKey(_ key: String, at place: ConfigurationPlace) -> UserError {
        UserError(.configuration, "the key '\(key)' stands twice in its section", at: place.description, advice: "remove one of the two")
    }
}

extension YamlError {
    /// The same error as one line with its place.
    fileprivate func userError(in yaml: String, origin: Origin) -> UserError {
        switch self {
        case .scanner(let context, let problem, let mark, _), .parser(let context, let problem, let mark, _),
            .composer(let context, let problem, let mark, _):
            let text = [context?.text, problem].compactMap(\.self).joined(separator: ", ")
            return UserError(.configuration, "not valid YAML: \(text)", at: origin.position(line: mark.line, column: mark.column))
        case .reader(let problem, let offset, _, _):
            let before = yaml.prefix(offset ?? 0)
            let line = before.count(where: \.isNewline) + 1
            let column = before.reversed().prefix { !$0.isNewline }.count + 1
            return UserError(.configuration, "not valid YAML: \(problem)", at: origin.position(line: line, column: column))
        case .duplicatedKeysInMapping(let duplicates, let context):
            let key = duplicates.first ?? ""
            return .duplicateKey(key, at: origin.place(line: secondLine(of: key, in: yaml, from: context.mark)))
        default:
            return UserError(.configuration, "not valid YAML: \(self)", at: origin.place(line: 1).description)
        }
    }

    /// The line on which `key` stands for the second time at the section's own column, or the section's line where it is written in braces.
    private func secondLine(of key: String, in yaml: String, from mark: Mark) -> Int {
        let lines = yaml.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
        let matches = lines.indices.dropFirst(max(0, mark.line - 1)).filter { index in
            let line = lines[index].dropFirst(max(0, mark.column - 1)).drop { $0 == "\"" || $0 == "'" }
            return line.hasPrefix(key) && line.dropFirst(key.count).drop { " \"'".contains($0) }.first == ":"
        }
        return matches.count > 1 ? matches[1] + 1 : mark.line
    }
}
