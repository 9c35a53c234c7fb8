// Runs of a knowledge task, as users run them: training, answers that follow the memory, commands that change it, crashes in between.

import Corpora
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing
import Training

@Suite struct KnowledgeRunTests {
    /// A run file for generated films.
    private func runFile(
        _ directory: String, films: Int = 150, steps: Int, task: String = "", model: String = "width: 48, hops: 2", more: String = ""
    ) throws -> String {
        let path = "\(directory)/knowledge.yaml"
        let text = """
            run: \(directory)/run
            seed: 5
            steps: \(steps)
            task: {kind: knowledge, source: generated, films: \(films)\(task)}
            model: {kind: key-value-memory-network, \(model)}
            batch: {lanes: 32, groups: 4}
            optimizer: {kind: adamw, learningRate: 5e-3, weightDecay: 0, clip: 5.0}
            schedule: {kind: constant}
            evaluation: {every: never}
            parallel: {threads: 1, reproducible: true}
            log: {every: 10}
            \(more)
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    private func evaluation(_ directory: String) throws -> [String: Any] {
        try jsonObject(mneme(["evaluate", "\(directory)/run", "--json"]).standardOutput)
    }

    private func hits(_ directory: String) throws -> Double { try #require(evaluation(directory)["hits_at_1"] as? Double) }

    /// Edits the facts of the run.
    private func edited(_ directory: String, _ body: (KnowledgeBank, BankEdit) throws -> Void) throws {
        let bank = try KnowledgeBank(runDirectory: "\(directory)/run", editing: SessionIdentity(environment: [:]))
        defer { bank.close() }
        try body(bank, BankEdit(time: 1_700_000_000, author: "a test"))
    }

    @Test("held-out pairs are answered; without their facts the answers fall to chance, and with other facts they follow; 100 edited facts are 100 other answers")
    func answersFollowTheMemory() throws {
        try withScratchDirectory { directory in
            try mneme(["train", runFile(directory, steps: 500, task: ", weighting: count", model: "width: 64, hops: 2, deviation: 0.3")])
            let scores = try evaluation(directory)
            #expect(try #require(scores["hits_at_1"] as? Double) >= 0.98)
            #expect(scores["hash_recall"] as? Double == 1)
            #expect(scores["examples"] as? Int == 75)

            let made = SyntheticKnowledge(films: 150, heldOut: 0.2, seed: 5)
            #expect(try Set(KnowledgeBank(runDirectory: "\(directory)/run").facts) == Set(made.facts))
            func fact(_ question: KnowledgeQuestion) throws -> KnowledgeFact {
                try #require(made.facts.first { question.text.contains("[\($0.subject)]") && $0.relation == question.kind })
            }
            try edited(directory) { bank, edit in
                for question in made.test {
                    let receipt = try bank.delete(subject: fact(question).subject, relation: question.kind, edit)
                    #expect(receipt?.deleted == 1)
                }
            }
            let without = try evaluation(directory)
            #expect(without["hash_recall"] as? Double ?? 1 < 0.2)
            #expect(try #require(without["hits_at_1"] as? Double) < 0.15)

            // Another object of the same relation: the old answer is now wrong, the new one right.
            for (number, question) in made.test.enumerated() {
                let old = try fact(question)
                let objects: [String] = made.facts.filter { $0.relation == question.kind && $0.object != old.object }.map(\.object)
                let other = objects[(number * 7) % objects.count]
                try edited(directory) { _ = try $0.put(KnowledgeFact(old.subject, old.relation, other), $1) }
                if number < 5 {
                    let answer = try mneme(["answer", "\(directory)/run", "--plain", "--json", writeQuestion(question.text + "?", directory)])
                    #expect(answer.standardOutput.contains("\"answer\":\"\(other)\""), "\(answer.standardOutput)")
                }
            }
            #expect(try hits(directory) < 0.02)
            try edited(directory) { bank, edit in
                for question in made.test {
                    let receipt = try bank.replace(by: fact(question), edit)
                    #expect(receipt.changed == 1)
                }
            }
            let restored = try hits(directory)
            #expect(restored == scores["hits_at_1"] as? Double)

            // 100 facts, each with another object: 100 answers.
            var asked: Set<KnowledgeFact> = []
            let questions = try Array((made.test + made.training).filter { try asked.insert(fact($0)).inserted }.prefix(100))
            func changed(_ number: Int) throws -> KnowledgeFact {
                var fact = try fact(questions[number])
                let objects = made.facts.filter { $0.relation == fact.relation && $0.object != fact.object }.map(\.object)
                fact.object = objects[(number * 11) % objects.count]
                return fact
            }
            try edited(directory) { bank, edit in for number in 0..<100 { _ = try bank.replace(by: changed(number), edit) } }
            let task = try #require(LoadedRun(directory: "\(directory)/run").task as? any AnsweringTask)
            for number in 0..<100 { #expect(try task.answer(questions[number].text).answer == changed(number).object, "\(questions[number].text)") }
        }
    }

    private func writeQuestion(_ text: String, _ directory: String) throws -> String {
        let path = "\(directory)/question.txt"
        try (text + "\n").write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    @Test("list, get, put, replace and delete; a film that was never trained is answered about; a resumed run keeps the facts, --fresh does not")
    func commands() throws {
        try withScratchDirectory { directory in
            let file = try runFile(directory, steps: 400)
            try mneme(["train", file])
            let run = "\(directory)/run"
            let all = try mneme(["memory", "list", run]).standardOutput.split(separator: "\n")
            #expect(all.count == 750)
            let film = String(try #require(all.first?.split(separator: "|").first)).trimmingCharacters(in: .whitespaces)
            #expect(try mneme(["memory", "list", run, "--subject", film]).standardOutput.split(separator: "\n").count == 5)
            #expect(try mneme(["memory", "list", run, "--relation", "has genre", "--first", "3"]).standardOutput.split(separator: "\n").count == 3)
            let director = try mneme(["memory", "get", run, film, "directed by"]).standardOutput.trimmingCharacters(in: .newlines)
            let listed = try mneme(["memory", "get", run, film, "directed by", "--json"]).standardOutput
            let id = "\(film) | directed by"
            #expect(listed == "[{\"subject\":\"\(film)\",\"relation\":\"directed by\",\"object\":\"\(director)\",\"id\":\"\(id)\",\"version\":1}]\n")

            #expect(try mneme(["memory", "put", run, film, "has genre", "western", "--replace"]).standardOutput.hasPrefix("replaced "))
            #expect(
                try mneme(["memory", "put", run, film, "has genre", "western"]).standardOutput == "known already: \(film) | has genre | western\n")
            func ask(_ question: String) throws -> String {
                try mneme(["answer", run, "--plain", "--explain", writeQuestion(question, directory)]).standardOutput
            }
            #expect(try ask("what genre is [\(film)]?").hasPrefix("what genre is [\(film)]? western\n"))
            #expect(try ask("what genre is \(film)?").contains("\(film) | has genre | western -> western"))

            let put = try mneme(["memory", "put", run, "Vinterpalats", "directed by", director, "--json"])
            #expect(try jsonObject(put.standardOutput)["new_entities"] as? [String] == ["Vinterpalats"])
            try mneme(["memory", "put", run, "Vinterpalats", "in language", "Swedish"])
            #expect(try ask("who directed Vinterpalats?").hasPrefix("who directed Vinterpalats? \(director)\n"))
            #expect(try ask("what language is [Vinterpalats] in?").hasPrefix("what language is [Vinterpalats] in? Swedish\n"))
            #expect(try mneme(["memory", "delete", run, "Vinterpalats", "in language", "Swedish"]).standardOutput == "deleted 1 fact\n")

            // The same store as any bank's: its commands, its audit log, its versions.
            let bank = "\(run)/banks/facts"
            let directors = all.filter { $0.contains(" | directed by | ") }.compactMap { $0.components(separatedBy: " | ").last }
            let other = try #require(directors.first { $0 != director })
            try mneme(["memory", "update", bank, "Vinterpalats | directed by", "--namespace", "facts", "--text", other, "--expect-version", "1"])
            #expect(try ask("who directed Vinterpalats?").hasPrefix("who directed Vinterpalats? \(other)\n"))
            let moved = try mneme(["memory", "put", run, "Vinterpalats", "directed by", director, "--replace", "--expect-version", "1"], expecting: 65)
            #expect(moved.standardError.contains("has version 2, not 1"), "\(moved.standardError)")
            let undone = try #require(mneme(["memory", "audit", bank]).standardOutput.split(separator: "\n").last?.split(separator: " ")[1])
            try mneme(["memory", "revert", bank, String(undone)])
            try mneme(["memory", "put", run, "Vinterpalats", "in language", "Schwedisch", "--reason", "in its own words"])
            try mneme(["memory", "delete", run, "Vinterpalats", "in language", "--reason", "asked to"])
            let log = try mneme(["memory", "audit", bank]).standardOutput
            #expect(log.contains("in its own words") && log.contains("asked to") && !log.contains("Schwedisch"), "\(log)")
            let exported = try mneme(["memory", "export", bank, "--namespace", "facts"]).standardOutput
            #expect(exported.split(separator: "\n").count == 751)
            #expect(try mneme(["memory", "inspect", bank, "--all"]).standardOutput.contains("751 records"))

            try mneme(["train", file, "--set", "steps=410"])
            #expect(try mneme(["memory", "get", run, "Vinterpalats", "directed by"]).standardOutput == "\(director)\n")
            // What was deleted is in no file of the bank when it was compacted, nor in the run's when its checkpoints are of later.
            try mneme(["memory", "compact", bank])
            try mneme(["train", file, "--set", "steps=420", "--set", "checkpoint.keep=1"])
            #expect(try filesHolding("Schwedisch", in: run).isEmpty && !filesHolding("Vinterpalats", in: run).isEmpty)
            try mneme(["train", file, "--set", "steps=10", "--fresh"])
            #expect(try mneme(["memory", "list", run]).standardOutput.split(separator: "\n") == all)
        }
    }

    @Test("what a user can get wrong is said in one line with its exit code")
    func errors() throws {
        try withScratchDirectory { directory in
            let file = try runFile(directory, films: 20, steps: 2, task: ", spareSymbols: 1")
            try mneme(["train", file])
            let run = "\(directory)/run"
            func fails(_ arguments: [String], _ status: Int32, _ text: String) throws {
                let ended = try mneme(arguments, expecting: status)
                // A machine whose environment chooses a BLAS kernel gets a hint besides.
                let lines = ended.standardError.split(separator: "\n").filter { !$0.hasPrefix("hint:") }
                #expect(lines.count == 1 && lines[0].contains(text), "\(ended.standardError)")
            }
            try fails(["memory", "list", directory], 66, "keeps no facts")
            let examples = try #require(evaluation(directory)["examples"] as? Int)
            #expect(try mneme(["memory", "show", run]).standardOutput == mneme(["memory", "show", run, "--example", "0"]).standardOutput)
            try mneme(["memory", "show", run, "--example", "\(examples - 1)"])
            try fails(["memory", "show", run, "--example", "\(examples)"], 64, "give a number from 0 to \(examples - 1)")
            try fails(["memory", "get", run, "Nobody"], 66, "there is no such fact: Nobody")
            try fails(["memory", "delete", run, "Nobody", "directed by"], 66, "there is no such fact: Nobody | directed by")
            try fails(["memory", "put", run, "A", "painted by", "B"], 64, "does not know the relation 'painted by'; use one of directed by")
            try fails(["memory", "put", run, "A", "directed by", "B"], 64, "'B' is new, and the 1 places for new entities are taken")
            try fails(["memory", "put", run, "A", "directed by", " "], 64, "the object of the fact is empty")
            try fails(["memory", "put", run, "A", "directed by", "B", "--namespace", "facts"], 64, "that of a run's facts is RUN/banks/facts")
            try fails(["memory", "put", run, "A", "directed by"], 64, "a fact has a subject, a relation and an object")
            try fails(["memory", "delete", run, "Nobody"], 64, "a fact is deleted by subject and relation")
            try fails(["memory", "audit", run], 66, "is no bank")
            try fails(["memory", "search", "\(run)/banks/facts", "--namespace", "facts", "--text", "Kismet"], 78, "has no keys")
            try fails(["train", file, "--set", "task.layout=tripel"], 78, "did you mean 'triple'?")
            try fails(["train", file, "--set", "task.source=lines", "--set", "task.data=/nowhere"], 78, "'task.questions'")
            try fails(["train", file, "--set", "model.hops=0"], 78, "model.hops")
            try fails(["train", file, "--set", "task.films=30"], 78, "the run was trained with task.films 20, not 30")
            let path = "\(run)/banks/facts/bank.json"
            let whole = try Data(contentsOf: URL(fileURLWithPath: path))
            var damaged = whole
            damaged[whole.count / 2] ^= 1
            try damaged.write(to: URL(fileURLWithPath: path))
            try fails(["memory", "list", run], 65, path)
            try fails(["evaluate", run], 65, path)

            // A run of an earlier version: its file is read, with what a crash has cut off left out; the first edit makes a bank of it.
            try FileManager.default.removeItem(atPath: "\(run)/banks")
            try fails(["memory", "list", run], 66, "keeps no facts yet")
            let line = "e0aa8d3c\tput\tFilm 1\u{1f}release year\t1950\n"
            try "mneme-dictionary 1 exact collect\n\(line)12345678\tput".write(toFile: "\(run)/facts.memory", atomically: true, encoding: .utf8)
            let torn = try mneme(["memory", "list", run])
            #expect(torn.standardError.contains("was cut off and is dropped") && torn.standardOutput == "Film 1 | release year | 1950\n")
            let deleted = try mneme(["memory", "delete", run, "Film 1", "release year"])
            #expect(deleted.standardError.contains("its facts are a bank now") && deleted.standardOutput == "deleted 1 fact\n")
            #expect(try mneme(["memory", "list", run]).standardError.contains("no such fact"))
        }
    }

    /// The files in and below a directory that hold a text, locks and logs of training left out.
    private func filesHolding(_ text: String, in directory: String) throws -> [String] {
        let names = FileManager.default.enumerator(atPath: directory)?.allObjects as? [String] ?? []
        return names.filter { name in
            (try? Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(name)")))?.range(of: Data(text.utf8)) != nil
        }
    }

    @Test("a command that is killed leaves the fact or nothing, and every earlier one; of commands at the same time none loses what another did")
    func killed() throws {
        try withScratchDirectory { directory in
            try mneme(["train", runFile(directory, films: 20, steps: 2)])
            let run = "\(directory)/run"
            var certain = Set(try KnowledgeBank(runDirectory: run).facts)
            var started = certain
            for number in 0..<30 {
                let fact = KnowledgeFact("Film \(number)", "release year", "1950")
                let put = try MPIRun.start(
                    ranks: nil, executable: "mneme", arguments: ["memory", "put", run, fact.subject, "release year", fact.object])
                started.insert(fact)
                usleep(UInt32(2000 * number))
                kill(put.identifier, SIGKILL)
                if try put.finish().status == 0 { certain.insert(fact) }
                let bank = try KnowledgeBank(runDirectory: run)
                #expect(Set(bank.facts).isSuperset(of: certain) && Set(bank.facts).isSubset(of: started), "killed after \(2 * number) ms")
                certain.formUnion(bank.facts)
            }
            let several = try (0..<6).map { number in
                try MPIRun.start(ranks: nil, executable: "mneme", arguments: ["memory", "put", run, "Both \(number)", "release year", "1951"])
            }
            // One edits at a time, and others are told so.
            let ended = try several.map { try $0.finish() }
            for (number, put) in ended.enumerated() {
                #expect(put.status == 0 || put.status == 69 && put.standardError.contains("session edits this bank"), "\(put.standardError)")
                if put.status == 0 { certain.insert(KnowledgeFact("Both \(number)", "release year", "1951")) }
            }
            let facts = try KnowledgeBank(runDirectory: run).facts
            #expect(Set(facts).isSuperset(of: certain) && facts.count { $0.subject.hasPrefix("Both") } == ended.count { $0.status == 0 })
        }
    }

    /// What is asked of the layouts is what the paper found in their order: sentences below windows, below windows with their centre, below titles.
    @Test(
        "every layout and rule of candidates learns",
        arguments: [
            ("layout: sentence, candidates: memory", 0.2), ("layout: window, window: 15, candidates: memory", 0.6),
            ("layout: window, window: 15, encodeCentre: true, candidates: memory", 0.75),
            ("layout: window-and-title, window: 15, candidates: memory", 0.95),
            ("candidates: sampled, negatives: 20", 0.98), ("case: folded", 0.98),
        ])
    func layouts(_ task: String, _ leastHits: Double) throws {
        try withScratchDirectory { directory in
            let file = try runFile(
                directory, films: 1000, steps: 600, task: ", weighting: count, \(task)", model: "width: 64, hops: 2, deviation: 0.3")
            try mneme(["train", file])
            let scores = try evaluation(directory)
            #expect(scores["hash_recall"] as? Double == 1)
            #expect(try #require(scores["hits_at_1"] as? Double) > leastHits, "\(scores)")
        }
    }

    @Test(
        "one rank, two ranks and a run that was stopped on the way end with the same bits",
        .enabled(if: MPIRun.launcher != nil, "mpirun is not installed"))
    func sameBits() throws {
        func losses(_ directory: String) throws -> [String] {
            try String(contentsOfFile: "\(directory)/run/metrics.jsonl", encoding: .utf8).split(separator: "\n").map { line in
                let object = try jsonObject(String(line))
                return "\(object["step"] ?? "") \(object["loss"] ?? "") \(object["gradient_norm"] ?? "")"
            }
        }
        try withScratchDirectory { whole in
            try mneme(["train", runFile(whole, films: 40, steps: 60, task: ", candidates: sampled, negatives: 10")])
            let expected = try losses(whole)
            #expect(expected.count == 6)
            try withScratchDirectory { parted in
                let file = try runFile(parted, films: 40, steps: 60, task: ", candidates: sampled, negatives: 10")
                try mneme(["train", file, "--set", "steps=30"])
                try mneme(["train", file])
                #expect(try losses(parted) == expected)
            }
            try withScratchDirectory { shared in
                let file = try runFile(shared, films: 40, steps: 60, task: ", candidates: sampled, negatives: 10")
                let run = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["train", file])
                #expect(run.status == 0, "\(run.standardError)")
                #expect(try losses(shared) == expected)
                let scores = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["evaluate", "\(shared)/run", "--json"])
                let (together, alone) = (try jsonObject(scores.standardOutput)["hits_at_1"] as? Double, try hits(whole))
                #expect(together == alone)
            }
        }
    }
}
