// mneme generate

import ArgumentParser
import Configuration
import Corpora
import Evaluation
import Foundation
import Training

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate",
        abstract: "Continue a text with a trained language model.",
        discussion: """
            The prompt is the text of a file, or of standard input. With --temperature 0 the likeliest token is taken each time.

            Examples:
              echo -n "ROMEO:" | mneme generate checkpoints/tiny-shakespeare \\
                  --maximum-tokens 300 --temperature 0.8 --top-k 40 --seed 7
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "Prompts, one a file; - or none for standard input.")
    var inputs: [String] = []

    @Option(help: ArgumentHelp("The most new tokens.", valueName: "count"))
    var maximumTokens = 200

    @Option(help: "Divides the logits; 0 is greedy.")
    var temperature: Float = 1

    @Option(help: ArgumentHelp("Sample from the likeliest tokens only.", valueName: "count"))
    var topK: Int?

    @Option(help: ArgumentHelp("Sample from the smallest set of tokens with this probability.", valueName: "probability"))
    var topP: Float?

    @Option(help: ArgumentHelp("Logits of tokens that occurred are divided by this (multiplied where negative).", valueName: "factor"))
    var repetitionPenalty: Float = 1

    @Option(help: "Of the random numbers.")
    var seed: UInt64 = 1

    @Option(help: ArgumentHelp("Continuations of each prompt.", valueName: "count"))
    var sequences = 1

    func validate() throws {
        try requireRange("--maximum-tokens", maximumTokens, SizeLimits.positions)
        try requireRange("--sequences", sequences, SizeLimits.sequences)
        try requireRange("--top-k", topK, 1...SizeLimits.count)
    }

    func run() throws {
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory).languageRun()
            let prompts = try TextInput.documents(inputs).map { run.cleaned($0, CorpusFormat.text.profile, isSource: false) }
            let settings = GenerationSettings(
                method: .sampling(
                    SamplingSettings(temperature: temperature, topK: topK, topP: topP, repetitionPenalty: repetitionPenalty, seed: seed)),
                limit: .tokens(maximumTokens), sequences: sequences, continuesBeyondContext: !run.model.readsPairs)
            let room = run.model.maximumLength ?? .max
            let tokens = prompts.enumerated().map { index, text -> [Int32] in
                let encoded = run.tokenizer.encode(text)
                if encoded.count > room {
                    CommandLineOutput.note("prompt \(index + 1): \(encoded.count) tokens, the last \(room) are read; the rest is cut off")
                }
                return encoded.isEmpty ? [run.tokenizer.endID] : Array(encoded.suffix(room))
            }
            for (prompt, outputs) in zip(prompts, try run.generator.generate(prompts: tokens, settings: settings)) {
                for output in outputs { try print(prompt + run.tokenizer.decode(output.tokens)) }
            }
            return .finished
        }
    }
}
