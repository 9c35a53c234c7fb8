// Users who talk with a run: what each has said is remembered across sessions, by nobody else, until it is forgotten.

import Corpora
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing
import Training

@Suite struct ChatTests {
    /// A run that answers from facts, well trained.
    private func trained(_ directory: String) throws -> String {
        let path = "\(directory)/facts.yaml"
        let text = """
            run: \(directory)/run
            seed: 5
            steps: 500
            task: {kind: knowledge, source: generated, films: 150, weighting: count}
            model: {kind: key-value-memory-network, width: 64, hops: 2, deviation: 0.3}
            batch: {lanes: 32, groups: 4}
            optimizer: {kind: adamw, learningRate: 5e-3, weightDecay: 0, clip: 5.0}
            schedule: {kind: constant}
            evaluation: {every: never}
            parallel: {threads: 1, reproducible: true}
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        try mneme(["train", path])
        return "\(directory)/run"
    }

    @Test("a fact of turn 1 is recalled at turn 21 and after a restart, by its user alone; forgotten, it is in no file, and nobody recalls it")
    func profiles() throws {
        try withScratchDirectory { directory in
            let run = try trained(directory)
            let bank = "\(directory)/people"
            let made = SyntheticKnowledge(films: 150, heldOut: 0.2, seed: 5).facts
            func objects(_ relation: String) -> [String] { Array(Set(made.filter { $0.relation == relation }.map(\.object))).sorted() }
            let (directors, languages) = (objects("directed by"), objects("in language"))
            func chat(_ user: String, _ lines: [String]) throws -> [String] {
                let chat = try MPIRun.runAlone(
                    executable: "/bin/sh",
                    arguments: ["-c", "printf '%s\\n' \"$@\" | \"$0\" chat \(run) --bank \(bank) --user \(user) --json", MPIRun.productsFolder.appendingPathComponent("mneme").path] + lines)
                #expect(chat.status == 0, "\(chat.standardError)")
                return try chat.standardOutput.split(separator: "\n").map { try jsonObject(String($0))["answer"] as? String ?? "" }
            }
            let question = "who directed [My First Film]?"
            // Another user has said other things of the same name.
            for (user, place) in [("ada", 3), ("bob", 7)] {
                let others = (0..<19).map { "Film \($0) of \(user)|in language|\(languages[($0 * 3 + place) % languages.count])" }
                let answers = try chat(user, ["My First Film|directed by|\(directors[place])"] + others + [question])
                #expect(answers.count == 21 && answers.last == directors[place], "\(answers)")
            }
            for (user, place) in [("ada", 3), ("bob", 7)] {
                #expect(try chat(user, [question, "what language is [Film 4 of \(user)] in?"]) == [directors[place], languages[(12 + place) % languages.count]])
            }
            // Whoever has said nothing is told nothing, and gets no namespace by asking.
            #expect(try chat("eve", [question]) != [directors[3]])
            #expect(try mneme(["memory", "list", bank, "--namespaces"]).standardOutput == "ada: 20 records\nbob: 20 records\n")

            let preview = try mneme(["memory", "forget", bank, "--namespace", "ada"]).standardOutput
            let digest = try #require(preview.split(separator: " ").last).trimmingCharacters(in: .newlines)
            #expect(preview.contains("20 records would be forgotten"), "\(preview)")
            let proof = try mneme(["memory", "forget", bank, "--namespace", "ada", "--confirm", digest, "--reason", "asked to"]).standardOutput
            #expect(proof.contains("20 deleted") && proof.contains("proved: none of 40 texts and keys"), "\(proof)")
            for text in ["of ada", directors[3]] {
                let holders = (FileManager.default.enumerator(atPath: bank)?.allObjects as? [String] ?? []).filter { name in
                    (try? Data(contentsOf: URL(fileURLWithPath: "\(bank)/\(name)")))?.range(of: Data(text.utf8)) != nil
                }
                #expect(holders.isEmpty, "\(text) in \(holders)")
            }
            #expect(try chat("bob", [question]) == [directors[7]])
            #expect(try chat("ada", ["My First Film|directed by|\(directors[5])", question]).last == directors[5])
            #expect(try mneme(["memory", "list", bank, "--namespace", "ada"]).standardOutput.hasPrefix("ada/turn 21 version 1: "))
        }
    }

    @Test("several sessions of one bank lose nothing; what the run cannot read is said and not kept")
    func sessions() throws {
        try withScratchDirectory { directory in
            let bank = "\(directory)/people"
            let profiles = try (0..<4).map { try UserProfile(bank: bank, user: "user \($0 % 2)", SessionIdentity(environment: [:])) }
            for round in 0..<6 {
                for (number, profile) in profiles.enumerated() { try profile.remember("thing \(round) of session \(number)", source: "a test") }
            }
            for (number, profile) in profiles.enumerated() {
                #expect(try profile.count() == 12)
                #expect(try profile.recalled(by: "thing 3 of session \(number)", count: 1) == ["thing 3 of session \(number)"])
                let all = try profile.recalled(by: "thing", count: 50)
                #expect(all.count == 12 && all.first == "thing 0 of session \(number % 2)" && all.last == "thing 5 of session \(number % 2 + 2)")
            }
            try mneme(["memory", "create", "\(directory)/plain"])
            let refused = #expect(throws: (any Error).self) { _ = try UserProfile(bank: "\(directory)/plain", user: "ada", SessionIdentity(environment: [:])) }
            #expect("\(String(describing: refused))".contains("found by their words"))
        }
    }
}
