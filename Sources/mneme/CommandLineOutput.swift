// What every command prints in the same way.

import ArgumentParser
import Diagnostics
import Foundation
import Training

/// Lines for the user: results on standard output, errors on standard error.
enum CommandLineOutput {
    /// Standard error. A reader who does not read holds nobody up for more than two seconds.
    static let terminal = TerminalWriter(descriptor: STDERR_FILENO)

    /// Prints `mneme: error: message` on standard error.
    static func error(_ message: String) { note("mneme: error: \(message)") }

    /// The width of the terminal behind standard error; `nil` when there is none. Under mpirun standard error is a pipe to mpirun, and
    /// launch/mpirun says in MNEME_TERMINAL_COLUMNS that a terminal is at its end.
    static var terminalColumns: Int? {
        var size = winsize()
        if isatty(STDERR_FILENO) == 1 { return ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size.ws_col > 0 ? Int(size.ws_col) : 100 }
        return ProcessInfo.processInfo.environment["MNEME_TERMINAL_COLUMNS"].flatMap { Int($0) }.flatMap { $0 > 0 ? $0 : nil }
    }

    /// Prints a line of progress on standard error.
    static func note(_ message: String) {
        terminal.writeNow("\(PathText.shown(message))\n")
    }

    /// What a reader who goes away means: the end, quietly, of a command whose product is what it prints, as of every filter in a pipeline.
    static func endWithReader() { signal(SIGPIPE, SIG_DFL) }

    /// What a reader who goes away means to a command whose product are files: nothing. The setting outlasts `exec`.
    static func outliveReader() { signal(SIGPIPE, SIG_IGN) }
}

extension ParsableCommand {
    /// Ends the process with `exitCode`.
    static func exit(withCode exitCode: Diagnostics.ExitCode) -> Never {
        Foundation.exit(exitCode.rawValue)
    }
}
