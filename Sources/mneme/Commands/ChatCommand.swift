// mneme chat

import ArgumentParser
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import Training

struct ChatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat",
        abstract: "Talk with a run that answers from what it is told, and that remembers each user across sessions.",
        discussion: """
            Each line of standard input is a turn. A line that ends with ? is a question: the run answers it from what the user has said, in this session
            and in earlier ones. Any other line is something said: a sentence for a run over stories, subject|relation|object for a run of a knowledge
            task. To a run over dialogs every line is a turn that it replies to, and the reply is kept with it.

            What a user says is kept in the user's namespace of the bank, at once; no other namespace is read. The bank is made where there is none. Forget a
            user with mneme memory forget.

            Examples:
              mneme chat checkpoints/stories-memory-network --bank banks/people --user ada
              printf 'Mary went to the garden.\\nWhere is Mary?\\n' \\
                  | mneme chat checkpoints/stories-memory-network --bank banks/people --user ada
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("The bank of what users have said.", valueName: "dir"))
    var bank: String

    @Option(help: ArgumentHelp("The user: a namespace of the bank.", valueName: "name"))
    var user: String

    @Option(help: ArgumentHelp("The most things said before that a question is answered from: those most like it.", valueName: "count"))
    var recall = 50

    @Flag(help: "Print a JSON object for each turn.")
    var json = false

    func validate() throws {
        guard recall >= 1 else { throw ValidationError("--recall must be at least 1.") }
    }

    private struct Turn: Encodable {
        let turn: Int?
        let said: String
        let recalled: Int?
        let answer: String?
        let probability: Double?
    }

    func run() throws {
        ProgramStart.run { communicator in
            guard communicator.rank == 0 else { return .finished }
            let run = try LoadedRun(directory: runDirectory)
            guard let task = run.task as? any AnsweringTask else {
                throw UserError(
                    .usage, "its model, \(run.configuration.task.modelKind), answers nothing from what it is told", at: runDirectory,
                    advice: "name a run over stories, dialogs or facts")
            }
            let profile = try UserProfile(bank: bank, user: user, MemoryBank.editor())
            let before = try profile.count()
            CommandLineOutput.note("\(user): \(quantity(before, "turn")) remembered")
            TextInput.promptIfTerminal()
            while let line = readLine() {
                let said = line.trimmingCharacters(in: .whitespaces)
                if said.isEmpty { continue }
                do { try show(turn(said, task, profile)) } catch let error as UserError where error.exitCode == .badData {
                    CommandLineOutput.note(error.description)
                }
                try StandardOutput.flush()
            }
            return .finished
        }
    }

    /// Takes a turn.
    /// - Throws: `UserError` (.badData) for what the run cannot read; nothing is kept then.
    private func turn(_ said: String, _ task: any AnsweringTask, _ profile: UserProfile) throws -> Turn {
        guard said.hasSuffix("?") || task.repliesToEverything else {
            try task.requireReadable(said)
            return Turn(turn: try profile.remember(said, source: runDirectory), said: said, recalled: nil, answer: nil, probability: nil)
        }
        let recalled = try profile.recalled(by: said, count: recall)
        let explanation = try task.answer((recalled + [said]).joined(separator: "\n"))
        explanation.notes.forEach { CommandLineOutput.note($0) }
        let turn = task.repliesToEverything ? try profile.remember("\(said)\t\(explanation.answer)", source: runDirectory) : nil
        return Turn(turn: turn, said: said, recalled: recalled.count, answer: explanation.answer, probability: explanation.probability)
    }

    private func show(_ turn: Turn) throws {
        if json { return try JSONOutput.print(turn) }
        try StandardOutput.print(turn.answer.map { $0.isEmpty ? "(no answer)" : $0 } ?? "(remembered)")
    }
}
