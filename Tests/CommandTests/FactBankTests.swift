// Facts in a bank, as users keep them: trained, built, asked for, deleted, put, keyed again; and the same by heart.

import Foundation
import TestSupport
import Testing

@Suite("Facts in a bank") struct FactBankTests {
    private func runFile(_ directory: String, kind: String = "lookup", steps: Int, people: Int = 400, bank: Bool? = nil, more: String = "") throws -> String {
        let path = "\(directory)/people.yaml"
        let text = """
            run: \(directory)/run
            seed: 5
            steps: \(steps)
            task: {kind: biographies, people: \(people), examples: 20\(bank.map { ", bank: \($0)" } ?? "")}
            model: {kind: \(kind), layers: 2, width: 48, heads: 4, context: 24}
            batch: {lanes: 32, groups: 4}
            optimizer: {kind: adamw, learningRate: 5e-3, weightDecay: 0, clip: 1.0}
            schedule: {kind: cosine, warmup: 30}
            evaluation: {every: \(steps)}
            parallel: {threads: 1, reproducible: true}
            log: {every: 50}
            \(more)
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func evaluation(_ directory: String, _ options: String..., ranks: Int = 1) throws -> [String: Any] {
        let words = ["evaluate", "\(directory)/run", "--json"] + options
        if ranks == 1 { return try jsonObject(mneme(words).standardOutput) }
        let run = try MPIRun.run(ranks: ranks, executable: "mneme", arguments: words, timeout: 300)
        #expect(run.status == 0, "\(run.standardError)")
        return try jsonObject(run.standardOutput)
    }

    private func figure(_ object: [String: Any], _ name: String) throws -> Double { try #require(object[name] as? Double, "\(name) of \(object)") }

    @Test("facts are found, deleted ones are not, new ones are at once, and nothing else changes; another model's keys are refused")
    func lookup() throws {
        try withScratchDirectory { directory in
            try mneme(["train", runFile(directory, steps: 500, bank: false)])
            let bank = "\(directory)/run/banks/facts"
            // Without a bank the model's own keys are searched.
            let fresh = try evaluation(directory)
            #expect(fresh["bank"] == nil)
            #expect(try figure(fresh, "recall") >= 0.95)
            let built = try mneme(["memory", "build", bank, "\(directory)/run"]).standardOutput
            #expect(built.contains("2800 created"), "\(built)")
            #expect(try mneme(["memory", "build", bank, "\(directory)/run"]).standardOutput.contains("2800 unchanged"))

            let before = try evaluation(directory)
            #expect(before["bank_commit"] as? Int == 1)
            #expect(try figure(before, "recall") == figure(fresh, "recall"), "the bank's keys are the model's own")
            #expect(try figure(before, "questions_of_facts_in_the_bank") == 2800)
            for ranks in [2, 4] {
                let shared = try evaluation(directory, ranks: ranks)
                for name in ["recall", "recall_in_other_words", "loss", "bits_recalled"] {
                    #expect(try figure(shared, name) == figure(before, name), "\(name) on \(ranks) ranks")
                }
            }

            try mneme(["corpus", "simulate", "biographies", "--people", "0-9", "--seed", "5", "--output", "\(directory)/gone"])
            let records = try String(contentsOfFile: "\(directory)/gone/records.jsonl", encoding: .utf8).split(separator: "\n")
            let ids = try records.compactMap { try jsonObject(String($0))["id"] as? String }
            #expect(ids.count == 70)
            try mneme(["memory", "delete", bank] + ids + ["--namespace", "people"])
            let after = try evaluation(directory)
            #expect(try figure(after, "questions_of_facts_not_in_the_bank") == 70)
            #expect(try figure(after, "recall_of_facts_not_in_the_bank") < 0.35)
            #expect(try figure(after, "recall_of_facts_in_the_bank") >= figure(before, "recall") - 0.005)
            #expect(try figure(after, "loss") == figure(before, "loss"), "the text without facts is predicted as before, bit for bit")

            // What was deleted stays deleted for a build; people whom the model never saw come by an import, their keys from the model.
            #expect(try mneme(["memory", "build", bank, "\(directory)/run"]).standardOutput.contains("70 refused as deleted"))
            try mneme(["corpus", "simulate", "biographies", "--people", "400-409", "--seed", "5", "--output", "\(directory)/new"])
            try mneme(["memory", "import", bank, "\(directory)/new/records.jsonl"])
            let put = try evaluation(directory, "--people", "400-409")
            #expect(try figure(put, "questions_of_facts_in_the_bank") == 70)
            #expect(try figure(put, "recall") >= 0.9)

            // One fact, asked for in words.
            let lines = try String(contentsOfFile: "\(directory)/new/records.jsonl", encoding: .utf8).split(separator: "\n")
            let question = try jsonObject(String(lines[0]))
            let (text, value) = (try #require(question["key_text"] as? String), try #require(question["text"] as? String))
            let hits = try mneme(["memory", "search", bank, "--namespace", "people", "--text", text, "--count", "1"]).standardOutput
            #expect(hits.contains("\(text) -> \(value)"), "\(hits)")
            let wrong = try mneme(["memory", "search", bank, "--namespace", "people", "--text", "Nobody At All | major"], expecting: 65)
            #expect(wrong.standardError.contains("no first name"), "\(wrong.standardError)")
            let line = #"{"namespace": "people", "id": "x", "key_text": "who?", "text": "y"}"#
            try "\n\(line)\n".write(toFile: "\(directory)/bad.jsonl", atomically: true, encoding: .utf8)
            #expect(try mneme(["memory", "import", bank, "\(directory)/bad.jsonl"], expecting: 65).standardError.contains("bad.jsonl:2"))

            // The model learns on: its keys are others, and the bank's are refused until it has them.
            try mneme(["train", runFile(directory, steps: 520, bank: false)])
            let refused = try mneme(["evaluate", "\(directory)/run"], expecting: 78)
            #expect(refused.standardError.contains("another generation"), "\(refused.standardError)")
            try mneme(["memory", "rekey", bank])
            #expect(try figure(evaluation(directory), "recall_of_facts_in_the_bank") >= 0.9)
        }
    }

    @Test("a run keeps its bank: committed with the weights, back with them on another number of ranks, what people deleted stays deleted")
    func kept() throws {
        try withScratchDirectory { directory in
            func train(_ steps: Int, ranks: Int) throws {
                let file = try runFile(directory, steps: 400, more: "checkpoint: {every: 100, keep: 2}")
                let words = ["train", file, "--set", "steps=\(steps)", "--set", "schedule.kind=constant", "--set", "evaluation.every=never"]
                let run = try MPIRun.run(ranks: ranks, executable: "mneme", arguments: words, timeout: 300)
                #expect(run.status == 0, "\(run.standardError)")
            }
            let bank = "\(directory)/run/banks/facts"
            try train(200, ranks: 2)
            #expect(try figure(evaluation(directory), "questions_of_facts_in_the_bank") == 2800)
            let ids = try mneme(["memory", "list", bank, "--namespace", "people", "--json"]).standardOutput
            let records = try #require(try JSONSerialization.jsonObject(with: Data(ids.utf8)) as? [[String: Any]])
            let first = try #require(records.first?["id"] as? String)
            try mneme(["memory", "delete", bank, first, "--namespace", "people"])
            // Another number of ranks, no power of two: the keys follow the weights, the deletion holds.
            try train(300, ranks: 3)
            let after = try evaluation(directory)
            #expect(try figure(after, "questions_of_facts_in_the_bank") == 2799)
            #expect(try figure(after, "recall") > 0.5)
            // A checkpoint of before the deletion is taken up: its keys come back with its weights, the record does not.
            try FileManager.default.removeItem(atPath: "\(directory)/run/step-300")
            try train(400, ranks: 1)
            #expect(try figure(evaluation(directory), "questions_of_facts_in_the_bank") == 2799)
            let log = try mneme(["memory", "audit", bank]).standardOutput
            #expect(log.contains("delete") && log.contains("checkpoint of step 400"), "\(log)")
            // Segments that no checkpoint lists are gone: those of two checkpoints are left.
            let segments = try FileManager.default.contentsOfDirectory(atPath: "\(directory)/run/segments")
            #expect(segments.count <= 2 * 25, "\(segments.count) segments")
            // A new run begins with all facts.
            let file = try runFile(directory, steps: 40, more: "checkpoint: {every: 100, keep: 2}")
            try mneme(["train", file, "--fresh"])
            #expect(try figure(evaluation(directory), "questions_of_facts_in_the_bank") == 2800)
        }
    }

    @Test("which record is right is learned from answers alone, and what the bank says is answered at once")
    func answersAlone() throws {
        try withScratchDirectory { directory in
            let file = try runFile(directory, steps: 300, people: 1000, more: "checkpoint: {every: 300}")
            let settings = [
                "model.lookupLoss=sequence", "model.records=4", "model.keyWidth=128", "model.wordWeight=2", "model.width=32", "model.layers=1",
                "batch.lanes=8", "batch.groups=1", "optimizer.learningRate=1e-2", "evaluation.every=20", "log.every=20",
            ]
            try mneme(["train", file] + settings.flatMap { ["--set", $0] })
            // Before anything is learned the records of the person come first, in no order: one of seven is right.
            let lines = try String(contentsOfFile: "\(directory)/run/metrics.jsonl", encoding: .utf8).split(separator: "\n")
            let first = try jsonObject(String(lines[0]))
            #expect(try figure(first, "validation_record_first") < 0.35)
            // So short a run learns the attributes of one token, and not yet the date of three.
            let people = ["--people", "0-49"]
            let before = try evaluation(directory, people[0], people[1])
            #expect(try figure(before, "record_first") >= 0.55)
            #expect(try figure(before, "recall_birth_city") >= 0.4)
            #expect(try figure(before, "questions_of_facts_in_the_bank") == 350)
            let shared = try evaluation(directory, people[0], people[1], ranks: 2)
            for name in ["recall", "recall_in_other_words", "record_first", "record_found", "loss"] {
                #expect(try figure(shared, name) == figure(before, name), "\(name) on 2 ranks")
            }

            // Another value is answered at the next question, a deleted one is not, and a word that the model does not know is passed over.
            let bank = "\(directory)/run/banks/facts"
            try mneme(["corpus", "simulate", "biographies", "--people", "0-9", "--seed", "5", "--output", "\(directory)/known"])
            let known = try String(contentsOfFile: "\(directory)/known/records.jsonl", encoding: .utf8).split(separator: "\n")
            let records = try known.map { try jsonObject(String($0)) }
            let cities = records.filter { ($0["id"] as? String)?.hasSuffix("| birth city") == true }
            let texts = try cities.map { (try #require($0["id"] as? String), try #require($0["text"] as? String)) }
            /// The answer, and the record that is most like the question.
            func answer(_ asked: String) throws -> (value: String, record: String) {
                try "\(asked)\n".write(toFile: "\(directory)/question.txt", atomically: true, encoding: .utf8)
                let run = try mneme(["answer", "\(directory)/run", "\(directory)/question.txt", "--plain"])
                return (run.standardOutput.replacing("\(asked) ", with: "").trimmingCharacters(in: .whitespacesAndNewlines), run.standardError)
            }
            // People whose cities the model says: each comes from the next one's city.
            let said = try texts.filter { try answer($0.0).value == $0.1 }
            try #require(said.count >= 3)
            var followed = 0
            for number in 0..<3 {
                let (asked, old, other) = (said[number].0, said[number].1, said[(number + 1) % 3].1)
                #expect(try answer(asked).record.contains("\(asked) -> \(old)"))
                try mneme(["memory", "update", bank, asked, "--namespace", "people", "--text", other])
                let answered = try answer(asked)
                #expect(answered.record.contains("\(asked) -> \(other)"), "\(answered)")
                followed += answered.value == other ? 1 : 0
            }
            #expect(followed >= 2, "so short a run says most of what it reads")
            let asked = said[0].0
            try mneme(["memory", "update", bank, asked, "--namespace", "people", "--text", "Atlantis"])
            #expect(try !answer(asked).record.contains("\(asked) ->"))
            try mneme(["memory", "delete", bank, asked, "--namespace", "people"])
            let after = try evaluation(directory, people[0], people[1])
            #expect(try figure(after, "questions_of_facts_not_in_the_bank") == 1 && figure(after, "record_found") <= figure(before, "record_found"))
        }
    }

    @Test("by heart: bits are bounded by what there is, few people are learned, and nothing can be deleted")
    func byHeart() throws {
        try withScratchDirectory { directory in
            try mneme(["train", runFile(directory, kind: "decoder-only", steps: 600, people: 12)])
            let scores = try evaluation(directory)
            #expect(try figure(scores, "recall") >= 0.9)
            let bits = try figure(scores, "bits_per_person")
            #expect(bits > 30 && bits <= 47.6, "\(bits)")
            #expect(try figure(evaluation(directory, "--people", "12-31"), "recall") < 0.4, "people whom it never saw")
            #expect(try figure(evaluation(directory, "--people", "12-31"), "bits_per_person") < 5)
            let refused = try mneme(["memory", "build", "\(directory)/run/banks/facts", "\(directory)/run"], expecting: 78)
            #expect(refused.standardError.contains("looks no facts up"), "\(refused.standardError)")
            #expect(try mneme(["evaluate", "\(directory)/run", "--people", "9"], expecting: 64).standardError.contains("--people"))
            #expect(try mneme(["evaluate", "\(directory)/run", "--corpus", "x"], expecting: 64).standardError.contains("means nothing to biographies"))
        }
    }
}
