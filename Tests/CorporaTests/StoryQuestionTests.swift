// Stories as numbers: what is read from bAbI and dialog files, how it is handed out, and what bad input does.

import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite("Questions about stories")
struct StoryQuestionTests {
    private let text = """
        1 Mary moved to the bathroom.
        2 John went to the hallway.
        3 Where is Mary?\tbathroom\t1
        4 Mary took the milk.
        5 What is Mary carrying?\tmilk,apple\t4 1
        1 Bill went home.
        2 Where is Bill?\tHome\t1

        """

    private func read(_ text: String, _ vocabulary: inout StoryVocabulary, isTraining: Bool = true) throws -> StoryQuestions {
        let directory = try TemporaryDirectory()
        let path = try directory.write(text, to: "qa8_lists-sets_train.txt")
        return try StoryQuestions(babi: [(path, 8)], vocabulary: &vocabulary, isTraining: isTraining)
    }

    @Test("words are split, lower-cased and freed of the last mark")
    func words() {
        func split(_ text: String) -> [String] { StoryVocabulary().split(Array(text.utf8)) }
        #expect(split("Mary went  to the Garden.") == ["mary", "went", "to", "the", "garden"])
        #expect(split("Where is Mary? ") == ["where", "is", "mary"])
        #expect(split("Where is Mary ?") == ["where", "is", "mary"])
        #expect(split("at 3.5, or n,w") == ["at", "3.5,", "or", "n,w"])
        #expect(split(" . ").isEmpty && split("").isEmpty)
        #expect(split("École\u{a0}NORMALE\u{3000}Ωμέγα?!") == ["école", "normale", "ωμέγα"])
    }

    @Test("questions know their facts, answers are one class each, and supporting facts are sentences")
    func questions() throws {
        var vocabulary = StoryVocabulary()
        let questions = try read(text, &vocabulary)
        #expect(questions.questions.map(\.sentences) == [0..<2, 0..<3, 3..<4])
        #expect(questions.questions.map { vocabulary.words[Int($0.answer)] } == ["bathroom", "milk,apple", "home"])
        #expect(questions.questions.map { Array(questions.supportingSentences[$0.support]) } == [[0], [2, 0], [3]])
        #expect(questions.questions.allSatisfy { $0.task == 8 } && questions.findings == StoryFindings())
        #expect(questions.sentence(2).map { vocabulary.words[Int($0)] } == ["mary", "took", "the", "milk"])
        #expect(vocabulary.longestSentence == 5 && vocabulary.longestStory == 3)
        #expect(vocabulary.words[0] == "" && vocabulary["mary"] == 1 && vocabulary["moved"] == 2)
    }

    @Test("unknown words and unseen answers are counted, never silently zero")
    func unknown() throws {
        var vocabulary = StoryVocabulary()
        _ = try read(text, &vocabulary)
        let before = vocabulary
        let test = try read("1 Mary flew to the hallway.\n2 Where is Mary?\tmoon\t1\n3 Where is Mary?\thallway\t1\n", &vocabulary, isTraining: false)
        #expect(vocabulary == before)
        #expect(test.findings.unknownWords == 1 && test.findings.someUnknownWords == ["flew"])
        #expect(test.findings.unseenAnswers == 1 && test.unseenAnswers == [0: "moon"] && test.questions[0].answer == -1)
        #expect(test.sentence(0).count == 4)
        #expect(test.findings.notes.count == 2)
    }

    @Test("questions before any fact, empty facts and malformed lines are left out and counted, up to a limit")
    func leftOut() throws {
        var vocabulary = StoryVocabulary()
        let questions = try read(
            "1 Where is Mary?\thome\n2 Mary left.\n3 .\n4 Where is Mary?\taway\t2\n1 broken\nno number\n1 A b.\n2 c?\td\t3\n1 X y.\n2 z?\tq\t1\n",
            &vocabulary)
        #expect(questions.count == 2)
        #expect(questions.findings.questionsWithoutFacts == 1 && questions.findings.emptyFacts == 1 && questions.findings.malformed == 2)
        #expect(questions.findings.firstMalformed?.contains("line 6") == true)
        try questions.findings.check(limit: 4, at: "task.data")
        #expect { try questions.findings.check(limit: 3, at: "task.data") } throws: { error in
            (error as? UserError)?.exitCode == .badData && "\(error)".contains("4 records left out")
        }
    }

    @Test("a typed story gives a question; what is missing is named")
    func typed() throws {
        var vocabulary = StoryVocabulary()
        _ = try read(text, &vocabulary)
        let typed = try StoryQuestions(typed: "1 Mary moved to the hallway.\nJohn flew home\n3 Where is Mary?\thallway\t1", vocabulary: vocabulary)
        #expect(typed.questions[0].sentences == 0..<2 && typed.findings.someUnknownWords == ["flew"])
        #expect(typed.questionWords.map { vocabulary.words[Int($0)] } == ["where", "is", "mary"])
        for copied in [
            "1 Mary moved to the hallway.\n2 Where is Mary?\thallway\t1", "1\tMary moved to the hallway.\n2\tWhere is Mary?", "Mary moved to the hallway\nWhere is Mary?!",
            "1 Bill went home.\n2 Where is Bill?\thome\t1\n1 Mary moved to the hallway.\n3 Where is Bill?\tnowhere\n4 Where is Mary?\r",
        ] {
            let story = TypedStory(copied)
            #expect(story.endsInQuestion && story.facts.count == 1 && story.question?.hasPrefix("Where is Mary?") == true, "\(copied)")
            #expect(story.answer == (copied.contains("hallway\t1") ? "hallway" : nil))
            let read = try StoryQuestions(typed: copied, vocabulary: vocabulary)
            #expect(read.questions[0].sentences == 0..<1 && read.questionWords.map { vocabulary.words[Int($0)] } == ["where", "is", "mary"], "\(copied)")
        }
        for (text, isQuestion) in [("A.\nWho？", true), ("A.\n(Who?)", true), ("A.\nWho", false), ("A.\nWhat? Nothing", false), ("A.\n1", false), ("", false)] {
            #expect(TypedStory(text).endsInQuestion == isQuestion, "\(text)")
        }
        for bad in ["", "\n \n", "Where is Mary?", "Zork blurb.\nWhere is Mary?", "Mary moved.\nquux?"] {
            #expect(userError { _ = try StoryQuestions(typed: bad, vocabulary: vocabulary) }?.exitCode == .badData, "\(bad)")
        }
    }

    @Test("a vocabulary comes back from its file; a damaged one is named")
    func vocabularyFile() throws {
        var vocabulary = StoryVocabulary()
        _ = try read(text, &vocabulary)
        vocabulary.setAnswers(["yes", "api_call \"x\""])
        let directory = try TemporaryDirectory()
        let path = try directory.write(try vocabulary.json, to: StoryVocabulary.fileName)
        #expect(try StoryVocabulary(contentsOf: path) == vocabulary)
        // As it was written before case and white space were Unicode's.
        let old = try directory.write(#"{"version":1,"longestSentence":1,"longestStory":1,"words":["","École"]}"#, to: "old.json")
        #expect(try StoryVocabulary(contentsOf: old).split(Array("École A\u{a0}B".utf8)) == ["École", "a\u{a0}b"])
        #expect(userError { _ = try StoryVocabulary(contentsOf: path + "x") }?.exitCode == .missingInput)
        let damaged = try directory.write("{\"version\": 2}", to: "other.json")
        #expect(userError { _ = try StoryVocabulary(contentsOf: damaged) }?.exitCode == .badData)
    }

    @Test("dialogs remember what was said, and choose from the candidates")
    func dialogs() throws {
        let directory = try TemporaryDirectory()
        try directory.write("1 hello there\n1 api_call x\n1 bye\n", to: "dialog-babi-candidates.txt")
        let text = "1 Hi\thello there\n2 resto_x R_phone 1\n3 <SILENCE>\tapi_call x\n\n1 yo\thello there\n2 ok\tnever heard\n"
        try directory.write(text, to: "dialog-babi-task1-API-calls-trn.txt")
        let set = try DialogDirectory(path: directory.path)
        var vocabulary = StoryVocabulary()
        vocabulary.setAnswers(try set.candidates(tasks: [1]))
        let read = try StoryQuestions(dialogs: set.files(tasks: [1], split: "trn"), vocabulary: &vocabulary, isTraining: true)
        #expect(vocabulary.answers == ["hello there", "api_call x", "bye"])
        #expect(read.questions.map(\.answer) == [0, 1, 0, -1] && read.unseenAnswers == [3: "never heard"])
        #expect(read.questions.map(\.sentences) == [0..<0, 0..<3, 5..<5, 5..<7])
        func words(_ sentence: Int) -> [String] { read.sentence(sentence).map { vocabulary.words[Int($0)] } }
        #expect(words(0) == ["$user", "hi"] && words(1) == ["$reply", "hello", "there"] && words(2) == ["resto_x", "r_phone", "1"])
        #expect(userError { _ = try set.files(tasks: [2], split: "trn") }?.exitCode == .missingInput)
        let typed = try StoryQuestions(typedDialog: "Hi\nhello there\nresto_x R_phone 1\n<SILENCE>", vocabulary: vocabulary)
        #expect(typed.sentence(1) == read.sentence(1) && typed.questions[0].sentences == 0..<3)
    }

    @Test("a pipe and a link to nothing among the files are told; files of other names are not")
    func passedOver() throws {
        let directory = try TemporaryDirectory()
        try directory.write("1 Mary went to the hall.\n2 Where is Mary?\thall\t1\n", to: "qa1_one_train.txt")
        try directory.write("x", to: "README")
        try directory.write("1 bye\n", to: "dialog-babi-candidates.txt")
        #expect(mkfifo("\(directory.path)/qa2_two_train.txt", 0o600) == 0 && mkfifo("\(directory.path)/dialog-babi-task1-API-calls-trn.txt", 0o600) == 0)
        for passedOver in [try BabiDirectory(path: directory.path).passedOver, try DialogDirectory(path: directory.path).passedOver] {
            #expect(passedOver.map(\.reason) == [.pipe] && passedOver.map(\.count) == [2])
        }
        var findings = StoryFindings()
        findings.passedOver = try BabiDirectory(path: directory.path).passedOver
        #expect(findings.notes == ["passed over 2 pipes: \(directory.path)/dialog-babi-task1-API-calls-trn.txt, ..."])
    }

    // MARK: rows

    private func simulated(_ stories: Int) throws -> (StoryQuestions, StoryVocabulary) {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/set"
        _ = try BabiSimulator(seed: 4).write(tasks: [#require(BabiTask(1))], counts: [.train: stories], to: path)
        var vocabulary = StoryVocabulary()
        let files = try BabiDirectory(path: path).files(tasks: [1], split: "train")
        return (try StoryQuestions(babi: files, vocabulary: &vocabulary, isTraining: true), vocabulary)
    }

    @Test("rows hold the latest sentences, without padding")
    func rows() throws {
        let (questions, _) = try simulated(20)
        let rows = questions.rows(0..<questions.count, memory: 3)
        #expect(rows.lanes.count == questions.count && rows.step == .max)
        #expect(!rows.words.contains(0) && !rows.questionWords.contains(0))
        for (row, question) in questions.questions.enumerated() {
            let kept = question.sentences.suffix(3)
            let range = Int(rows.storyStarts[row])..<Int(rows.storyStarts[row + 1])
            #expect(range.count == kept.count && rows.ages[range] == ArraySlice((1...Int32(kept.count)).reversed()))
            for (sentence, place) in zip(kept, range) {
                #expect(rows.words[Int(rows.sentenceStarts[place])..<Int(rows.sentenceStarts[place + 1])] == questions.sentence(sentence))
            }
        }
    }

    @Test("each epoch gives every question once, in an order of its own, whatever the ranks", arguments: [1, 2, 4])
    func order(_ ranks: Int) throws {
        let (questions, _) = try simulated(9)
        let lanes = 8
        let whole = StoryLoader(questions, lanes: lanes, memory: 50, timeNoise: true, seed: 11)
        let parts = (0..<ranks).map { _ in StoryLoader(questions, lanes: lanes, memory: 50, timeNoise: true, seed: 11) }
        var seen: [Int] = []
        for _ in 0..<2 * questions.count / lanes + 1 {
            let all = whole.batch(lanes: Array(0..<lanes))
            seen += all.questions
            for (rank, part) in parts.enumerated() {
                let own = Array(stride(from: rank, to: lanes, by: ranks))
                let batch = part.batch(lanes: own)
                #expect(batch.questions == own.map { all.questions[$0] } && batch.step == all.step)
                for (row, lane) in own.enumerated() {
                    let mine = batch.ages[Int(batch.storyStarts[row])..<Int(batch.storyStarts[row + 1])]
                    #expect(mine == all.ages[Int(all.storyStarts[lane])..<Int(all.storyStarts[lane + 1])])
                }
                part.advance()
            }
            whole.advance()
        }
        let count = questions.count
        #expect(Set(seen[..<count]).count == count && Set(seen[count..<2 * count]).count == count)
        #expect(seen[..<count] != seen[count..<2 * count])
        let later = StoryLoader(questions, lanes: lanes, memory: 50, timeNoise: true, seed: 11)
        try later.seek(to: parts[0].position)
        #expect(later.batch(lanes: [0]) == whole.batch(lanes: [0]))
        #expect(userError { try later.seek(to: LoaderPosition(global: [1, 2])) }?.exitCode == .configuration)
    }

    @Test("blank slots keep the order, are at most a tenth, and of all numbers")
    func noise() throws {
        let (questions, _) = try simulated(50)
        let loader = StoryLoader(questions, lanes: 64, memory: 50, timeNoise: true, seed: 2)
        var extra: [Int: Set<Int32>] = [:]
        for _ in 0..<40 {
            let rows = loader.batch(lanes: Array(0..<64))
            for row in 0..<64 {
                let ages = Array(rows.ages[Int(rows.storyStarts[row])..<Int(rows.storyStarts[row + 1])])
                let most = Int32((ages.count * 11 + 9) / 10)
                #expect(zip(ages, ages.dropFirst()).allSatisfy { $0 > $1 } && ages.allSatisfy { $0 >= 1 && $0 <= most })
                extra[ages.count, default: []].insert(ages[0] - Int32(ages.count))
            }
            loader.advance()
        }
        #expect(extra[10] == [0, 1])
    }

    // MARK: the real set

    private static let data = ProcessInfo.processInfo.environment["MNEME_DATA"]

    @Test("the real set: 1,000 questions a task and split, nothing left out", .enabled(if: data != nil, "needs MNEME_DATA"))
    func realSet() throws {
        let directory = try BabiDirectory(path: #require(Self.data) + "/babi/tasks_1-20_v1-2/en")
        #expect(directory.tasks(split: "train") == Array(1...20) && directory.tasks(split: "test") == Array(1...20))
        for task in 1...20 {
            var vocabulary = StoryVocabulary()
            let train = try StoryQuestions(babi: directory.files(tasks: [task], split: "train"), vocabulary: &vocabulary, isTraining: true)
            let test = try StoryQuestions(babi: directory.files(tasks: [task], split: "test"), vocabulary: &vocabulary, isTraining: false)
            #expect(train.count == 1000 && train.findings == StoryFindings())
            #expect(test.count == 1000 && test.findings.leftOut == 0, "task \(task)")
            #expect(train.questions.allSatisfy { !$0.support.isEmpty && !$0.sentences.isEmpty })
        }
    }

    @Test("what is not there is named")
    func missing() throws {
        #expect(userError { _ = try BabiDirectory(path: "/nowhere/en") }?.exitCode == .missingInput)
        #expect(userError { _ = try BabiDirectory(path: "/nowhere/en-10k.tar.gz") }.map { "\($0)".contains("unpack") } == true)
        let directory = try TemporaryDirectory()
        try directory.write(text, to: "qa2_train.txt")
        let set = try BabiDirectory(path: directory.path)
        #expect(set.tasks(split: "train") == [2])
        #expect(userError { _ = try set.files(tasks: [3], split: "train") }.map { "\($0)".contains("task 3") } == true)
    }
}
