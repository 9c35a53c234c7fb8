// The keys of run files: all are declared, in one form, and the documentation lists them.

import Configuration
import Diagnostics
import Foundation
import Testing
import Training

@Suite("Keys of run files") struct RunFileKeyTests {
    private static let package = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL
    private static let keys = Result { try RunConfiguration.keys() }

    private static func runFiles() throws -> [String] {
        let folder = package.appending(path: "launch/runs").path
        return try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".yaml") }.sorted().map { "\(folder)/\($0)" }
    }

    @Test("every key is camelCase, says what it means in a sentence, and exists once under each condition")
    func form() throws {
        let keys = try Self.keys.get()
        #expect(keys.count > 150)
        for key in keys {
            #expect(key.name.wholeMatch(of: /[a-z][A-Za-z]*(\.[a-z][A-Za-z]*)*/) != nil, "\(key.name)")
            #expect(key.meaning.wholeMatch(of: /[A-Z0-9][^|]+\./) != nil, "\(key.name): \(key.meaning)")
            #expect(keys.count { $0.name == key.name && $0.conditions == key.conditions } == 1, "\(key.name) \(key.conditionPhrase)")
        }
    }

    @Test("every word of a choice leads to its keys")
    func kinds() throws {
        let keys = try Self.keys.get()
        func phrases(_ name: String) -> [String] { keys.filter { $0.name == name }.map(\.conditionPhrase) }
        #expect(phrases("optimizer.nesterov") == ["optimizer.kind is sgd"])
        #expect(phrases("schedule.patience") == ["schedule.kind is plateau"])
        #expect(phrases("corpus.shards") == ["task.kind is language"])
        #expect(phrases("batch.length") == ["task.kind is language"])
        #expect(phrases("task.films") == ["task.source is generated"])
        #expect(phrases("task.negatives") == ["task.candidates is sampled"])
        #expect(phrases("model.forgetBias") == ["model.kind is elman, lstm, gru or gru-reset-before"])
        #expect(phrases("model.controller.activation") == ["model.controller.kind is not lstm"])
        #expect(phrases("batch.lanes") == [""])
        let kinds = try #require(keys.first { $0.name == "task.kind" })
        #expect(kinds.choices == TaskKind.allCases.map(\.rawValue) && kinds.defaultValue == "language")
    }

    @Test("what a run file reads is in the list, under conditions that hold")
    func runFilesAreCovered() throws {
        let keys = try Self.keys.get()
        let files = try Self.runFiles()
        #expect(files.count >= 30)
        for file in files {
            let text = try String(contentsOfFile: file, encoding: .utf8).replacing("$MNEME_DATA", with: "/nowhere")
            let values = try RunConfiguration(yaml: text, file: file).values
            let words = Dictionary(uniqueKeysWithValues: values.map { ($0.name, $0.value) })
            for value in values {
                let isListed = keys.contains { key in
                    key.name == value.name && key.meaning == value.key.meaning && key.onResume == value.key.onResume
                        && key.conditions.allSatisfy { words[$0.key].map($0.words.contains) ?? false }
                }
                #expect(isListed, "\(file): \(value.name)")
            }
        }
    }

    @Test("the page of the documentation is what mneme train --keys --markdown prints")
    func page() throws {
        let path = Self.package.appending(path: "Sources/Training/Training.docc/RunFileKeys.md")
        #expect(
            try String(contentsOf: path, encoding: .utf8) == ConfigurationKeyList(Self.keys.get()).markdown,
            "write it anew: mneme train --keys --markdown > Sources/Training/Training.docc/RunFileKeys.md")
    }

    @Test(
        "what a session that resumes does when a key differs",
        arguments: [
            (ResumeRule.free, "run steps checkpoint.every checkpoint.keep evaluation.every log.every parallel.threads model.recompute"),
            (.noted, "optimizer.learningRate optimizer.clip schedule.kind schedule.warmup model.dropout corpus.shards corpus.validation"),
            (.refused, "seed batch.lanes batch.length batch.groups model.kind model.width task.kind corpus.order optimizer.kind precision"),
        ])
    func resume(_ rule: ResumeRule, _ names: String) throws {
        for name in names.split(separator: " ") {
            let rules = Set(try Self.keys.get().filter { $0.name == name }.map(\.onResume))
            #expect(rules == [rule], "\(name)")
        }
    }
}

@Suite("Run files") struct RunFileTests {
    private func configuration(_ lines: String...) throws -> RunConfiguration {
        let standard = "steps: 5\ntask: {kind: copy}\nmodel: {kind: lstm, width: 4}\nbatch: {lanes: 4}\n"
        return try RunConfiguration(yaml: standard + lines.map { $0 + "\n" }.joined(), file: "x.yaml")
    }

    private func message(_ lines: String...) -> String {
        let error = #expect(throws: UserError.self) { try configuration(lines.joined(separator: "\n")) }
        #expect(error?.exitCode == .configuration)
        return error?.description ?? ""
    }

    @Test(
        "a run that would not have a directory of its own is refused",
        arguments: [".", "..", "./", "../", "a/..", "a/../", "/..", "/", "//", "a/.", "\"\""])
    func directory(_ run: String) { #expect(message("run: \(run)").hasPrefix("x.yaml:5: 'run' is ")) }

    @Test("a character that no path can hold is refused")
    func directoryCharacter() { #expect(message("run: \"a\\0b\"").hasPrefix("x.yaml:5: 'run' holds a character")) }

    @Test("other names are directories", arguments: [("mine", "checkpoints/mine"), ("../a", "../a"), ("..a", "checkpoints/..a"), ("/x/y", "/x/y")])
    func otherDirectories(_ run: String, _ directory: String) throws { #expect(try configuration("run: \(run)").directory == directory) }

    @Test("the old spelling of checkNumerics is read, with a notice")
    func earlierSpelling() throws {
        let old = try configuration("check_numerics: true")
        #expect(old.checkNumerics && old.notices == ["x.yaml:5: 'check_numerics' is now spelled 'checkNumerics'"])
        #expect(old.resolvedYAML.contains("checkNumerics: true\n") && !old.resolvedYAML.contains("check_numerics"))
        let new = try configuration("checkNumerics: true")
        #expect(new.checkNumerics && new.notices.isEmpty && new.resolvedYAML == old.resolvedYAML)
    }

    @Test("signals are named with or without SIG; one that cannot ask, and a list without USR1, are errors")
    func signals() throws {
        #expect(try configuration().stopSignals == StopSignal.usual)
        #expect(try configuration("signals: [USR1, SIGALRM]").stopSignals == [.user1, .alarm])
        #expect(message("signals: [KILL]").hasPrefix("x.yaml:5: 'signals' has 'KILL'"))
        #expect(message("signals: [TERM]").hasPrefix("x.yaml:5: 'signals' does not have USR1"))
    }

    @Test("a run without a section task is one of language; a section task names its kind")
    func language() throws {
        let text = "steps: 5\nmodel: {kind: lstm, width: 4}\nbatch: {lanes: 4}\ncorpus: {shards: text}\n"
        let run = try RunConfiguration(yaml: text, file: "x.yaml")
        #expect(run.task is LanguageTaskSettings && run.batch.length == 1024)
        #expect(try RunConfiguration(yaml: text + "task: {kind: language}\n", file: "x.yaml").resolvedYAML == run.resolvedYAML)
        #expect(throws: UserError.self) { try RunConfiguration(yaml: text + "task: {}\n", file: "x.yaml") }
        #expect(try configuration().batch.length == 0)
    }

    @Test("an unknown key says where it is one")
    func otherKinds() {
        #expect(message("optimizer: {momentum: 0.9}") == "x.yaml:5: unknown key 'optimizer.momentum'; it is a key where optimizer.kind is sgd or rmsprop")
    }
}
