// --help of every command: it fits a terminal of 80 columns, and its examples use options that exist.

import TestSupport
import Testing

@Suite struct HelpTests {
    /// What --help of one command says.
    private struct Page {
        let command: [String]
        let lines: [String]

        /// The lines between one that starts with `heading` and the next empty one.
        func section(_ heading: String) -> [String] {
            guard let start = lines.firstIndex(where: { $0.hasPrefix(heading) }) else { return [] }
            return Array(lines[(start + 1)...].prefix { !$0.isEmpty })
        }

        var subcommands: [String] {
            section("SUBCOMMANDS:").filter { $0.hasPrefix("  ") && !$0.hasPrefix("   ") }.compactMap {
                $0.split(separator: " ").first.map(String.init)
            }
        }

        /// The options it has, such as `--json`.
        var options: Set<String> {
            let lines = lines.filter { $0.hasPrefix("  -") && !$0.hasPrefix("   ") }
            return Set(lines.flatMap { $0.prefix(26).split(whereSeparator: { " ,/".contains($0) }).filter { $0.hasPrefix("-") }.map(String.init) })
        }

        /// Examples as command lines, those of several lines joined.
        var examples: [String] {
            var examples: [String] = []
            for line in section("Examples:") {
                if let last = examples.last, last.hasSuffix("\\") {
                    examples[examples.count - 1] = String(last.dropLast()) + line.drop { $0 == " " }
                } else {
                    examples.append(String(line.drop { $0 == " " }))
                }
            }
            return examples
        }
    }

    private static func pages(_ command: [String] = []) throws -> [Page] {
        let page = Page(
            command: command,
            lines: try mneme(command + ["--help"]).standardOutput.split(separator: "\n", omittingEmptySubsequences: false).map(String.init))
        return try [page] + page.subcommands.flatMap { try pages(command + [$0]) }
    }

    @Test("every command's help fits 80 columns, and its examples name commands and options that exist")
    func help() throws {
        let pages = try Self.pages()
        #expect(pages.count > 30)
        let options = Dictionary(uniqueKeysWithValues: pages.map { ($0.command, $0.options) })
        for page in pages {
            let name = (["mneme"] + page.command).joined(separator: " ")
            for line in page.lines where !line.hasPrefix("USAGE:") { #expect(line.count <= 80, "\(name): \(line)") }
            if page.subcommands.isEmpty { #expect(!page.examples.isEmpty, "\(name) has no example") }
            for example in page.examples {
                // Options may stand behind any of the commands of a pipeline that are Mneme's.
                for call in example.split(separator: "|").map({ $0.split(separator: " ").map(String.init) }) {
                    guard let start = call.firstIndex(of: "mneme") else { continue }
                    let words = call[(start + 1)...].prefix { !$0.hasPrefix("-") }
                    let command = (0...words.count).reversed().map { Array(words.prefix($0)) }.first { options[$0] != nil } ?? []
                    #expect(!command.isEmpty, "\(name): no such command: \(example)")
                    // What stands behind '--' is another program's.
                    for option in call[start...].prefix(while: { $0 != "--" }) where option.hasPrefix("--") {
                        #expect(options[command]?.contains(option) == true, "\(name): \(option) is no option: \(example)")
                    }
                }
            }
        }
    }
}
