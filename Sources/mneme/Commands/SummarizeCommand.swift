// mneme summarize

import ArgumentParser
import Corpora
import Evaluation
import Foundation
import Training

struct SummarizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "summarize",
        abstract: "Summarize documents with a trained run.",
        discussion: """
            Each file is one document (of a .story file the text before the first @highlight); so is standard input. Prints the summary of each,
            one sentence a line, documents apart by an empty line.

            Examples:
              mneme summarize checkpoints/cnn-dailymail article.txt
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "Documents; - or none for standard input.")
    var inputs: [String] = []

    @OptionGroup var decoding: DecodingOptions

    func run() throws {
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory).languageRun()
            let profile = CorpusFormat.cnnDailyMail.profile
            let format = run.promptFormat(profile, decoding.request)
            // A document is taken apart as a .story is, and cleaned as the articles of training were.
            let documents = try TextInput.documents(inputs).map { text in
                run.cleaned(String(decoding: StoryText(Array(text.utf8)).article, as: UTF8.self), profile)
            }
            let asked = documents.indices.filter { !documents[$0].isEmpty }
            let sources = asked.map { run.tokenizer.encode(documents[$0]) }
            var losses = TextLosses("document", format, "summarized")
            for (number, source) in zip(asked, sources) { losses.read(source.count, at: number + 1) }
            let outputs = try run.generator.generate(prompts: sources.map(format.prompt), settings: decoding.request.settings(for: profile))
            var summaries = [String](repeating: "", count: documents.count)
            for (number, output) in zip(asked, outputs) {
                losses.wrote(output.first)
                // An empty line is what divides the summaries of two documents.
                let lines = TextLines.split(Array(run.tokenizer.decode(output.first?.tokens ?? []).utf8)).filter { !$0.isEmpty }
                summaries[number] = lines.map { String(decoding: $0, as: UTF8.self) }.joined(separator: "\n")
            }
            for (index, summary) in summaries.enumerated() { try print((index > 0 ? "\n" : "") + summary) }
            losses.report(of: documents.count)
            return .finished
        }
    }
}
