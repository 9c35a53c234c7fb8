// mneme answer

import ArgumentParser
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Training

struct AnswerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "answer",
        abstract: "Answer questions about stories with a trained run.",
        discussion: """
            Files in bAbI's format, or directories of them, give a question for each of theirs; the expected answer is printed beside the model's where
            they differ. Plain text, one sentence a line with the question last (ending with ?), works on standard input or with --plain.

            Examples:
              mneme answer checkpoints/quickstart stories/qa1_single-supporting-fact_test.txt --first 3
              printf 'Mary went to the garden.\\nWhere is Mary?\\n' | mneme answer checkpoints/quickstart
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "bAbI files or directories; none for plain text on standard input.")
    var inputs: [String] = []

    @Flag(help: "The files are plain text, one story each with its question last.")
    var plain = false

    @Option(help: ArgumentHelp("Which files of a directory: train, valid or test.", valueName: "split"))
    var split: String?

    @Option(help: ArgumentHelp("Answer the first so many questions of each input.", valueName: "count"))
    var first: Int?

    @Flag(help: "Print the stories too.")
    var stories = false

    @OptionGroup var decoding: DecodingOptions

    func validate() throws {
        guard first ?? 1 >= 1 else { throw ValidationError("--first must be at least 1.") }
        guard !plain || split == nil else { throw ValidationError("--split goes with bAbI directories, not with --plain.") }
    }

    private struct Question {
        var story: String
        var expected: String?
    }

    func run() throws {
        ProgramStart.run { _ in
            let run = try LoadedRun(directory: runDirectory)
            let format = run.promptFormat(room: decoding.room(for: .babi), keepsEnd: true)
            let questions = try inputs.isEmpty || plain ? plainQuestions() : inputs.flatMap { try babiQuestions($0) }
            let outputs = try run.generator.generate(
                prompts: questions.map { format.prompt(run.tokenizer.encode($0.story)) }, settings: decoding.settings(for: .babi))
            for (question, output) in zip(questions, outputs) {
                let lines = question.story.split(separator: "\n").map(String.init)
                if stories { lines.dropLast().forEach { print("  \($0)") } }
                let answer = run.tokenizer.decode(output.first?.tokens ?? []).trimmingCharacters(in: .whitespaces)
                let verdict = question.expected.map { $0 == answer ? "" : "   (expected: \($0))" } ?? ""
                print("\(lines.last ?? "") \(answer)\(verdict)")
            }
            return .finished
        }
    }

    private func plainQuestions() throws -> [Question] {
        try TextInput.documents(inputs).map { text in
            let lines = text.split(separator: "\n").map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            guard lines.last?.hasSuffix("?") == true else {
                throw UserError(.badData, "the last line is no question", advice: "give a story, one sentence a line, and a question that ends with ?")
            }
            return Question(story: lines.joined(separator: "\n"), expected: nil)
        }
    }

    private func babiQuestions(_ input: String) throws -> [Question] {
        var options = ReaderOptions()
        if let split { options.split = split }
        let reader = try CorpusFormat.babi.makeReader(inputs: [input], options: options)
        var questions: [Question] = []
        do {
            while questions.count < first ?? .max, let record = try reader.next() {
                questions.append(
                    Question(story: String(decoding: record.source, as: UTF8.self), expected: record.target.map { String(decoding: $0, as: UTF8.self) }))
            }
        } catch let error as RecordError {
            throw UserError(.badData, error.what, at: "\(error.place.file):\(error.place.line)", advice: "mend the line, or leave the file out")
        }
        return questions
    }
}
