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
            let documents = try TextInput.documents(inputs).map { text -> String in
                let article = text.range(of: "@highlight").map { String(text[..<$0.lowerBound]) } ?? text
                return article.split(separator: "\n").joined(separator: "\n")
            }
            let outputs = try run.generator.generate(
                prompts: documents.map { format.prompt(run.tokenizer.encode($0)) }, settings: decoding.request.settings(for: profile))
            for (index, output) in outputs.enumerated() { try print((index > 0 ? "\n" : "") + run.tokenizer.decode(output.first?.tokens ?? [])) }
            return .finished
        }
    }
}
