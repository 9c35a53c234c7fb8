// What every command prints in the same way.

import ArgumentParser
import Diagnostics
import Foundation

/// Lines for the user: results on standard output, errors on standard error.
enum CommandLineOutput {
    /// Prints `mneme: error: message` on standard error.
    static func error(_ message: String) {
        FileHandle.standardError.write(Data("mneme: error: \(message)\n".utf8))
    }

    /// Prints a line of progress on standard error.
    static func note(_ message: String) {
        FileHandle.standardError.write(Data("\(message)\n".utf8))
    }
}

extension ParsableCommand {
    /// Ends the process with `exitCode`.
    static func exit(withCode exitCode: Diagnostics.ExitCode) -> Never {
        Foundation.exit(exitCode.rawValue)
    }
}
