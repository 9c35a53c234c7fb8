// Stories word by word, for networks that read sequences: the questions stand where they are asked, and are answered there (Graves et al. 2016,
// bAbI).
//
// Legend: V words of the vocabulary, T steps of a story.

import Diagnostics

/// The symbols of stories that are read word by word: the V numbers of the vocabulary, 0 the blank, and three marks.
public struct StorySymbols: Sendable, Equatable {
    /// V.
    public let words: Int
    /// Stands after each sentence.
    public var fullStop: Int32 { Int32(words) }
    /// Stands after each question.
    public var questionMark: Int32 { Int32(words + 1) }
    /// Stands where an answer is to be given.
    public var answerMark: Int32 { Int32(words + 2) }
    /// V + 3.
    public var count: Int { words + 3 }

    /// The marks that follow V words.
    public init(words: Int) { self.words = words }

    /// How symbols are written.
    public func names(_ vocabulary: StoryVocabulary) -> [String] { ["_"] + vocabulary.words.dropFirst() + [".", "?", "-"] }
}

/// Whole stories as sequences of symbols.
///
/// A story is its sentences, each followed by the full stop, and its questions where they are asked, each followed by the question mark, some
/// blanks, and one step with the answer mark, at which the class of the answer is to be given. Answers of several words are one class.
public struct WordStories: Sendable {
    /// One story.
    public struct Story: Sendable, Equatable {
        /// Its steps, in `symbols`.
        public var steps: Range<Int>
        /// Its questions, in `answers`.
        public var answers: Range<Int>
        /// The task's number.
        public var task: Int
    }

    /// One answer.
    public struct Answer: Sendable, Equatable {
        /// The step of its mark, in `symbols`.
        public var step: Int
        /// The class, -1 for one unseen in training: it is asked for, and never given rightly.
        public var answer: Int32
    }

    /// The steps of all stories, one after another.
    public private(set) var symbols: [Int32] = []
    /// Of all stories, one after another.
    public private(set) var answers: [Answer] = []
    /// In the order of the files.
    public private(set) var stories: [Story] = []
    /// Stories left out because they have more steps than allowed.
    public private(set) var tooLong = 0
    /// The steps of the longest story, those left out included.
    public private(set) var longest = 0

    /// - Parameters:
    ///   - questions: in the order of their stories.
    ///   - alphabet: gives the marks their numbers.
    ///   - blanks: steps of blanks before each answer mark.
    ///   - maximumSteps: longer stories are left out and counted; `nil` for no limit.
    public init(_ questions: StoryQuestions, _ alphabet: StorySymbols, blanks: Int, maximumSteps: Int? = nil) {
        var first = 0
        while first < questions.count {
            let story = questions.questions[first].sentences.lowerBound
            var end = first + 1
            while end < questions.count, questions.questions[end].sentences.lowerBound == story { end += 1 }
            add(questions, first..<end, alphabet, blanks: blanks, maximumSteps: maximumSteps)
            first = end
        }
    }

    private mutating func add(_ questions: StoryQuestions, _ numbers: Range<Int>, _ alphabet: StorySymbols, blanks: Int, maximumSteps: Int?) {
        let (firstStep, firstAnswer) = (symbols.count, answers.count)
        var sentence = questions.questions[numbers.lowerBound].sentences.lowerBound
        for number in numbers {
            let question = questions.questions[number]
            while sentence < question.sentences.upperBound {
                symbols += questions.sentence(sentence) + [alphabet.fullStop]
                sentence += 1
            }
            symbols += questions.questionWords[question.words] + [alphabet.questionMark] + Array(repeating: 0, count: blanks)
            answers.append(Answer(step: symbols.count, answer: question.answer))
            symbols.append(alphabet.answerMark)
        }
        longest = max(longest, symbols.count - firstStep)
        if let maximumSteps, symbols.count - firstStep > maximumSteps {
            symbols.removeLast(symbols.count - firstStep)
            answers.removeLast(answers.count - firstAnswer)
            tooLong += 1
            return
        }
        stories.append(
            Story(steps: firstStep..<symbols.count, answers: firstAnswer..<answers.count, task: questions.questions[numbers.lowerBound].task))
    }

    /// The stories of some numbers.
    public func selecting(_ numbers: [Int]) -> WordStories {
        var result = self
        result.stories = numbers.map { stories[$0] }
        return result
    }

    /// Stories as rows, padded with blanks behind their ends.
    public func rows(_ numbers: [Int], lanes: [Int]) -> WordStoryRows {
        let steps = numbers.map { stories[$0].steps.count }.max() ?? 0
        var rows = WordStoryRows(lanes: lanes, steps: steps, tasks: numbers.map { stories[$0].task })
        for (row, number) in numbers.enumerated() {
            let story = stories[number]
            rows.symbols.replaceSubrange(row * steps..<row * steps + story.steps.count, with: symbols[story.steps])
            for answer in answers[story.answers] {
                let place = row * steps + answer.step - story.steps.lowerBound
                rows.classes[place] = answer.answer
                rows.counts[place] = true
            }
        }
        return rows
    }
}

/// Stories of some lanes. Letters: B stories, T steps of the longest.
public struct WordStoryRows: Sendable, Equatable {
    /// The lane of each story, [B].
    public let lanes: [Int]
    /// T.
    public let steps: Int
    /// The task of each story, [B].
    public let tasks: [Int]
    /// [B, T]: symbols, 0 behind the end.
    public internal(set) var symbols: [Int32]
    /// [B, T]: the class of the answer, `ignoredTarget` where there is none or it is unseen in training.
    public internal(set) var classes: [Int32]
    /// [B, T]: true where an answer is to be given.
    public internal(set) var counts: [Bool]

    init(lanes: [Int], steps: Int, tasks: [Int]) {
        self.lanes = lanes
        self.steps = steps
        self.tasks = tasks
        symbols = Array(repeating: 0, count: tasks.count * steps)
        classes = Array(repeating: ignoredTarget, count: tasks.count * steps)
        counts = Array(repeating: false, count: tasks.count * steps)
    }
}

/// Stories in shuffled batches, those of a batch about equally long. Letters: L lanes.
///
/// The permuted stories of all epochs form one sequence, of which each portion of 16 L is ordered by length and cut into 16 batches, in an order of
/// the portion's own. So a step's stories depend on the seed and the step alone, and padding stays small.
public final class WordStoryLoader: LaneLoader {
    public let laneCount: Int
    private let stories: WordStories
    private let seed: UInt64
    private var step = 0
    /// The batches of the portion asked for last.
    private var portion: (number: Int, batches: [[Int]])?

    private static let batchesPerPortion = 16

    /// - Parameters:
    ///   - stories: at least one.
    ///   - lanes: L.
    ///   - seed: of the run.
    public init(_ stories: WordStories, lanes: Int, seed: UInt64) {
        precondition(lanes >= 1 && !stories.stories.isEmpty, "\(stories.stories.count) stories for \(lanes) lanes")
        self.stories = stories
        laneCount = lanes
        self.seed = seed
    }

    public var position: LoaderPosition { LoaderPosition(global: [Int64(step)]) }

    public func seek(to position: LoaderPosition) throws {
        guard position.global.count == 1, let step = Int(exactly: position.global[0]), step >= 0 else {
            throw UserError(
                .configuration, "the saved position \(position.global) is none of a list of stories", advice: "resume with the task of the saved run")
        }
        self.step = step
    }

    public func batch(lanes: [Int]) -> WordStoryRows {
        let batch = batches(ofPortion: step / Self.batchesPerPortion)[step % Self.batchesPerPortion]
        return stories.rows(lanes.map { batch[$0] }, lanes: lanes)
    }

    public func advance() { step += 1 }

    private func batches(ofPortion number: Int) -> [[Int]] {
        if let portion, portion.number == number { return portion.batches }
        let (count, size) = (stories.stories.count, Self.batchesPerPortion * laneCount)
        var order: (epoch: Int, permutation: Permutation)?
        var drawn: [(story: Int, ordinal: Int)] = []
        for ordinal in number * size..<(number + 1) * size {
            let epoch = ordinal / count
            if order?.epoch != epoch { order = (epoch, Permutation(count: count, seed: seed, stream: UInt64(epoch) << 2)) }
            if let permutation = order?.permutation { drawn.append((permutation[ordinal % count], ordinal)) }
        }
        let byLength = drawn.sorted { (stories.stories[$0.story].steps.count, $0.ordinal) < (stories.stories[$1.story].steps.count, $1.ordinal) }
        var choices = SeededChoices(seed: seed, path: [0x706f_7274_696f_6e, UInt64(number)])
        let batches = choices.shuffled(Array(0..<Self.batchesPerPortion)).map { batch in
            byLength[batch * laneCount..<(batch + 1) * laneCount].map(\.story)
        }
        portion = (number, batches)
        return batches
    }
}
