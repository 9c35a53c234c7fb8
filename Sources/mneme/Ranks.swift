// Runs a command's work on the ranks that a launcher started, or alone.

import ArgumentParser
import Collectives
import Diagnostics
import Foundation

/// The ranks of a command.
enum Ranks {
    /// Calls `body` with the communicator of this process: MPI where a launcher of MPI started it, else a world of one.
    ///
    /// Errors that `body` throws must be agreed on by all ranks: rank 0 prints, and every rank ends with the error's code. Only a failure of
    /// the communication itself may strike one rank alone; it then ends all.
    static func run(_ body: (any Communicator) throws -> Void) throws {
        let environment = ProcessInfo.processInfo.environment
        guard MPICommunicator.isLaunchedByMPI(environment: environment) else { return try body(SingleProcess()) }
        let communicator = try MPICommunicator.initialize(environment: environment)
        do {
            try body(communicator)
        } catch let error as UserError {
            if error.exitCode == .unavailable {
                CommandLineOutput.error(error.description)
                communicator.abort(error.exitCode.rawValue)
            }
            if communicator.rank == 0 { CommandLineOutput.error(error.description) }
            try communicator.finalize()
            throw ArgumentParser.ExitCode(error.exitCode.rawValue)
        }
        try communicator.finalize()
    }
}
