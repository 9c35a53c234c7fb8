// What users' data may hold that no task expects, given to the program itself: an error in one line, or a skip that is counted and reported.

import Foundation
import TestSupport
import Testing

@Suite struct BadTaskInputTests {
    private static let places = ["garden", "kitchen", "office", "hallway"]

    /// bAbI stories of so many facts and one question each.
    private static func stories(_ count: Int, facts: Int = 3, places: [String] = places, person: String = "Mary") -> String {
        (0..<count).map { story in
            let visited = (0..<facts).map { places[(story * 5 + $0 * 3 + story / 4) % places.count] }
            let lines = visited.enumerated().map { "\($0 + 1) \(person) went to the \($1).\n" }.joined()
            return lines + "\(facts + 1) Where is \(person)?\t\(visited[facts - 1])\t\(facts)\n"
        }.joined()
    }

    /// A directory with task 1 of bAbI.
    private func write(_ directory: String, _ name: String, train: Data? = nil, test: Data? = nil) throws -> String {
        let path = "\(directory)/\(name)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        for (split, data) in [("train", train ?? Data(Self.stories(60).utf8)), ("test", test ?? Data(Self.stories(20).utf8))] {
            try data.write(to: URL(fileURLWithPath: "\(path)/qa1_single-supporting-fact_\(split).txt"))
        }
        return path
    }

    private func write(_ directory: String, _ name: String, train: String? = nil, test: String? = nil) throws -> String {
        try write(directory, name, train: train.map { Data($0.utf8) }, test: test.map { Data($0.utf8) })
    }

    private let network = "{kind: memory-network, hops: 2, width: 8}"
    private let lstm = "{kind: lstm, width: 8}"

    /// Trains for a few steps; what it says, and the run directory.
    private func train(
        _ directory: String, _ name: String, _ task: String, model: String, expecting status: Int32 = 0
    ) throws -> (said: String, run: String) {
        let run = "\(directory)/run-\(name)"
        let text = """
            run: \(run)
            seed: 3
            steps: 3
            task: {\(task)}
            model: \(model)
            batch: {lanes: 8}
            optimizer: {kind: adamw, learningRate: 5e-3, weightDecay: 0}
            evaluation: {every: never}
            parallel: {threads: 1}
            """
        try text.write(toFile: run + ".yaml", atomically: true, encoding: .utf8)
        let ended = try mneme(["train", run + ".yaml"], expecting: status)
        if status != 0 { oneLine(ended) }
        return (ended.standardOutput + ended.standardError, run)
    }

    /// An error is one line, but for a hint about the machine.
    private func oneLine(_ ended: FinishedRun) {
        let errors = ended.standardError.split(separator: "\n").filter { !$0.hasPrefix("hint:") }
        #expect(errors.count { $0.hasPrefix("mneme: error: ") } == 1 && errors.last?.hasPrefix("mneme: error: ") == true, "\(ended.standardError)")
    }

    private func scores(_ run: String) throws -> [String: Any] { try jsonObject(mneme(["evaluate", run, "--json"]).standardOutput) }

    @Test("odd stories are counted in the first lines of a run, and those of test data in its evaluation", arguments: ["babi", "babi-words"])
    func storiesAreCounted(kind: String) throws {
        try withScratchDirectory { directory in
            let model = kind == "babi" ? network : lstm
            let good = Self.stories(60)
            func task(_ data: String, _ more: String = "") -> String { "kind: \(kind), data: \(data), tasks: [1]\(more)" }

            let odd = "1 Where is Mary?\tgarden\n2 .\n3 Mary went to the garden.\n4 Where is Mary?\tgarden\t3\n"
            let oddTest = odd + "1 Mary flew.\n2 Zork blurp?\tmoon\t1\n" + Self.stories(10, places: ["moon", "garden"])
            let counted = try train(directory, "odd", task(try write(directory, "odd", train: odd + good, test: oddTest)), model: model)
            #expect(counted.said.contains("1 question left out, with no fact before; 1 fact left out, without a word"), "\(counted.said)")
            let odds = try scores(counted.run)
            #expect(odds["left_out_records"] as? Double == 2 && odds["questions_without_known_words"] as? Double == 1)
            #expect((odds["unseen_answers"] as? Double ?? 0) > 1 && (odds["unknown_words"] as? Double ?? 0) > 4)
            #expect(try mneme(["evaluate", counted.run]).standardOutput.contains("left out records"))

            // Cut off in a question; a byte that is no UTF-8; a line without text; an answer without a question.
            let cut = try train(directory, "cut", task(try write(directory, "cut", train: String(good.dropLast(20)))), model: model)
            #expect(cut.said.contains("1 story without a question at the end"), "\(cut.said)")
            for (name, bytes, what) in [
                ("bytes", Data("1 Mary went".utf8) + Data([0xff, 0x0a]) + Data(good.utf8), "not UTF-8: byte 0xff"),
                ("text", Data("1 Mary went.\n2 \n".utf8) + Data(good.utf8), "no text behind the line number"),
                ("question", Data("1 Mary went.\n2 \thome\t1\n".utf8) + Data(good.utf8), "an answer without a question"),
                ("answer", Data("1 Mary went.\n2 Where is Mary?\t\n".utf8) + Data(good.utf8), "a question without an answer"),
            ] {
                let said = try train(directory, name, task(try write(directory, name, train: bytes)), model: model).said
                #expect(said.contains("1 malformed line left out, the first: \(what)") && said.contains("_train.txt, line "), "\(said)")
            }

            // Line ends of other systems and a byte order mark change nothing.
            let plain = try train(directory, "plain", task(try write(directory, "plain", train: good)), model: model)
            let foreign = "\u{feff}" + good.replacing("\n", with: "\r\n")
            let windows = try train(directory, "windows", task(try write(directory, "windows", train: foreign)), model: model)
            #expect(try scores(plain.run)["loss"] as? Double == scores(windows.run)["loss"] as? Double)

            let limit = try train(
                directory, "limit", task(try write(directory, "limit", train: odd + good), ", maximumBadRecords: 1"), model: model, expecting: 65)
            #expect(limit.said.contains("2 records left out, more than 1"))
        }
    }

    @Test("data without a question is an error that says so", arguments: ["babi", "babi-words"])
    func noQuestions(kind: String) throws {
        try withScratchDirectory { directory in
            let model = kind == "babi" ? network : lstm
            for (name, bytes) in [
                ("empty", Data()), ("binary", Data((0..<4000).map { UInt8(truncatingIfNeeded: $0 &* $0 &* 31 >> 3) })),
                ("facts", Data("1 Mary left.\n2 John left.\n".utf8)),
            ] {
                let data = try write(directory, name, train: bytes)
                let said = try train(directory, name, "kind: \(kind), data: \(data), tasks: [1]", model: model, expecting: 65).said
                #expect(said.contains("bAbI task 1: ") && (said.contains("no question to train on") || said.contains("records left out")), "\(said)")
            }
            let run = try train(
                directory, "test", "kind: \(kind), data: \(try write(directory, "test", test: "")), tasks: [1]", model: model).run
            for command in [["evaluate", run, "--json"], ["memory", "show", run]] {
                let ended = try mneme(command, expecting: 65)
                oneLine(ended)
                #expect(ended.standardError.contains("there is no question in the test data"))
            }
            let none = try train(directory, "none", "kind: \(kind), data: \(directory)/none, tasks: [1]", model: model, expecting: 66)
            #expect(none.said.contains("\(directory)/none"))
        }
    }

    @Test("a story longer than the memory, or than the steps allowed, is said once and counted")
    func longStories() throws {
        try withScratchDirectory { directory in
            let data = try write(directory, "long", train: Self.stories(40) + Self.stories(3, facts: 9), test: Self.stories(4, facts: 9))
            let (said, run) = try train(directory, "memory", "kind: babi, data: \(data), tasks: [1], memory: 5", model: network)
            #expect(said.contains("3 questions with more than 5 sentences before, of which the latest are kept"))
            #expect(try scores(run)["questions_over_memory_size"] as? Double == 4)
            let story = "\(directory)/story.txt"
            let text = String(repeating: "Mary went to the garden.\n", count: 7) + "Where is Mary?\n"
            try text.write(toFile: story, atomically: true, encoding: .utf8)
            #expect(try mneme(["answer", run, "--plain", story]).standardError.contains("the story has 7 sentences: the latest 5 are read"))

            let steps = try train(directory, "steps", "kind: babi-words, data: \(data), tasks: [1], maximumSteps: 30", model: lstm).said
            #expect(steps.contains("3 stories left out, of more than 30 steps"), "\(steps)")
            let few = try train(directory, "few", "kind: babi-words, data: \(data), tasks: [1], maximumSteps: 5", model: lstm, expecting: 65).said
            #expect(few.contains("no story has 5 steps or fewer"))
        }
    }

    @Test("what is typed may end its lines as other systems do; what cannot be answered is named with its place")
    func typedStories() throws {
        try withScratchDirectory { directory in
            let run = try train(
                directory, "run", "kind: babi, data: \(try write(directory, "good", train: nil as String?)), tasks: [1]", model: network).run
            func typed(_ bytes: Data) throws -> String {
                let path = "\(directory)/typed.txt"
                try bytes.write(to: URL(fileURLWithPath: path))
                return path
            }
            let text = "Mary went to the garden.\nWhere is Mary?\n"
            let answers = try [text, text.replacing("\n", with: "\r\n"), "\u{feff}" + text, "1 Mary went to the garden.\n2 Where is Mary?"].map {
                try mneme(["answer", run, "--plain", "--json", typed(Data($0.utf8))])
            }
            for answer in answers { #expect(answer.standardOutput == answers[0].standardOutput && answer.standardError.isEmpty) }
            for (bytes, place, what) in [
                (Data(), "typed.txt", "there is no text"), (Data(" \n\n".utf8), "typed.txt", "there is no text"),
                (Data("Mary went.\n".utf8), "typed.txt", "the last line is no question"),
                (Data("Where is Mary?\n".utf8), "typed.txt", "no fact stands before the question"),
                (Data("Zork.\nWhere is Mary?\n".utf8), "typed.txt", "no word of the facts is known"),
                (Data([0x41, 0xff, 0x0a]), "typed.txt", "is not UTF-8 text"),
            ] {
                let ended = try mneme(["answer", run, "--plain", typed(bytes)], expecting: 65)
                oneLine(ended)
                #expect(ended.standardError.contains(place) && ended.standardError.contains(what), "\(ended.standardError)")
            }
            for (path, what) in [(directory, "is a directory"), ("\(directory)/none.txt", "there is no such file")] {
                let ended = try mneme(["answer", run, "--plain", path], expecting: 66)
                oneLine(ended)
                #expect(ended.standardError.contains("\(path): \(what)"), "\(ended.standardError)")
            }
            let noted = try mneme(["answer", run, "--plain", typed(Data(".\nMary went to the garden.\nZork?\nWhere is Mary?\n".utf8))]).standardError
            #expect(noted.contains("2 facts left out, without a word\n1 unknown word left out, such as zork\n"), "\(noted)")

            // The same in bAbI's format.
            #expect(try mneme(["answer", run, typed(Data())], expecting: 65).standardError.contains("typed.txt: there is no question"))
            let first = try mneme(["answer", run, typed(Data("1 Where is Mary?\tgarden\n".utf8))], expecting: 65)
            #expect(first.standardError.contains("typed.txt:1: no fact stands before the question"))
        }
    }

    @Test("dialogs: lines of the knowledge base that lack a field are counted; what a user says need not be a question")
    func dialogs() throws {
        try withScratchDirectory { directory in
            let candidates = ["hello there", "which place", "api_call rome"]
            try (candidates.map { "1 \($0)" }.joined(separator: "\n") + "\n").write(
                toFile: "\(directory)/dialog-babi-candidates.txt", atomically: true, encoding: .utf8)
            let dialog = "1 hi\thello there\n2 resto_x R_phone 17\n3 a table\twhich place\n4 in rome\tapi_call rome\n\n"
            let odd = "1 hi\thello there\n2 resto_x R_phone\n3 R_price cheap\n4 zork\tnever said\n\n"
            for (split, text) in [("trn", String(repeating: dialog, count: 20) + odd), ("dev", dialog + odd)] {
                try text.write(toFile: "\(directory)/dialog-babi-task1-API-calls-\(split).txt", atomically: true, encoding: .utf8)
            }
            let (said, run) = try train(directory, "run", "kind: dialog-babi, data: \(directory), tasks: [1]", model: network)
            #expect(said.contains("2 malformed lines left out, the first: the line 'resto_x r_phone' lacks"), "\(said)")
            #expect(said.contains("1 question with an answer unseen in training, counted as wrong"))
            let measured = try scores(run)
            #expect(measured["left_out_records"] as? Double == 2 && measured["unseen_answers"] as? Double == 1)
            func say(_ text: String, expecting status: Int32 = 0) throws -> FinishedRun {
                try text.write(toFile: "\(directory)/said.txt", atomically: true, encoding: .utf8)
                return try mneme(["answer", run, "--plain", "--explain", "\(directory)/said.txt"], expecting: status)
            }
            #expect(try say("hi\nhello there\nresto_x R_phone 17\na table\n").standardOutput.hasPrefix("a table "))
            #expect(try say("resto_x R_phone\na table\n", expecting: 65).standardError.contains("'resto_x R_phone' lacks a subject"))
            #expect(try say("blurp\n", expecting: 65).standardError.contains("no word of 'blurp' is known"))
        }
    }

    @Test("knowledge: lines that lack a field are skipped and counted, questions without an answer among the facts too")
    func knowledge() throws {
        try withScratchDirectory { directory in
            let facts = (0..<30).map { "Film \($0)|directed by|Person \($0 % 7)\n" }.joined()
            let questions = (0..<30).map { "who directed [Film \($0)]\tPerson \($0 % 7)\n" }.joined()
            func task(_ facts: String, _ questions: String, _ more: String = "") throws -> String {
                try facts.write(toFile: "\(directory)/facts.txt", atomically: true, encoding: .utf8)
                try questions.write(toFile: "\(directory)/questions.txt", atomically: true, encoding: .utf8)
                return "kind: knowledge, source: lines, data: \(directory)/facts.txt, questions: \(directory)/questions.txt\(more)"
            }
            let model = "{kind: key-value-memory-network, width: 8}"
            let odd = "Film 90|directed by\n|directed by|Person 1\nFilm 91||Person 1\nFilm 92|directed by|\n"
            let unseen = (0..<40).map { "who made [Zork \($0)]\tNobody Known\n" }.joined()
            let (said, run) = try train(directory, "odd", task(odd + facts, "no tab\n\t\n" + questions + unseen, ", skipLimit: 4"), model: model)
            #expect(said.contains("4 records skipped, the first at \(directory)/facts.txt:1: 2 fields where subject"), "\(said)")
            #expect(said.contains("2 records skipped, the first at \(directory)/questions.txt:1: no tab and answer"))
            #expect(said.contains("training questions left out, with no answer among the facts"))
            #expect((try scores(run)["questions_without_known_answer"] as? Double ?? 0) > 0)
            for (name, facts, questions, what) in [
                ("limit", odd + facts, questions, "4 records are wrong, and 3 may be"), ("nothing", "", questions, "facts.txt: holds no fact"),
                ("unasked", facts, "", "questions.txt: holds no question"),
                ("unseen", facts, unseen, "no training question has an answer among the facts"),
            ] {
                let said = try train(directory, name, task(facts, questions, ", skipLimit: 3"), model: model, expecting: 65).said
                #expect(said.contains(what), "\(said)")
            }

            // Facts that are typed, and facts that are put.
            func ask(_ text: String) throws -> FinishedRun {
                try text.write(toFile: "\(directory)/asked.txt", atomically: true, encoding: .utf8)
                return try mneme(["answer", run, "--plain", "\(directory)/asked.txt"])
            }
            #expect(try ask("who directed [Film 3]\n").standardOutput.hasPrefix("who directed [Film 3] "), "a question needs no mark")
            let unread = try ask("New|painted by|Person 1\nwho directed [Film 3]?\n")
            #expect(unread.standardError.contains("1 fact left out: the run does not know the relation"), "\(unread.standardError)")
            let sentence = try mneme(["memory", "put", run, "Film 3", "-", "a sentence"], expecting: 64)
            #expect(sentence.standardError.contains("the run's facts are triples"))
            let none = try mneme(["memory", "list", run, "--subject", "Nobody"])
            #expect(none.standardOutput.isEmpty && none.standardError == "no such fact\n")
        }
    }
}
