// `mneme score` as a user runs it.

import Foundation
import Testing

@Suite struct ScoreCommandMetricTests {
    /// What a run printed, and how it ended.
    private struct Outcome {
        let output: String
        let errors: String
        let exitCode: Int32

        /// The one JSON object that was printed.
        func json() throws -> [String: Any] {
            try #require(try JSONSerialization.jsonObject(with: Data(output.utf8)) as? [String: Any])
        }
    }

    /// Runs `mneme score` in a directory of its own that holds `files`.
    private func score(_ arguments: [String], files: [String: [UInt8]], standardInput: String = "") throws -> Outcome {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-score-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        for (name, bytes) in files { try Data(bytes).write(to: directory.appendingPathComponent(name)) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent().appendingPathComponent("mneme")
        process.arguments = ["score"] + arguments
        process.currentDirectoryURL = directory
        let (input, output, errors) = (Pipe(), Pipe(), Pipe())
        (process.standardInput, process.standardOutput, process.standardError) = (input, output, errors)
        try process.run()
        try input.fileHandleForWriting.write(contentsOf: Data(standardInput.utf8))
        try input.fileHandleForWriting.close()
        let printed = output.fileHandleForReading.readDataToEndOfFile()
        let complaints = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return Outcome(
            output: String(decoding: printed, as: UTF8.self), errors: String(decoding: complaints, as: UTF8.self),
            exitCode: process.terminationStatus)
    }

    private let files: [String: [UInt8]] = [
        "hyp": Array("The cat sat on the mat.\nIt rains.\n".utf8), "ref": Array("The cat sat on a mat.\nIt is raining.\n".utf8),
        "ref2": Array("On the mat sat the cat.\nit rains.".utf8),
    ]

    @Test func printsBLEUAsSacreBLEUDoes() throws {
        let outcome = try score(["bleu", "--references", "ref", "hyp"], files: files)
        let parts = "80.0/50.0/33.3/25.0 (BP = 0.905 ratio = 0.909 hyp_len = 10 ref_len = 11)"
        #expect(outcome.output == "BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:mneme = 38.66 \(parts)\n", "\(outcome)")
    }

    @Test func takesSeveralReferencesInEitherOrder() throws {
        let last = try score(["bleu", "--references", "ref", "ref2", "hyp", "--json"], files: files)
        let first = try score(["bleu", "hyp", "--json", "--references", "ref", "ref2"], files: files)
        #expect(last.exitCode == 0 && last.output == first.output)
        let object = try last.json()
        #expect(object["signature"] as? String == "nrefs:2|case:mixed|eff:no|tok:13a|smooth:exp|version:mneme")
        for key in ["name", "score", "precisions", "brevity_penalty", "hypothesis_length", "reference_length", "segments"] {
            #expect(object[key] != nil, "\(key)")
        }
    }

    @Test func settingsReachTheMetric() throws {
        let lower = try score(["bleu", "--references", "ref2", "--lowercase", "--tokenize", "none", "hyp"], files: files)
        #expect(lower.output.hasPrefix("BLEU|nrefs:1|case:lc|eff:no|tok:none|smooth:exp|version:mneme = "))
        let char = try score(["bleu", "--references", "ref2", "--tokenize", "char", "hyp"], files: files)
        #expect(char.output.contains("|tok:char|"))
        let chrf = try score(["chrf", "--references", "ref", "--word-order", "2", "--lowercase", "hyp"], files: files)
        #expect(chrf.output.hasPrefix("chrF2++|nrefs:1|case:lc|eff:yes|nc:6|nw:2|space:no|version:mneme = "))
        let json = try score(["chrf", "--references", "hyp", "--json", "hyp"], files: files).json()
        #expect(json["score"] as? Double == 100 && json["name"] as? String == "chrF2")
    }

    @Test func scoresSummariesWithSentenceSeparators() throws {
        let files = [
            "hyp": Array("a b c<q>d e f\n".utf8), "ref": Array("d e f<q>a b c\n".utf8), "runs": Array("he was running\n".utf8),
            "run": Array("he was runs\n".utf8),
        ]
        let split = try score(["rouge", "--references", "ref", "--sentence-separator", "<q>", "hyp"], files: files)
        #expect(split.output == """
            rouge1 = 100.00 (precision 100.00, recall 100.00)
            rouge2 = 80.00 (precision 80.00, recall 80.00)
            rougeL = 50.00 (precision 50.00, recall 50.00)
            rougeLsum = 100.00 (precision 100.00, recall 100.00)

            """)
        let stemmed = try score(["rouge", "--references", "run", "--json", "runs"], files: files).json()
        #expect((stemmed["rouge1"] as? [String: Double])?["f1"] == 1 && stemmed["documents"] as? Int == 1)
        let plain = try score(["rouge", "--references", "run", "--json", "--no-stemmer", "runs"], files: files).json()
        #expect(try #require((plain["rouge1"] as? [String: Double])?["f1"]) < 1 && plain["stemmer"] as? Bool == false)
        #expect(try score(["rouge", "--references", "run", "--stemmer", "--sentence-separator", "", "runs"], files: files).exitCode == 64)
    }

    @Test func scoresAnswers() throws {
        let files = [
            "data.json": Array(
                (#"{"data":[{"paragraphs":[{"qas":[{"id":"1","answers":[{"text":"the cat"}]},"#
                    + #"{"id":"2","answers":[]},{"id":"3","answers":[{"text":"x"}]}]}]}]}"#).utf8),
            "predictions.json": Array(#"{"1":"Cat.","2":""}"#.utf8), "broken.json": Array(#"{"1":2}"#.utf8),
        ]
        let outcome = try score(["squad", "--references", "data.json", "predictions.json"], files: files)
        #expect(outcome.output == "exact match = 66.67, F1 = 66.67 on 3 questions\n1 questions have no prediction and score 0\n")
        #expect(try score(["squad", "--references", "data.json", "predictions.json", "--json"], files: files).json()["unanswered"] as? Int == 1)
        let broken = try score(["squad", "--references", "data.json", "broken.json"], files: files)
        #expect(
            broken.exitCode == 65
                && broken.errors == "mneme: error: broken.json: this is not an object of question ids and answers: another type at 1\n")
    }

    @Test func readsStandardInput() throws {
        let outcome = try score(["bleu", "--references", "ref", "-"], files: files, standardInput: "The cat sat on a mat.\nIt is raining.\n")
        #expect(outcome.exitCode == 0 && outcome.output.contains(" = 100.00 "), "\(outcome)")
        #expect(try score(["bleu", "--references", "-", "-"], files: files).exitCode == 64)
    }

    @Test func mistakesEndInOneLineAndTheirExitCode() throws {
        var files = files
        files["short"] = Array("one line\n".utf8)
        files["latin"] = Array("ok\ncaf".utf8) + [0xE9, 0x0A]
        files["empty"] = []
        func expect(_ arguments: [String], _ exitCode: Int32, _ errors: String) throws {
            let outcome = try score(arguments, files: files)
            #expect(outcome.exitCode == exitCode && outcome.errors == "mneme: error: \(errors)\n", "\(outcome)")
        }
        try expect(["bleu", "--references", "short", "hyp"], 65, "short: 1 lines, but hyp has 2; give files that are aligned line by line")
        try expect(["bleu", "--references", "ref", "absent"], 66, "absent: there is no such file; check the path")
        try expect(["chrf", "--references", ".", "hyp"], 66, ".: is a directory where a file was expected; name a file")
        try expect(["rouge", "--references", "ref", "latin"], 65, "latin:2 (in the line that begins at byte 3): not UTF-8; convert the file to UTF-8")
        try expect(["bleu", "--references", "empty", "empty"], 65, "empty: there are no segments to score")
        #expect(try score(["bleu", "--references", "ref"], files: files).exitCode == 64)
        #expect(try score(["bleu", "--references", "ref", "hyp", "--tokenize", "zh"], files: files).exitCode == 64)
        #expect(try score(["chrf", "--references", "ref", "hyp", "--word-order", "9"], files: files).exitCode == 64)
    }
}
