// `mneme corpus simulate babi`

import ArgumentParser
import Configuration
import Corpora
import Diagnostics
import Foundation

struct CorpusSimulateBabiCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "babi",
        abstract: "Write stories with questions, in the file format of the bAbI tasks.",
        discussion: """
            Each task gets a file for training and one for testing, e.g. qa1_single-supporting-fact_train.txt; the two share no random numbers. The \
            same seed gives the same files.

            Examples:
              mneme corpus simulate babi --stories 1000 --seed 1 --tasks 1-3,15 \\
                  --output stories
            """)

    @Option(help: "Stories per task for training.")
    var stories: Int

    @Option(help: "Seed that all stories follow from.")
    var seed: UInt64 = 1

    @Option(help: "Tasks as numbers and ranges, e.g. 1-3,15.")
    var tasks = "1-20"

    @Option(help: "Stories per task for testing; 0 writes no test files. (default: a tenth of --stories, at least 1)")
    var testStories: Int?

    @Option(help: "Stories per task for validation; 0 writes no validation files.")
    var validStories = 0

    @Option(help: "Directory to write the files to.")
    var output: String

    @Flag(help: "Replace the task files that the directory holds.")
    var force = false

    @Flag(help: "Print what was written as JSON.")
    var json = false

    func validate() throws {
        try requireRange("--stories", stories, 1...SizeLimits.count)
        try requireRange("--test-stories", testStories, 0...SizeLimits.count)
        try requireRange("--valid-stories", validStories, 0...SizeLimits.count)
        guard !output.isEmpty else { throw ValidationError("--output must name a directory.") }
        _ = try selectedTasks()
    }

    func run() throws {
        CommandLineOutput.outliveReader()
        let counts: [BabiSimulator.Split: Int] = [.train: stories, .valid: validStories, .test: testStories ?? max(1, stories / 10)]
        let summary = try BabiSimulator(seed: seed).write(tasks: try selectedTasks(), counts: counts, to: output, replacing: force)
        if json {
            return try JSONOutput.print(summary)
        }
        for split in BabiSimulator.Split.allCases {
            let files = summary.files.filter { $0.split == split }
            if files.isEmpty { continue }
            let stories = files.reduce(0) { $0 + $1.stories }
            let questions = files.reduce(0) { $0 + $1.questions }
            let bytes = files.reduce(0) { $0 + $1.bytes }
            try print("\(split.rawValue): \(files.count) files, \(stories) stories, \(questions) questions, \(bytes) bytes")
        }
        try print("written to \(PathText.shown(output)) with seed \(seed)")
    }

    /// The tasks that `--tasks` names, in order, each once.
    private func selectedTasks() throws -> [BabiTask] {
        var numbers = Set<Int>()
        for part in tasks.split(separator: ",", omittingEmptySubsequences: false) {
            let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map { BabiTask(Int($0) ?? 0)?.number }
            guard (1...2).contains(bounds.count), let low = bounds.first ?? nil, let high = bounds.last ?? nil, low <= high else {
                throw ValidationError("--tasks: \"\(part)\" is no number or range within 1-20.")
            }
            numbers.formUnion(low...high)
        }
        return BabiTask.allCases.filter { numbers.contains($0.number) }
    }
}
