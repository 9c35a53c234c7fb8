// What becomes of a command when the reader of what it prints stops reading, or goes away.

import Foundation
import TestSupport
import Testing

@Suite struct ReaderTests {
    /// A run of many short steps, each of them logged: more text than a pipe holds.
    private func runFile(_ directory: String, steps: Int) throws -> String {
        let path = "\(directory)/run.yaml"
        try """
            run: \(directory)/run
            steps: \(steps)
            task: {kind: copy, bits: 2, lengths: [1, 2]}
            model: {kind: lstm, width: 4}
            batch: {lanes: 2}
            parallel: {threads: 1}
            checkpoint: {every: \(steps)}
            evaluation: {every: never}
            log: {every: 1}
            """.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func shell(_ script: String, _ arguments: String...) throws -> FinishedRun {
        let program = MPIRun.productsFolder.appending(path: "mneme").path
        return try MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["bash", "-uc", script, program] + arguments)
    }

    @Test("a reader of standard error who stops reading does not stop the training")
    func stuckReader() throws {
        try withScratchDirectory { directory in
            let file = try runFile(directory, steps: 2000)
            let run = try shell(
                """
                mkfifo "$2/pipe"
                sleep 600 <"$2/pipe" &
                "$0" train "$1" 2>"$2/pipe"
                status=$?
                kill $!
                exit $status
                """, file, directory)
            #expect(run.status == 0 && !run.isTimedOut)
            let metrics = try String(contentsOfFile: "\(directory)/run/metrics.jsonl", encoding: .utf8)
            #expect(metrics.split(separator: "\n").count == 2000)
        }
    }

    @Test("a reader of standard error who goes away does not end the training")
    func goneReader() throws {
        try withScratchDirectory { directory in
            let file = try runFile(directory, steps: 300)
            let run = try shell("\"$0\" train \"$1\" 2>&1 | head -n 1; exit ${PIPESTATUS[0]}", file)
            #expect(run.status == 0)
            #expect(run.standardOutput.hasPrefix("run \(directory)/run: 1 rank"))
            #expect(FileManager.default.fileExists(atPath: "\(directory)/run/step-300"))
        }
    }

    @Test("a filter ends quietly when its reader goes away, even where a parent ignores SIGPIPE", arguments: ["", "trap '' PIPE;"])
    func filters(trap: String) throws {
        try withScratchDirectory { directory in
            try "some words and some more\n".write(toFile: "\(directory)/text", atomically: true, encoding: .utf8)
            let model = "\(directory)/text.model"
            try mneme(["tokenizer", "train", "--kind", "char", "--output", model, "\(directory)/text"])
            let run = try shell("\(trap) yes some words 2>/dev/null | \"$0\" tokenizer encode \"$1\" | head -n 1; exit ${PIPESTATUS[1]}", model)
            #expect(run.status == 141 && !run.isTimedOut && run.standardError == "", "\(run.status) \(run.standardError)")
            #expect(run.standardOutput.split(separator: "\n").count == 1)
        }
    }
}
