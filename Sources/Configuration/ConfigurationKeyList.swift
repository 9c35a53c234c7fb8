// The keys of run files as a list to read.

import Diagnostics

/// Keys as `mneme train --keys` and the documentation show them: section by section, and in a section those first that always exist.
public struct ConfigurationKeyList {
    /// The keys listed, in order.
    public let keys: [ConfigurationKey]

    /// - Parameters:
    ///   - keys: all keys, as `ConfigurationTree.keys(_:)` finds them.
    ///   - section: the dotted name of the section to list, with those inside it, or of one key; `nil` for all.
    /// - Throws: `UserError` (`usage`) when there is no such section.
    public init(_ keys: [ConfigurationKey], section: String? = nil) throws {
        let chosen = section.map { section in keys.filter { $0.name == section || $0.name.hasPrefix("\(section).") } } ?? keys
        self.keys = chosen.grouped(by: \.section).flatMap { $0.grouped(by: \.conditionPhrase).flatMap(\.self) }
        guard !chosen.isEmpty else {
            let names = keys.map(\.section).filter { !$0.isEmpty } + keys.map(\.name)
            let meant = Spelling.likelyMeaning(of: section ?? "", among: names)
            throw UserError(
                .usage, "run files have no section or key '\(section ?? "")'", at: "--keys",
                advice: meant.map { "did you mean '\($0)'?" } ?? "leave it out to see all")
        }
    }

    /// Lines for a terminal, at most `columns` wide where words allow it.
    public func text(columns: Int = 100) -> String {
        let indentation = 24
        var lines = Self.rules.map { "[\($0.rule.rawValue)] \($0.meaning)" }.flatMap { Self.wrapped($0, width: columns) }
        let margin = String(repeating: " ", count: indentation)
        for section in keys.grouped(by: \.section) {
            lines += ["", Self.title(section)]
            for group in section.grouped(by: \.conditionPhrase) {
                let condition = group[0].conditionPhrase
                if !condition.isEmpty { lines += Self.wrapped("where \(condition)", width: columns - 2).map { "  \($0)" } }
                for key in group {
                    let name = "    \(key.shortName)"
                    let head = Self.wrapped("\(key.type); \(key.defaultPhrase) [\(key.onResume.rawValue)]", width: columns - indentation)
                    let body = head + Self.wrapped(key.meaning, width: columns - indentation)
                    lines.append((name.count < indentation ? name + margin.dropFirst(name.count) : name + " ") + body[0])
                    lines += body.dropFirst().map { margin + $0 }
                }
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// A page of the documentation.
    public var markdown: String {
        var lines = [
            "# Keys of run files", "",
            "Every key of a run file, with its type, its default, and what a session that resumes does when it differs.", "",
            "This page is written by the program: `mneme train --keys` prints the same, `mneme train --keys --json` for programs, and",
            "`mneme train --keys model` one section. At a resume a key is", "",
        ]
        lines += Self.rules.map { "- **\($0.rule.rawValue)**: \($0.meaning)" }
        for section in keys.grouped(by: \.section) {
            lines += ["", "## \(Self.title(section))", "", "| key | value | default | where | at a resume | meaning |"]
            lines.append("| --- | --- | --- | --- | --- | --- |")
            lines += section.map { key in
                let cells = [
                    "`\(key.shortName)`", key.type, key.defaultValue ?? "required", key.conditionPhrase, key.onResume.rawValue, key.meaning,
                ]
                return "| " + cells.joined(separator: " | ") + " |"
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private static func title(_ section: [ConfigurationKey]) -> String { section[0].section.isEmpty ? "Top level" : section[0].section }

    private static let rules: [(rule: ResumeRule, meaning: String)] = [
        (.free, "changes nothing that is learned; a session that resumes goes on with the new value."),
        (.noted, "changes what is learned from here on; a session that resumes says so and goes on."),
        (.refused, "makes another run of it; a session that resumes is refused unless it is given --accept KEY."),
    ]

    /// A text in lines of at most `width` characters, broken between words.
    private static func wrapped(_ text: String, width: Int) -> [String] {
        text.split(separator: " ").reduce(into: [""]) { lines, word in
            let last = lines[lines.count - 1]
            if last.isEmpty {
                lines[lines.count - 1] = String(word)
            } else if last.count + 1 + word.count <= width {
                lines[lines.count - 1] += " " + word
            } else {
                lines.append(String(word))
            }
        }
    }
}

extension ConfigurationKey {
    /// The name inside its section.
    fileprivate var shortName: Substring { name.split(separator: ".").last ?? "" }
    fileprivate var defaultPhrase: String { defaultValue.map { "default \($0)" } ?? "required" }
}
