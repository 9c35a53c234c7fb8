// The line that shows how far a run is: redrawn in place on a terminal, one line a logged step elsewhere.

/// The sink on standard error.
package final class TerminalProgress: MetricSink {
    private let text: StepText
    private let terminal: TerminalWriter
    private let columns: Int?
    private var isShown = false
    private var firstStep: (step: Int, seconds: Double)?

    /// - Parameters:
    ///   - columns: the width of the terminal to draw on; `nil` for plain lines.
    package init(text: StepText, terminal: TerminalWriter, columns: Int?) {
        self.text = text
        self.terminal = terminal
        self.columns = columns
    }

    package func record(_ metrics: StepMetrics) {
        let line = text.line(metrics, timeLeft: timeLeft(metrics))
        guard let columns else { return terminal.write(line + "\n", .progress) }
        // Longer than the terminal the line would be two, of which only the second is drawn anew.
        let width = min(24, columns / 3)
        let done = min(width, width * metrics.step / max(text.totalSteps, 1))
        let bar = String(repeating: "█", count: done) + String(repeating: "░", count: width - done)
        terminal.write("\r\u{1B}[K" + String("\(bar) \(line)".prefix(max(columns - 1, 0))), .progress)
        isShown = true
        if metrics.validation != nil { endLine() }
    }

    /// Prints a message above the progress line.
    package func note(_ message: String) {
        terminal.write((isShown ? "\r\u{1B}[K" : "") + message + "\n")
        isShown = false
    }

    /// Leaves the last line standing.
    package func finish() {
        endLine()
        terminal.flush()
    }

    private func endLine() {
        if isShown { terminal.write("\n") }
        isShown = false
    }

    private func timeLeft(_ metrics: StepMetrics) -> String? {
        guard let now = metrics[.seconds] else { return nil }
        guard let first = firstStep else {
            firstStep = (metrics.step, now)
            return nil
        }
        return StepText.duration((now - first.seconds) / Double(max(metrics.step - first.step, 1)) * Double(text.totalSteps - metrics.step))
    }
}
