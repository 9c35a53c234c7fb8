// mneme answer

import ArgumentParser
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Inputs
import Training

struct AnswerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "answer",
        abstract: "Answer questions about stories with a trained run.",
        discussion: """
            Files in bAbI's format, or directories of them, give a question for each of theirs; the expected answer is printed beside the model's
            where they differ. Plain text, one sentence a line with the question last (ending with ?), works on standard input or with --plain;
            lines may be copied from a bAbI file, with their numbers and answers.

            Examples:
              mneme answer checkpoints/stories \\
                  stories/qa1_single-supporting-fact_test.txt --first 3
              printf 'Mary went to the garden.\\nWhere is Mary?\\n' \\
                  | mneme answer checkpoints/stories
              printf 'Mary went to the garden.\\nWhere is Mary?\\n' \\
                  | mneme answer checkpoints/babi-memn2n-joint --explain
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Argument(help: "bAbI files or directories; none for plain text on standard input.")
    var inputs: [String] = []

    @Flag(help: "The files are plain text, one story each with its question last.")
    var plain = false

    @Option(help: ArgumentHelp("Which files of a directory: train, valid or test.", valueName: "split"))
    var split: String?

    @Option(help: ArgumentHelp("Answer the first so many questions of each task.", valueName: "count"))
    var first: Int?

    @Option(
        help: ArgumentHelp(
            "Only tasks (three at most) that this output of mneme evaluate --json finds at 95 % or more, or else the best one.",
            valueName: "file.json"))
    var bestOf: String?

    @Flag(help: "Print the stories too.")
    var stories = false

    @Flag(help: "Show where a memory network looked at every hop.")
    var explain = false

    @Option(help: ArgumentHelp("Draw where a memory network looked, as SVG.", valueName: "file.svg"))
    var svg: String?

    @Flag(help: "Print JSON: answers of a memory network, with --explain what was attended to.")
    var json = false

    @OptionGroup var decoding: DecodingOptions

    func validate() throws {
        guard first ?? 1 >= 1 else { throw ValidationError("--first must be at least 1.") }
        guard !plain || split == nil else { throw ValidationError("--split goes with bAbI directories, not with --plain.") }
        guard bestOf == nil || !plain && !inputs.isEmpty else { throw ValidationError("--best-of goes with bAbI files or directories.") }
    }

    private struct Question {
        var story: String
        var expected: String?
        /// The file, and in bAbI's format the line; `nil` for standard input.
        var place: String?
    }

    func run() throws {
        ProgramStart.run { communicator in
            // One answer, whatever the number of ranks.
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory)
            func questions(endingWithMark: Bool) throws -> [Question] {
                if inputs.isEmpty || plain { return try plainQuestions(endingWithMark: endingWithMark) }
                let questions = try inputs.flatMap { try babiQuestions($0) }
                guard !questions.isEmpty else {
                    throw UserError(
                        .badData, "there is no question", at: inputs.joined(separator: ", "), advice: "give bAbI files, or --plain for text")
                }
                return questions
            }
            if let task = run.task as? any AnsweringTask {
                try explainAnswers(questions(endingWithMark: task.endsQuestionsWithMark), task)
            } else {
                let language = try generatingRun(run)
                try generateAnswers(questions(endingWithMark: true), language)
            }
            return .finished
        }
    }

    /// Answers by a memory network, which can show where it looked.
    private func explainAnswers(_ questions: [Question], _ task: any AnsweringTask) throws {
        let explanations = try questions.map { question in
            var explanation: Explanation
            do { explanation = try task.answer(question.story) } catch let error as UserError where error.place == nil {
                throw UserError(error.exitCode, error.what, at: question.place, advice: error.advice)
            }
            explanation.expected = explanation.expected ?? question.expected
            return explanation
        }
        for (question, explanation) in zip(questions, explanations) where !json {
            explanation.notes.forEach { CommandLineOutput.note($0) }
            try show(question, explanation.answer)
            if explain { try print(explanation.drawing(columns: CommandLineOutput.terminalColumns ?? 120), terminator: "") }
        }
        if json { try JSONOutput.print(explanations.map { explain ? $0 : $0.withoutPictures }) }
        if let svg { try MemoryDrawing.write(explanations, to: svg) }
    }

    /// The run as a language model, which keeps nothing that could be shown.
    private func generatingRun(_ run: LoadedRun) throws -> LanguageRun {
        let language = try run.languageRun()
        guard !explain, !json, svg == nil else {
            throw UserError(
                .usage, "\(run.configuration.task.modelKind) keeps no memory that can be shown", at: runDirectory,
                advice: "leave --explain, --json and --svg out, or train a memory network")
        }
        return language
    }

    private func generateAnswers(_ questions: [Question], _ run: LanguageRun) throws {
        let profile = CorpusFormat.babi.profile
        let format = run.promptFormat(profile, decoding.request)
        let sources = questions.map { run.tokenizer.encode(run.cleaned($0.story, profile)) }
        var losses = TextLosses("question", format, "read")
        for (index, source) in sources.enumerated() { losses.read(source.count, at: index + 1) }
        let outputs = try run.generator.generate(prompts: sources.map(format.prompt), settings: decoding.request.settings(for: profile))
        for (question, output) in zip(questions, outputs) {
            losses.wrote(output.first)
            try show(question, TextLines.joined(run.tokenizer.decode(output.first?.tokens ?? [])).trimmingCharacters(in: .whitespaces))
        }
        losses.report(of: questions.count)
    }

    private func show(_ question: Question, _ answer: String) throws {
        let lines = TextLines.split(Array(question.story.utf8)).map { String(decoding: $0, as: UTF8.self) }
        if stories { try lines.dropLast().forEach { try print("  \($0)") } }
        let verdict = question.expected.map { $0 == answer ? "" : "   (expected: \($0))" } ?? ""
        try print("\(lines.last ?? "") \(answer.isEmpty ? "(no answer)" : answer)\(verdict)")
    }

    private func plainQuestions(endingWithMark: Bool) throws -> [Question] {
        let places = inputs.map { $0 == "-" ? nil : $0 }
        return try zip(TextInput.documents(inputs), places.isEmpty ? [nil] : places).map { text, place in
            let story = TypedStory(text)
            guard story.question != nil, story.endsInQuestion || !endingWithMark else {
                throw UserError(
                    .badData, story.question == nil ? "there is no text" : "the last line is no question", at: place,
                    advice: "give a story, one sentence a line, and a question" + (endingWithMark ? " that ends with ?" : " as the last line"))
            }
            if endingWithMark { return Question(story: story.text, expected: story.answer, place: place) }
            // Where a question need not end with a mark, the task has lines of its own form.
            let lines = text.unicodeScalars.split(separator: "\n").map { String($0).trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
            return Question(story: lines.joined(separator: "\n"), expected: nil, place: place)
        }
    }

    private func babiQuestions(_ input: String) throws -> [Question] {
        var options = ReaderOptions()
        if let split { options.split = split }
        let files = try CorpusFormat.babi.files(of: [input], options: options, areReadOnce: true)
        for entry in files.flatMap(\.passedOver) where entry.reason != .otherName { CommandLineOutput.note("passed over \(entry.description)") }
        let reader = try CorpusFormat.babi.makeReader(of: files, options: options)
        let tasks = try bestOf.map { try bestTasks($0) }
        var questions: [Question] = []
        var asked: [Int32: Int] = [:]
        do {
            while let record = try reader.next() {
                if let tasks, !(taskNumber(reader.labels[Int(record.label)]).map { tasks.contains($0) } ?? false) { continue }
                guard asked[record.label, default: 0] < first ?? .max else { continue }
                asked[record.label, default: 0] += 1
                questions.append(
                    Question(
                        story: String(decoding: record.source, as: UTF8.self), expected: record.target.map { String(decoding: $0, as: UTF8.self) },
                        place: "\(record.place.file):\(record.place.line)"))
            }
        } catch let error as RecordError {
            throw UserError(.badData, error.what, at: "\(error.place.file):\(error.place.line)", advice: "mend the line, or leave the file out")
        }
        return questions
    }

    /// The numbers of the tasks that count as learned in an evaluation (accuracy 95 % or more), the best three; the best one where none does.
    private func bestTasks(_ path: String) throws -> Set<Int> {
        struct Evaluation: Decodable { var accuracyByTask: [String: Double] }
        let data = Data(try TextFile.bytes(path))
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        guard let evaluation = try? decoder.decode(Evaluation.self, from: data) else {
            throw UserError(.badData, "holds no accuracy by task", at: path, advice: "write it with mneme evaluate --json on a corpus of format babi")
        }
        let ranked = evaluation.accuracyByTask.compactMap { key, accuracy in Int(key).map { (task: $0, accuracy: accuracy) } }
            .sorted { ($0.accuracy, $1.task) > ($1.accuracy, $0.task) }
        let learned = ranked.prefix(3).filter { $0.accuracy >= 0.95 }
        return Set((learned.isEmpty ? Array(ranked.prefix(1)) : learned).map(\.task))
    }
}
