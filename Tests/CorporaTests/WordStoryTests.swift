// Stories word by word: every symbol of a hand-written story, and the order in which stories are handed out.

import Corpora
import Foundation
import TestSupport
import Testing

@Suite("Stories word by word") struct WordStoryTests {
    private static let text = """
        1 Mary moved to the bathroom.
        2 John went to the hallway.
        3 Where is Mary?\tbathroom\t1
        4 Daniel took the milk there.
        5 What does Daniel carry?\tmilk,apple\t4
        1 Sandra journeyed to the garden.
        2 Where is Sandra?\tgarden\t1

        """

    private func read(_ text: String = text, blanks: Int = 0, maximumSteps: Int? = nil) throws -> (WordStories, [String], StoryVocabulary) {
        try withScratchDirectory { scratch in
            try text.write(toFile: "\(scratch)/qa1_x_train.txt", atomically: true, encoding: .utf8)
            var vocabulary = StoryVocabulary()
            let questions = try StoryQuestions(babi: [("\(scratch)/qa1_x_train.txt", 1)], vocabulary: &vocabulary, isTraining: true)
            let symbols = StorySymbols(words: vocabulary.count)
            return (WordStories(questions, symbols, blanks: blanks, maximumSteps: maximumSteps), symbols.names(vocabulary), vocabulary)
        }
    }

    private func line(_ stories: WordStories, _ story: Int, _ names: [String]) -> String {
        stories.symbols[stories.stories[story].steps].map { names[Int($0)] }.joined(separator: " ")
    }

    @Test("a story is its sentences with full stops, and its questions with their marks where they are asked")
    func layout() throws {
        let (stories, names, vocabulary) = try read()
        #expect(stories.stories.map(\.task) == [1, 1])
        #expect(
            line(stories, 0, names)
                == "mary moved to the bathroom . john went to the hallway . where is mary ? - "
                + "daniel took the milk there . what does daniel carry ? -")
        #expect(line(stories, 1, names) == "sandra journeyed to the garden . where is sandra ? -")
        #expect(stories.answers.map { names[Int($0.answer)] } == ["bathroom", "milk,apple", "garden"])
        #expect(stories.answers.allSatisfy { names[Int(stories.symbols[$0.step])] == "-" })
        let (blank, _, _) = try read(blanks: 2)
        #expect(line(blank, 1, names) == "sandra journeyed to the garden . where is sandra ? _ _ -")
        #expect(names.count == vocabulary.count + 3 && names.first == "_")
    }

    @Test("rows are padded behind their ends, and answered at their marks alone")
    func rows() throws {
        let (stories, names, _) = try read()
        let rows = stories.rows([1, 0], lanes: [4, 9])
        #expect(rows.lanes == [4, 9] && rows.steps == stories.longest && rows.tasks == [1, 1])
        let short = stories.stories[1].steps.count
        #expect(rows.symbols[short..<rows.steps].allSatisfy { $0 == 0 })
        let marked = rows.counts.indices.filter { rows.counts[$0] }
        #expect(marked == rows.symbols.indices.filter { names[Int(rows.symbols[$0])] == "-" })
        #expect(marked.map { names[Int(rows.classes[$0])] } == ["garden", "bathroom", "milk,apple"])
        #expect(rows.classes.indices.allSatisfy { rows.counts[$0] || rows.classes[$0] == ignoredTarget })
    }

    @Test("stories that are too long are left out and counted")
    func tooLong() throws {
        let (stories, names, _) = try read(maximumSteps: 12)
        #expect(stories.tooLong == 1 && stories.stories.count == 1 && stories.answers.count == 1 && stories.longest > 12)
        #expect(line(stories, 0, names).hasPrefix("sandra"))
        #expect(try read(maximumSteps: 5).0.stories.isEmpty)
    }

    @Test("an epoch holds every story once, in batches that depend on the step alone")
    func loader() throws {
        let facts = (0..<48).map { story in
            "1 Mary went \(String(repeating: "far ", count: story % 7))to room\(story).\n2 Where is Mary?\troom\(story)\t1\n"
        }
        let (stories, _, _) = try read(facts.joined())
        #expect(stories.stories.count == 48)
        let loader = WordStoryLoader(stories, lanes: 3, seed: 5)
        var answers: [Int32] = []
        var positions: [[Int64]] = []
        for _ in 0..<32 {
            positions.append(loader.position.global)
            let whole = loader.batch(lanes: [0, 1, 2])
            for lane in 0..<3 {
                let one = loader.batch(lanes: [lane])
                #expect(Array(whole.symbols[lane * whole.steps..<lane * whole.steps + one.steps]) == one.symbols)
            }
            answers += whole.classes.filter { $0 >= 0 }
            loader.advance()
        }
        // 16 batches of 3 are one epoch, and one portion.
        #expect(Set(answers[..<48]).count == 48 && Set(answers[48...]).count == 48 && answers[..<48] != answers[48...])
        let other = WordStoryLoader(stories, lanes: 3, seed: 5)
        try other.seek(to: LoaderPosition(global: positions[20]))
        #expect(other.batch(lanes: [0, 1, 2]).classes.filter { $0 >= 0 } == Array(answers[60..<63]))
        #expect(throws: (any Error).self) { try other.seek(to: LoaderPosition(global: [0, 1])) }
    }
}
