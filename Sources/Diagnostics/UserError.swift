// What a user can get wrong, and the exit code that says which kind it was.

/// How a Mneme process ends; the codes of sysexits.h where one fits.
public enum ExitCode: Int32, Sendable, CaseIterable {
    /// Finished.
    case finished = 0
    /// A node failed its health check (`mneme doctor --nhc`): the code that such checks are asked for.
    case unhealthy = 1
    /// The command line is wrong (EX_USAGE).
    case usage = 64
    /// Input data is wrong: corrupt, not UTF-8, of unequal length (EX_DATAERR).
    case badData = 65
    /// An input does not exist or cannot be read (EX_NOINPUT).
    case missingInput = 66
    /// A rank or a service was lost (EX_UNAVAILABLE).
    case unavailable = 69
    /// A defect of Mneme itself (EX_SOFTWARE).
    case software = 70
    /// Several sessions in a row came no further: do not start the run again (EX_CANTCREAT).
    case noProgress = 73
    /// Reading or writing failed: no space, no permission, a broken disk (EX_IOERR).
    case inputOutput = 74
    /// Stopped on request with a checkpoint written: start the run again (EX_TEMPFAIL).
    case stoppedOnRequest = 75
    /// The configuration is wrong, or does not fit the data or the cluster (EX_CONFIG).
    case configuration = 78
}

/// An error that the user can mend. It prints as one line: where, what, and what to do.
public struct UserError: Error, Sendable, CustomStringConvertible {
    /// The exit code that this error ends the process with.
    public let exitCode: ExitCode
    /// What happened, with the value that was found and the one that was expected.
    public let what: String
    /// Where: a file with its line or byte, a configuration key, a rank. `nil` where the place is the command itself.
    public let place: String?
    /// What the user can do about it.
    public let advice: String?
    /// True when every rank has thrown this very error, so that one of them prints it and all end by themselves.
    public var isShared = false

    /// - Parameters:
    ///   - exitCode: the code that the process ends with.
    ///   - what: what happened, without a full stop.
    ///   - place: a file and line, a byte, a key, a rank.
    ///   - advice: what to do, as an imperative sentence without a full stop.
    public init(_ exitCode: ExitCode, _ what: String, at place: String? = nil, advice: String? = nil) {
        self.exitCode = exitCode
        self.what = what
        self.place = place
        self.advice = advice
    }

    /// The same error, marked as one that every rank throws.
    public var shared: UserError {
        var copy = self
        copy.isShared = true
        return copy
    }

    /// One line: `place: what; advice`.
    public var description: String {
        let line = (place.map { "\($0): " } ?? "") + what + (advice.map { "; \($0)" } ?? "")
        return PathText.shown(line.replacingLineBreaks())
    }
}

extension String {
    /// The same text on one line.
    fileprivate func replacingLineBreaks() -> String {
        String(map { $0.isNewline ? " " : $0 })
    }
}
