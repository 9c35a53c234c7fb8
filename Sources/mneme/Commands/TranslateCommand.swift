// mneme translate

import ArgumentParser
import Corpora
import Evaluation
import Foundation
import Training

struct TranslateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "translate",
        abstract: "Translate text line by line with a trained run.",
        discussion: """
            Reads files, or standard input, one sentence a line; prints one translation a line.

            Examples:
              echo "A dog runs." | mneme translate checkpoints/multi30k-en-de
              mneme translate checkpoints/wmt-en-de --beam 8 newstest.en > newstest.hyp.de
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "Text files; - or none for standard input.")
    var inputs: [String] = []

    @OptionGroup var decoding: DecodingOptions

    func run() throws {
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory).languageRun()
            let lines = try TextInput.lines(inputs)
            let profile = CorpusFormat.wmt.profile
            let format = run.promptFormat(profile, decoding.request)
            let block = 512
            for start in stride(from: 0, to: lines.count, by: block) {
                let part = lines[start..<min(start + block, lines.count)]
                let outputs = try run.generator.generate(
                    prompts: part.map { format.prompt(run.tokenizer.encode($0)) }, settings: decoding.request.settings(for: profile), firstPrompt: start)
                for output in outputs { try print(run.tokenizer.decode(output.first?.tokens ?? []).replacingOccurrences(of: "\n", with: " ")) }
            }
            return .finished
        }
    }
}
