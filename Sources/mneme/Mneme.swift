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
            EvaluateCommand.self,
            TranslateCommand.self,
            SummarizeCommand.self,
            AnswerCommand.self,
            GenerateCommand.self,
            PlotCommand.self,
            ScoreCommand.self,
            CheckpointCommand.self,
            MemoryCommand.self,
            BenchCommand.self,
            DoctorCommand.self,
        ])

    static func main() {
        // A file that grows beyond the limit of `ulimit -f` is an error of the write (EFBIG), not the end of the process.
        signal(SIGXFSZ, SIG_IGN)
        // A parent may have ignored this one for all of its children.
        CommandLineOutput.endWithReader()
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch let error as UserError {
            CommandLineOutput.error(error.description)
            exit(withCode: error.exitCode)
        } catch {
            exit(withError: error)
        }
    }
}
