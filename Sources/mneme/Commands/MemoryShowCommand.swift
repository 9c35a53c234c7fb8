// mneme memory show

import ArgumentParser
import Diagnostics
import Foundation
import Training

struct MemoryShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Draw what a trained model's memory did with an example of its task.",
        discussion: """
            Runs the model on a held-out example and draws what it attended to at every hop, or its read and write weights, usage and links over
            time: in the terminal, as SVG, or as JSON. The examples of a language model are pieces of its validation corpus, each of batch.length
            tokens; where the run carries memory on, it is that of all pieces before. It can also read a prompt. Its answer is the likeliest next
            piece of text.

            Examples:
              mneme memory show checkpoints/copy-ntm
              mneme memory show checkpoints/copy-ntm --example 3 --svg copy.svg
              mneme memory show checkpoints/ptb-dnc --example 10
              mneme memory show checkpoints/babi-memn2n-joint --json
              mneme memory show checkpoints/ptb-memn2n --prompt text.txt
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("Which held-out example, from 0; the first unless given.", valueName: "number"))
    var example: Int?

    @Option(help: ArgumentHelp("A text that a language model reads: a file, or - for standard input.", valueName: "file"))
    var prompt: String?

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Option(help: ArgumentHelp("Draw into this file instead of the terminal.", valueName: "file.svg"))
    var svg: String?

    @Flag(help: "Print JSON: the example, the answer and every picture with its values row by row.")
    var json = false

    func validate() throws {
        if let example, example < 0 { throw ValidationError("--example must not be negative.") }
        if example != nil, prompt != nil { throw ValidationError("Give --example or --prompt, not both.") }
    }

    /// What a language model makes of a file.
    private func read(_ path: String, _ run: LoadedRun) throws -> Explanation {
        guard let task = run.task as? any GeneratingTask else {
            throw UserError(
                .usage, "its model, \(run.configuration.task.modelKind), is no language model", at: runDirectory,
                advice: "use --example instead of --prompt")
        }
        return try task.explanation(of: TextInput.documents([path]).joined())
    }

    func run() throws {
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory, step: step)
            run.passedOver.forEach { CommandLineOutput.note($0) }
            let explanation = try prompt.map { try read($0, run) } ?? run.task.example(example ?? 0)
            if let svg { try MemoryDrawing.write([explanation], to: svg) }
            if json {
                try JSONOutput.print(explanation)
            } else if svg == nil {
                let columns = CommandLineOutput.terminalColumns ?? 120
                for line in explanation.input { try print(line.count > columns ? "\(line.prefix(columns - 4)) ..." : line) }
                try print("answer: \(explanation.answer.isEmpty ? "none" : explanation.answer)")
                if let expected = explanation.expected, expected != explanation.answer { try print("expected: \(expected)") }
                if !explanation.pictures.isEmpty { try print("\n" + explanation.drawing(columns: columns), terminator: "") }
            }
            return .finished
        }
    }
}
