// What every command prints in the same way.

import ArgumentParser
import Diagnostics
import Foundation

/// Lines for the user: results on standard output, errors on standard error.
enum CommandLineOutput {
    /// Prints `mneme: error: message` on standard error.
    static func error(_ message: String) {
        try? FileHandle.standardError.write(contentsOf: Data("mneme: error: \(message)\n".utf8))
    }

    /// The width of the terminal behind standard error; `nil` when there is none. Under mpirun standard error is a pipe to mpirun, and
    /// launch/mpirun says in MNEME_TERMINAL_COLUMNS that a terminal is at its end.
    static var terminalColumns: Int? {
        var size = winsize()
        if isatty(STDERR_FILENO) == 1 { return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 100 }
        return ProcessInfo.processInfo.environment["MNEME_TERMINAL_COLUMNS"].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
    }

    /// Prints a line of progress on standard error.
    static func note(_ message: String) {
        try? FileHandle.standardError.write(contentsOf: Data("\(message)\n".utf8))
    }
}

extension ParsableCommand {
    /// Ends the process with `exitCode`.
    static func exit(withCode exitCode: Diagnostics.ExitCode) -> Never {
        Foundation.exit(exitCode.rawValue)
    }
}
