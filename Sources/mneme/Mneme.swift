// The root of the command line: parses, calls, prints, and turns errors into exit codes.

import ArgumentParser
import Diagnostics
import Foundation

@main
struct Mneme: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "mneme",
        abstract: "Train language models that remember.",
        version: MnemeVersion.current,
        subcommands: [
            TokenizerCommand.self,
            CorpusCommand.self,
            TrainCommand.self,
            SweepCommand.self,
            SuperviseCommand.self,
            EvaluateCommand.self,
            GoodputCommand.self,
            TranslateCommand.self,
            SummarizeCommand.self,
            AnswerCommand.self,
            ChatCommand.self,
            GenerateCommand.self,
            PlotCommand.self,
            ScoreCommand.self,
            CheckpointCommand.self,
            MemoryCommand.self,
            BenchCommand.self,
            DoctorCommand.self,
            PlanCommand.self,
        ])

    static func main() {
        StandardStreams.openMissing()
        // A file that grows beyond the limit of `ulimit -f` is an error of the write (EFBIG), not the end of the process.
        signal(SIGXFSZ, SIG_IGN)
        // A parent may have ignored this one for all of its children.
        CommandLineOutput.endWithReader()
        do {
            let ending = Result {
                var command = try parseAsRoot(StandardStreams.arguments)
                try command.run()
            }
            // Help, the version, completions.
            if case .failure(let error) = ending, Self.exitCode(for: error).isSuccess { try print(fullMessage(for: error)) }
            try StandardOutput.finish()
            if case .failure(let error) = ending { throw error }
        } catch let error as UserError {
            CommandLineOutput.error(error.description)
            exit(withCode: error.exitCode)
        } catch where Self.exitCode(for: error).isSuccess {
            exit(withCode: .finished)
        } catch {
            exit(withError: error)
        }
    }
}
