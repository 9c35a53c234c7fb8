// The facts of a knowledge run in their bank: keys and ids, edits, conversion of what earlier versions left, any number of ranks.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Memory
import MemoryBanks
import Storage
import Tensors
import TestSupport
import Testing
import Training

@Suite struct KnowledgeBankTests {
    private func edit(_ reason: String = "") -> BankEdit { BankEdit(time: 1_700_000_000, author: "a test", reason: reason) }

    private let someone = SessionIdentity(environment: [:])

    /// A run directory with the facts of a file that an earlier version has left.
    private func withRun(
        _ file: String = FormerFiles.edited, folded: Bool = false, spare: Int = 3, layout: KnowledgeLayout = .triple, _ body: (String) throws -> Void
    ) throws {
        try withScratchDirectory { directory in
            let vocabulary = SymbolVocabulary(
                words: ["who"], relations: ["directed by", "starred actors", "release year"],
                entities: ["Kismet", "Gigi", "William Dieterle", "Ronald Colman", "Marlene Dietrich", "1944", "1958"], spareCount: spare,
                foldsCase: folded)
            let rules = MemoryRules(layout: layout)
            let symbols = KnowledgeFile(vocabulary, SymbolFrequencies(symbolCount: rules.tableRows(vocabulary)), rules)
            try DurableFile.replace("\(directory)/\(KnowledgeFile.name)", by: symbols.bytes())
            try DurableFile.replace("\(directory)/\(FormerFacts.fileName)", by: Array(file.utf8))
            try body(directory)
        }
    }

    private func refused(_ code: ExitCode, _ text: String, _ body: () throws -> Void) {
        let error = #expect(throws: UserError.self) { try body() }
        #expect(error?.exitCode == code && error?.description.contains(text) == true, "\(error?.description ?? "no error")")
    }

    // MARK: Facts as records

    @Test("a key text says subject and relation, whatever characters they have; typed ones are read too")
    func keyTexts() {
        let names = ["Kismet", "a | b", "|", "\\", "a\\", " b ", "\\|", "schön", "\r\n", "e\u{301}", "x|", "| y"]
        for subject in names {
            for relation in names.map(Optional.some) + [nil] {
                var record = BankRecord(id: "x", namespace: "facts", value: .text("o"))
                record.keyText = KnowledgeBank.keyText(subject, relation)
                let fact = KnowledgeBank.fact(record)
                #expect(Array(fact.subject.utf8) == Array(subject.utf8) && fact.relation.map { Array($0.utf8) } == relation.map { Array($0.utf8) })
            }
        }
        for (text, subject, relation) in [("Kismet | directed by", "Kismet", "directed by"), ("Kismet|in|out", "Kismet", "in|out"), ("A title", "A title", nil)] {
            var record = BankRecord(id: "x", namespace: "facts", value: .text("o"))
            record.keyText = text
            #expect(KnowledgeBank.fact(record) == KnowledgeFact(subject, relation, "o"))
        }
    }

    @Test("ids are key texts with numbers, or their hashes; records come back in the order of their keys and numbers")
    func ids() throws {
        let long = String(repeating: "long ", count: 120)
        let facts =
            [KnowledgeFact("Kismet #2", nil, "Another film."), KnowledgeFact(long, "in", "x"), KnowledgeFact("a\tb", "in", "x"), KnowledgeFact("", nil, "x")]
            + (1...12).map { KnowledgeFact("Kismet", nil, "Sentence \($0).") } + [KnowledgeFact("Kismet", "in", "English"), KnowledgeFact(long, "in", "y")]
        let records = KnowledgeBank.records(of: facts)
        #expect(Set(records.map(\.id)).count == facts.count)
        // The number 2 of one title is another title's name.
        #expect(records[4...6].map(\.id) == ["Kismet", "Kismet #3", "Kismet #4"] && records[16].id == "Kismet | in")
        #expect(records[17].id == records[1].id + " #2" && records[1].id.utf8.count == 16 && records.map(\.source) == facts.map(\.subject))
        let entries = KnowledgeBank.entries(records.shuffled())
        #expect(entries.filter { $0.fact.subject == "Kismet" && $0.fact.relation == nil }.map(\.fact.object) == (1...12).map { "Sentence \($0)." })
        #expect(Set(entries.map(\.fact)) == Set(facts))
        try withScratchDirectory { directory in
            try MemoryBank.create(directory, KnowledgeBank.rules)
            let bank = try MemoryBank(directory, .editing(someone))
            #expect(try bank.append(records, edit()).created == facts.count)
            bank.close()
        }
    }

    @Test("what an earlier version left becomes a bank in one commit, the same on one, two and three ranks, and the file is set aside")
    func converted() throws {
        var digests: Set<String> = []
        for ranks in 1...3 { try withRun { directory in
            let held = KnowledgeBank.entries(KnowledgeBank.records(of: FormerFiles.factsOfEdited)).map(\.fact)
            // Read as it is, and left as it is.
            let before = try KnowledgeBank(runDirectory: directory)
            #expect(before.facts == held && Directory.exists("\(directory)/banks") == nil)
            let path = "\(directory)/banks/facts"
            _ = try LoopbackCommunicator.run(size: ranks) { communicator in
                let bank = try MemoryBank.openedOrMade(
                    path, KnowledgeBank.rules, generation: nil, SessionIdentity(environment: [:]), communicator: communicator)
                defer { bank.close() }
                try KnowledgeBank.fill(bank, ofRun: directory, [KnowledgeFact("of the", "task", "data")], BankEdit(step: 3, time: 1, author: "a test"))
            }
            let after = try KnowledgeBank(runDirectory: directory)
            #expect(after.facts == held && after.notes.isEmpty)
            let bank = try MemoryBank(path)
            #expect(bank.receipts.map(\.created) == [4])
            digests.insert(bank.contentDigest)
            #expect(Directory.exists("\(directory)/\(FormerFacts.fileName)") == nil)
            #expect(try DurableFile.read("\(directory)/\(FormerFacts.convertedName)") == Array(FormerFiles.edited.utf8))
        } }
        #expect(digests.count == 1)
    }

    @Test("an edit converts first; a conversion that was cut short is done again, and one whose file was not set aside yet is finished")
    func convertedByAnEdit() throws {
        try withRun { directory in
            // A bank that was made and not filled is none yet.
            try MemoryBank.create("\(directory)/banks/facts", KnowledgeBank.rules)
            #expect(try KnowledgeBank(runDirectory: directory).facts.count == 4)
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            #expect(bank.notes.count == 1 && bank.notes[0].contains("facts.memory.converted"))
            #expect(try bank.put(KnowledgeFact("Gigi", "release year", "1958"), edit()).commit == 2)
            bank.close()
            try Directory.rename("\(directory)/facts.memory.converted", to: "\(directory)/facts.memory")
            #expect(try KnowledgeBank(runDirectory: directory).facts.count == 5, "the bank, not the file")
            let again = try KnowledgeBank(runDirectory: directory, editing: someone)
            #expect(again.facts.count == 5 && Directory.exists("\(directory)/facts.memory") == nil)
            again.close()
            // A file that is damaged is neither converted nor set aside.
        }
        try withRun(FormerFiles.edited.replacing("1943", with: "1843")) { directory in
            for identity in [nil, someone] {
                refused(.badData, "does not fit its checksum") { _ = try KnowledgeBank(runDirectory: directory, editing: identity) }
            }
            #expect(Directory.exists("\(directory)/facts.memory") == .file)
            try Directory.remove("\(directory)/facts.memory")
            refused(.missingInput, "keeps no facts yet") { _ = try KnowledgeBank(runDirectory: directory) }
        }
        try withScratchDirectory { directory in
            refused(.missingInput, "keeps no facts;") { _ = try KnowledgeBank(runDirectory: directory) }
        }
        try withRun { directory in
            try MemoryBank.create("\(directory)/banks/facts", BankConfiguration(value: .tokens))
            refused(.configuration, "is no bank of facts") { _ = try KnowledgeBank(runDirectory: directory, editing: someone) }
        }
    }

    // MARK: Edits

    @Test("put, replace and delete are commits with versions, which are audited, expected, reverted and purged; numbers do not come again")
    func edits() throws {
        try withRun { directory in
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            func actors() -> [String] { bank.held("Kismet", "starred actors").map { "\($0.record.id) v\($0.record.version): \($0.fact.object)" } }
            #expect(actors() == ["Kismet | starred actors v1: Marlene Dietrich", "Kismet | starred actors #2 v1: A\\B"])
            #expect(try bank.put(KnowledgeFact("Kismet", "starred actors", "A\\B"), edit()).changesNothing)
            #expect(try bank.put(KnowledgeFact("Kismet", "starred actors", "Ronald Colman"), expecting: 0, edit()).created == 1)
            #expect(actors().last == "Kismet | starred actors #3 v1: Ronald Colman")
            // One of several goes; its number is not given again.
            #expect(try bank.delete(subject: "Kismet", relation: "starred actors", object: "A\\B", edit())?.deleted == 1)
            #expect(try bank.put(KnowledgeFact("Kismet", "starred actors", "A\\B"), edit()).created == 1)
            #expect(actors().map { $0.prefix(30) } == ["Kismet | starred actors v1: Ma", "Kismet | starred actors #3 v1:", "Kismet | starred actors #4 v1:"])

            // One object in the place of three, in one commit, and back.
            let replaced = try bank.replace(by: KnowledgeFact("Kismet", "starred actors", "1958"), edit("wrong film"))
            #expect(replaced.changed == 1 && replaced.deleted == 2 && replaced.reason == "wrong film")
            #expect(actors() == ["Kismet | starred actors v2: 1958"])
            refused(.badData, "has moved on") { _ = try bank.replace(by: KnowledgeFact("Kismet", "starred actors", "Gigi"), expecting: 1, edit()) }
            #expect(try bank.replace(by: KnowledgeFact("Kismet", "starred actors", "1958"), expecting: 2, edit()).changesNothing)
            #expect(bank.entries(subject: "Kismet").count == 3 && bank.entries(relation: "release year").map(\.fact.object) == ["1944"])
            // One of those that are there stays, the others go.
            _ = try bank.put(KnowledgeFact("Kismet", "starred actors", "Ronald Colman"), edit())
            let narrowed = try bank.replace(by: KnowledgeFact("Kismet", "starred actors", "Ronald Colman"), edit())
            #expect(narrowed.changed == 0 && narrowed.deleted == 1 && !narrowed.changesNothing && actors().map { $0.suffix(13) } == ["Ronald Colman"])
            #expect(try bank.delete(subject: "Kismet", relation: "release year", expecting: 1, edit())?.deleted == 1)
            #expect(try bank.delete(subject: "Kismet", relation: "release year", edit()) == nil)
            #expect(try bank.replace(by: KnowledgeFact("Kismet", "release year", "1958"), edit()).created == 1)
            bank.close()

            let store = try MemoryBank("\(directory)/banks/facts", .editing(someone))
            _ = try store.revert(narrowed.commit, edit())
            _ = try store.compact(edit())
            store.close()
            let after = try KnowledgeBank(runDirectory: directory)
            #expect(after.held("Kismet", "starred actors").map(\.fact.object) == ["1958", "Ronald Colman"])
            #expect(after.facts.count == 4)
        }
        try withRun { directory in
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            let replaced = try bank.replace(by: KnowledgeFact("Kismet", "starred actors", "Gigi"), edit())
            bank.close()
            #expect(try KnowledgeBank(runDirectory: directory).facts.count == 3)
            let store = try MemoryBank("\(directory)/banks/facts", .editing(someone))
            _ = try store.revert(replaced.commit, edit())
            store.close()
            let back = try KnowledgeBank(runDirectory: directory).held("Kismet", "starred actors")
            #expect(back.map(\.fact.object) == ["Marlene Dietrich", "A\\B"] && back[0].record.version == 3)
        }
    }

    @Test("names are compared by the run's rule for cases, and spelled as the run spells them")
    func foldedCase() throws {
        try withRun(folded: true) { directory in
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            defer { bank.close() }
            #expect(bank.held("KISMET", "directed by").count == 1)
            #expect(try bank.put(KnowledgeFact("kismet", "directed by", "william dieterle"), edit()).changesNothing)
            #expect(try bank.put(KnowledgeFact("kismet", "directed by", "ronald colman"), edit()).created == 1)
            #expect(bank.held("Kismet", "directed by").map(\.fact.object) == ["William Dieterle", "Ronald Colman"])
        }
    }

    @Test("what the run would not read is refused, one editor at a time edits, readers read on")
    func refusals() throws {
        try withRun(spare: 1) { directory in
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            refused(.usage, "does not know the relation 'painted by'; use one of directed by") {
                _ = try bank.put(KnowledgeFact("Kismet", "painted by", "Gigi"), edit())
            }
            refused(.usage, "would not read a sentence") { _ = try bank.put(KnowledgeFact("Kismet", nil, "A film."), edit()) }
            refused(.usage, "the object of the fact is empty") { _ = try bank.put(KnowledgeFact("Kismet", "directed by", " "), edit()) }
            refused(.usage, "the subject of the fact is empty or holds a control") { _ = try bank.put(KnowledgeFact("a\u{1f}b", "directed by", "Gigi"), edit()) }
            // The place is A\B's.
            refused(.usage, "'Somebody' is new, and the 1 places") { _ = try bank.put(KnowledgeFact("Kismet", "directed by", "Somebody"), edit()) }
            #expect(try KnowledgeBank(runDirectory: directory).facts == bank.facts)
            refused(.unavailable, "session edits this bank") {
                _ = try KnowledgeBank(runDirectory: directory, editing: SessionIdentity(environment: ["SLURM_JOB_ID": "7"]))
            }
            bank.close()
        }
        try withRun(layout: .sentence) { directory in
            let bank = try KnowledgeBank(runDirectory: directory, editing: someone)
            defer { bank.close() }
            #expect(try bank.put(KnowledgeFact("Kismet", nil, "William Dieterle made it."), edit()).created == 1)
            #expect(bank.held("Kismet", nil).map(\.record.id) == ["Kismet"])
        }
    }

    // MARK: Runs

    /// Trains a run on some ranks up to a step; what ranks report goes to `report`.
    private func train(_ directory: String, steps: Int, ranks: Int, fresh: Bool = false, report: @escaping @Sendable (String) -> Void = { _ in }) throws {
        let yaml = """
            run: \(directory)
            seed: 5
            steps: \(steps)
            task: {kind: knowledge, source: generated, films: 20}
            model: {kind: key-value-memory-network, width: 16, hops: 1}
            batch: {lanes: 12, groups: 4}
            optimizer: {kind: adamw, learningRate: 5e-3}
            schedule: {kind: constant}
            evaluation: {every: never}
            checkpoint: {every: 4, keep: 3}
            parallel: {threads: 1, reproducible: true}

            """
        let file = "\(directory).yaml"
        try yaml.write(toFile: file, atomically: true, encoding: .utf8)
        let configuration = try RunConfiguration(contentsOf: file)
        _ = try LoopbackCommunicator.run(size: ranks) { (communicator: LoopbackCommunicator) throws -> TrainingOutcome in
            var surroundings = SessionSurroundings()
            surroundings.ownsProcess = false
            if communicator.rank == 0 { surroundings.report = report } else { surroundings.report = { _ in } }
            return try Trainer.train(configuration, communicator: communicator, fresh: fresh, surroundings: surroundings)
        }
    }

    @Test("a run goes on from one rank on two and on three with its facts as people have left them, and ends with the bits of one rank")
    func resumed() throws {
        try withScratchDirectory { scratch in
            var digests: Set<String> = []
            for ranks in [[1, 1, 1], [1, 2, 3], [3, 2, 1]] {
                let directory = "\(scratch)/run-\(ranks.map(String.init).joined())"
                try train(directory, steps: 4, ranks: ranks[0])
                let made = SyntheticKnowledge(films: 20, heldOut: 0.2, seed: 5).facts
                #expect(try Set(KnowledgeBank(runDirectory: directory).facts) == Set(made))
                let (changed, deleted) = (made[3], made[17])
                func edited(_ body: (KnowledgeBank) throws -> Void) throws {
                    let bank = try KnowledgeBank(runDirectory: directory, editing: SessionIdentity(environment: [:]))
                    defer { bank.close() }
                    try body(bank)
                }
                try edited { _ = try $0.replace(by: KnowledgeFact(changed.subject, changed.relation, "Hollow Years"), edit()) }
                let tries = Tries()
                try train(directory, steps: 8, ranks: ranks[1]) { line in
                    guard line.hasPrefix("resuming at step 4 from") else { return }
                    // While a session trains, an edit is refused: none can be lost.
                    tries.add(Result { try KnowledgeBank(runDirectory: directory, editing: SessionIdentity(environment: [:])).close() })
                }
                #expect(tries.codes == [.unavailable])
                try edited { bank in
                    let receipt = try bank.delete(subject: deleted.subject, relation: deleted.relation, edit())
                    #expect(receipt?.deleted == 1)
                }
                // A checkpoint of before the deletion is taken up.
                try FileManager.default.removeItem(atPath: "\(directory)/step-8")
                try train(directory, steps: 12, ranks: ranks[2])
                let bank = try KnowledgeBank(runDirectory: directory)
                #expect(bank.facts.count == made.count - 1 && bank.held(changed.subject, changed.relation).map(\.fact.object) == ["Hollow Years"])
                let run = try LoadedRun(directory: directory)
                #expect(run.step == 12)
                let store = try MemoryBank("\(directory)/banks/facts")
                let records = store.localRecords(BankFilter(.all)).map { "\($0.id) \($0.version) \($0.commit) \($0.value)" }
                let sums = run.task.model.store.parameters.map { parameter -> Float in
                    var sum: Float = 0
                    for place in 0..<parameter.shape.count { sum += parameter.value.floats[place] }
                    return sum
                }
                digests.insert("\(records) \(sums)")
            }
            #expect(digests.count == 1)
            // A new run begins with the facts of its data.
            try train("\(scratch)/run-111", steps: 4, ranks: 1, fresh: true)
            #expect(try KnowledgeBank(runDirectory: "\(scratch)/run-111").facts.count == 100)
        }
    }

    /// What came of tries to edit, from whichever thread.
    private final class Tries: @unchecked Sendable {
        private let lock = NSLock()
        private(set) var codes: [ExitCode?] = []

        func add(_ result: Result<Void, any Error>) {
            lock.withLock {
                if case .failure(let error) = result { codes.append((error as? UserError)?.exitCode) } else { codes.append(nil) }
            }
        }
    }

    @Test("soft addressing tends to exact look-up as its strength rises")
    func limit() throws {
        // Keys are one-hot, as exact keys are: the score of a key is 1 where it is the query and 0 elsewhere.
        let count = 6
        let exact = Dictionary(uniqueKeysWithValues: (0..<count).map { ($0, Float(10 * $0)) })
        let keys = Tensor((0..<count * count).map { Float($0 / count == $0 % count ? 1 : 0) }, [count, count])
        // The number that a key leads to, in the first column.
        let values = Tensor((0..<count * count).map { $0 % count == 0 ? Float(10 * ($0 / count)) : 0 }, [count, count])
        for wanted in 0..<count {
            let query = Tensor((0..<count).map { Float($0 == wanted ? 1 : 0) }, [1, count])
            let exact = try #require(exact[wanted])
            var (last, distances): (Float, [Float]) = (.infinity, [])
            for strength: Float in [0, 2, 4, 8, 16, 32] {
                let reading = readKeyValues(query, keys: keys, values: values, facts: Segments(starts: [0, Int32(count)]), strength: strength)
                // A softmax gives every other key e^-strength times as much: never exactly 0.
                let expected = (exact + (25 * 6 - exact) * exp(-strength)) / (1 + Float(count - 1) * exp(-strength))
                #expect(abs(reading.values.floats[0] - expected) < 1e-3)
                distances.append(abs(reading.values.floats[0] - exact))
                #expect(distances[distances.count - 1] <= last)
                last = distances[distances.count - 1]
            }
            #expect(last < 1e-6 * max(exact, 1) + 1e-6)
        }
    }
}
