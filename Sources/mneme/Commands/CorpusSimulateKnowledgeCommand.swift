// `mneme corpus simulate knowledge`

import ArgumentParser
import Corpora
import Diagnostics

struct CorpusSimulateKnowledgeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "knowledge",
        abstract: "Write facts about films, with questions about them and a text.",
        discussion: """
            Five facts a film: facts.txt has a line subject|relation|object for each, questions-train.txt, -valid and -test ask for them, and \
            documents.txt says them in sentences, a film a line. Some pairs of a film and a relation are asked about in -valid and -test alone. The \
            same seed gives the same files.

            Examples:
              mneme corpus simulate knowledge --films 300 --output films
            """)

    @Option(help: "Films, 10 to 1000000.")
    var films: Int

    @Option(help: "Seed that all facts follow from.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("The share of pairs of a film and a relation that no training question asks about.", valueName: "share"))
    var heldOut = 0.2

    @Option(help: "Directory to write the files to.")
    var output: String

    @Flag(help: "Replace the files of these names that the directory holds.")
    var force = false

    @Flag(help: "Print what was written as JSON.")
    var json = false

    func validate() throws {
        try requireRange("--films", films, 10...1_000_000)
        guard (0.001...0.9).contains(heldOut) else { throw ValidationError("--held-out must be 0.001 to 0.9.") }
        guard !output.isEmpty else { throw ValidationError("--output must name a directory.") }
    }

    func run() throws {
        CommandLineOutput.outliveReader()
        let knowledge = SyntheticKnowledge(films: films, heldOut: heldOut, seed: seed)
        let summary = try knowledge.write(seed: seed, to: output, replacing: force)
        if json { return try JSONOutput.print(summary) }
        for file in summary.files { try print("\(file.name): \(file.lines) lines, \(file.bytes) bytes") }
        try print("written to \(PathText.shown(output)) with seed \(seed)")
    }
}
