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
            let profile = CorpusFormat.wmt.profile
            let lines = try TextInput.lines(inputs).map { run.cleaned($0, profile) }
            let format = run.promptFormat(profile, decoding.request)
            var losses = TextLosses("line", format, "translated")
            let block = 512
            for start in stride(from: 0, to: lines.count, by: block) {
                let part = start..<min(start + block, lines.count)
                // A line of nothing but white space is empty, as it was left out in training: it has an empty translation.
                let asked = part.filter { !lines[$0].isEmpty }
                let sources = asked.map { run.tokenizer.encode(lines[$0]) }
                for (number, source) in zip(asked, sources) { losses.read(source.count, at: number + 1) }
                let outputs = try run.generator.generate(
                    prompts: sources.map(format.prompt), settings: decoding.request.settings(for: profile), firstPrompt: start)
                var translations = [String](repeating: "", count: part.count)
                for (number, output) in zip(asked, outputs) {
                    losses.wrote(output.first)
                    translations[number - start] = TextLines.joined(run.tokenizer.decode(output.first?.tokens ?? []))
                }
                for translation in translations { try print(translation) }
            }
            losses.report(of: lines.count)
            return .finished
        }
    }
}
