// metrics.jsonl: one JSON object for each logged step.

import Diagnostics
import Foundation
import Storage

/// The sink that programs read, and that a resume puts back to the checkpoint's step.
///
/// While the disk is full, lines wait in memory and are written as soon as there is room; the run goes on.
package final class MetricsFile: MetricSink {
    package static let name = "metrics.jsonl"
    /// The most bytes that wait for room on the disk; beyond them the oldest lines are lost.
    package static let mostWaitingBytes = 16 << 20

    private let file: AppendedFile
    private var waiting: [[UInt8]] = []
    private var waitingBytes = 0
    private var lostLines = 0
    /// Where the last line of the file begins.
    private var lastLineStart: Int?
    private var problem: String?
    private var isInTrouble = false
    private let mostWaiting: Int

    /// The last step of the file.
    package private(set) var last: StepMetrics?

    /// - Throws: `UserError` (.inputOutput) where the file cannot be opened.
    package init(directory: String, mostWaiting: Int = MetricsFile.mostWaitingBytes) throws {
        file = try AppendedFile("\(directory)/\(Self.name)")
        self.mostWaiting = mostWaiting
    }

    /// The last step of a directory's file; `nil` where there is none.
    static func lastStep(in directory: String) -> Int? {
        guard let bytes = try? DurableFile.read("\(directory)/\(name)") else { return nil }
        let lines = bytes.split(separator: UInt8(ascii: "\n"))
        return lines.reversed().lazy.prefix(2).compactMap { StepMetrics(line: Data($0))?.step }.first
    }

    package func record(_ metrics: StepMetrics) {
        guard let text = try? JSONText.line(metrics) else { return }
        let line = Array((text + "\n").utf8)
        if metrics.step == last?.step {
            if waiting.isEmpty, let start = lastLineStart {
                if let reason = file.replace(from: start, by: line) { keep(line, because: reason) }
                last = metrics
                return
            }
            waitingBytes -= waiting.popLast()?.count ?? 0
        }
        last = metrics
        keep(line, because: nil)
        writeWaiting()
    }

    /// Removes the lines of later steps, and a last line that a crash cut short. Costs the time to read what is removed.
    package func rewind(to step: Int) throws {
        writeWaiting()
        (last, lastLineStart) = (nil, nil)
        guard file.end > 0 else { return }
        let data = try Data(DurableFile.read(file.path))
        var end = data.endIndex
        while end > data.startIndex {
            let hasNewline = data[end - 1] == UInt8(ascii: "\n")
            let text = data[..<(hasNewline ? end - 1 : end)]
            let start = text.lastIndex(of: UInt8(ascii: "\n")).map { $0 + 1 } ?? data.startIndex
            if let metrics = StepMetrics(line: text[start...]), metrics.step <= step {
                (last, lastLineStart) = (metrics, start)
                try cut(to: end)
                if !hasNewline { _ = file.append([UInt8(ascii: "\n")]) }
                return
            }
            end = start
        }
        try cut(to: 0)
    }

    private func cut(to end: Int) throws {
        guard end < file.end else { return }
        try Failpoint.logRewind.pass(file.path)
        try file.cut(to: end)
    }

    package func synchronize() {
        writeWaiting()
        if let reason = file.synchronize() { report("\(file.path): cannot be synchronized: \(reason)") }
    }

    package func finish() {
        writeWaiting()
        if !waiting.isEmpty { lostLines += waiting.count }
        if lostLines > 0 { problem = "\(file.path): \(quantity(lostLines, "line")) could not be written and \(lostLines == 1 ? "is" : "are") lost" }
        (waiting, waitingBytes, lostLines) = ([], 0, 0)
    }

    package func takeProblem() -> String? {
        defer { problem = nil }
        return problem
    }

    private func keep(_ line: [UInt8], because reason: String?) {
        waiting.append(line)
        waitingBytes += line.count
        while waitingBytes > mostWaiting, waiting.count > 1 {
            waitingBytes -= waiting.removeFirst().count
            lostLines += 1
        }
        if let reason { report(Self.trouble(file.path, reason)) }
    }

    private func writeWaiting() {
        while let line = waiting.first {
            let start = file.end
            if let reason = Failpoint.logWrite.isHit ? "the failpoint says so" : file.append(line) { return report(Self.trouble(file.path, reason)) }
            lastLineStart = start
            waitingBytes -= line.count
            waiting.removeFirst()
        }
        isInTrouble = false
    }

    private static func trouble(_ path: String, _ reason: String) -> String {
        "\(path): cannot be written: \(reason); its lines wait in memory, and the run goes on"
    }

    /// Says it once until writing works again.
    private func report(_ what: String) {
        if !isInTrouble { problem = what }
        isInTrouble = true
    }
}
