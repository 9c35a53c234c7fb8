// One line on a terminal that is written over again and again.

import Foundation

/// A status line on standard error, shown only where that is a terminal, at most five times a second.
final class ProgressLine {
    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var last: ContinuousClock.Instant?

    /// Replaces the line.
    func show(_ text: @autoclosure () -> String) {
        let now = ContinuousClock.now
        guard isTerminal, last.map({ now - $0 >= .milliseconds(200) }) ?? true else { return }
        last = now
        // Longer than the terminal it would be two lines, of which only the second is drawn anew.
        let columns = CommandLineOutput.terminalColumns ?? 100
        CommandLineOutput.terminal.write("\r\u{1b}[K\(text().prefix(max(columns - 1, 0)))", .progress)
    }

    /// Removes the line.
    func clear() {
        guard last != nil else { return }
        last = nil
        CommandLineOutput.terminal.writeNow("\r\u{1b}[K")
    }

    deinit {
        clear()
    }
}
