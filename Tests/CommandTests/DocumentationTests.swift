// README and the manual do what they say: every code block whose lines start with `$` is run, and tables of declarations are complete.

import Foundation
import TestSupport
import Testing
import Training

@Suite struct DocumentationTests {
    private static let repository = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL.path

    /// Every page that a reader meets.
    private static let pages: [String] = {
        let files = (FileManager.default.enumerator(atPath: "\(repository)/Sources")?.allObjects as? [String]) ?? []
        return ["README.md", "cluster/README.md"] + files.filter { $0.contains(".docc/") && $0.hasSuffix(".md") }.sorted().map { "Sources/\($0)" }
    }()

    private static func text(_ page: String) throws -> String { try String(contentsOfFile: "\(repository)/\(page)", encoding: .utf8) }

    /// The commands of the blocks that start with `$`, those of several lines joined; the other lines show output.
    private static func commands(_ text: String) -> [String] {
        var (commands, isInside, runs, continues) = ([String](), false, false, false)
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if line.hasPrefix("```") {
                isInside.toggle()
                (runs, continues) = (isInside, false)
            } else if isInside, runs, continues {
                commands[commands.count - 1] += "\n" + line
                continues = line.hasSuffix("\\")
            } else if isInside, line.hasPrefix("$ ") {
                commands.append(String(line.dropFirst(2)))
                continues = line.hasSuffix("\\")
            }
        }
        return commands
    }

    @Test("the blocks of a page run, one after the other, in a folder that holds what a checkout holds", arguments: pages)
    func blocks(page: String) throws {
        let commands = Self.commands(try Self.text(page))
        guard !commands.isEmpty else { return }
        try withScratchDirectory { scratch in
            let program = MPIRun.productsFolder.appending(path: "mneme").path
            let home = "\(scratch)/home"
            try FileManager.default.createDirectory(atPath: "\(home)/bin", withIntermediateDirectories: true)
            for name in ["launch", "cluster"] {
                try FileManager.default.createSymbolicLink(atPath: "\(scratch)/\(name)", withDestinationPath: "\(Self.repository)/\(name)")
            }
            for (name, target) in [("mneme", program)] + ["mpirun", "job"].map({ ("mneme-\($0)", "\(Self.repository)/launch/\($0)") }) {
                try FileManager.default.createSymbolicLink(atPath: "\(home)/bin/\(name)", withDestinationPath: target)
            }
            let script = "set -euo pipefail; cd \(scratch); PATH=$HOME/bin:$PATH\n" + commands.joined(separator: "\n") + "\n"
            let run = try MPIRun.runAlone(
                executable: "/usr/bin/env", arguments: ["bash", "-c", script],
                extraEnvironment: MPIRun.environment.merging(["HOME": home, "MNEME": program, "TERM": "dumb"]) { $1 })
            #expect(run.status == 0, "\(page):\n\(run.standardOutput.suffix(2000))\n\(run.standardError.suffix(2000))")
        }
    }

    @Test("the page about metrics has every figure, with the unit and the meaning that it is declared with")
    func figures() throws {
        let page = try Self.text("Sources/mneme/Manual.docc/MetricsAndMonitoring.md")
        for metric in Metric.all {
            #expect(page.contains("\n| `\(metric.name)` | \(metric.unit == .none ? "" : metric.unit.rawValue + " ")| \(metric.meaning) |\n"), "\(metric.name)")
        }
    }

    @Test("the messages that the operator's page explains are those of the program")
    func messages() throws {
        let page = try Self.text("Sources/mneme/Manual.docc/Operating.md")
        let table = try #require(page.range(of: "| message |")).lowerBound
        let files = (FileManager.default.enumerator(atPath: "\(Self.repository)/Sources")?.allObjects as? [String] ?? []).filter {
            $0.hasSuffix(".swift") || $0.hasSuffix(".c")
        }
        let sources = try (files.map { "Sources/\($0)" } + ["launch/job"]).map(Self.text)
        var count = 0
        for row in page[table...].matches(of: /\n\| `([^`]+)` \|/) {
            for part in row.1.split(separator: "…").map({ $0.trimmingCharacters(in: .whitespaces) }) where part.count > 5 {
                #expect(sources.contains { $0.contains(part) }, "\(row.1)")
                count += 1
            }
        }
        #expect(count > 20)
    }

    @Test("README's links lead somewhere")
    func links() throws {
        for link in try Self.text("README.md").matches(of: /\]\(([^)#:]+)\)/) {
            #expect(FileManager.default.fileExists(atPath: "\(Self.repository)/\(link.1)"), "\(link.1)")
        }
    }

    @Test("README is a front page")
    func length() throws {
        #expect(try Self.text("README.md").split(separator: "\n", omittingEmptySubsequences: false).count <= 140)
    }
}
