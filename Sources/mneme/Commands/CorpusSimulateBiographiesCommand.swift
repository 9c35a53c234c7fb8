// `mneme corpus simulate biographies`

import ArgumentParser
import Corpora
import Diagnostics

struct CorpusSimulateBiographiesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "biographies",
        abstract: "Write made-up people: their facts as records of a bank, and their biographies.",
        discussion: """
            Seven facts a person: records.jsonl has a line for each, as mneme memory import takes it, and biographies.txt a line for each person. They are \
            the people of a run whose task.kind is biographies and whose seed is the same: a person of a number is the same whatever their count.

            Examples:
              mneme corpus simulate biographies --people 0-999 --output people
              mneme corpus simulate biographies --people 10000-10099 --seed 7 \\
                  --output newcomers
            """)

    @Option(help: ArgumentHelp("The people by number, such as 0-999.", valueName: "first-last"))
    var people: String

    @Option(help: "Seed that all facts follow from.")
    var seed: UInt64 = 1

    @Option(help: "Directory to write the files to.")
    var output: String

    @Flag(help: "Replace the files of these names that the directory holds.")
    var force = false

    @Flag(help: "Print what was written as JSON.")
    var json = false

    func validate() throws {
        guard !output.isEmpty else { throw ValidationError("--output must name a directory.") }
    }

    func run() throws {
        CommandLineOutput.outliveReader()
        let people = try BankText.people(people)
        let summary = try Biographies(people: people.upperBound, seed: seed).write(people, to: output, replacing: force)
        if json { return try JSONOutput.print(summary) }
        try print("\(summary.facts) facts of \(summary.people) people written to \(PathText.shown(output)) with seed \(seed)")
    }
}
