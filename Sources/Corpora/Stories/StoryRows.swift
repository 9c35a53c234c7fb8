// Rows of questions with their stories, without padding. Letters: B rows, N sentences of all rows.

/// What a story loader hands out: lists of words, sentence after sentence and story after story.
public struct StoryRows: Sendable, Equatable {
    /// The lane of each row, B.
    public var lanes: [Int]
    /// The number of each question among those that the loader has, B.
    public var questions: [Int] = []
    /// The task of each question, B.
    public var tasks: [Int] = []
    /// The words of all sentences, the oldest of each story first.
    public var words: [Int32] = []
    /// Where each sentence begins, and the end of the last, N + 1.
    public var sentenceStarts: [Int32] = [0]
    /// The age of each sentence, N: 1 for the latest, more where blank slots were put between.
    public var ages: [Int32] = []
    /// Where each story begins in the sentences, and the end of the last, B + 1.
    public var storyStarts: [Int32] = [0]
    /// The words of all questions.
    public var questionWords: [Int32] = []
    /// Where each question begins in `questionWords`, and the end of the last, B + 1.
    public var questionStarts: [Int32] = [0]
    /// The class of each answer, B; `ignoredTarget` where unknown.
    public var answers: [Int32] = []
    /// The training step, from 0; `Int.max` outside training.
    public var step: Int

    init(lanes: [Int], step: Int) {
        self.lanes = lanes
        self.step = step
    }

    /// Adds a question with the latest `memory` sentences of its story.
    /// - Parameter noise: draws blank slots; `nil` for none.
    mutating func add(_ number: Int, of source: StoryQuestions, memory: Int, noise: SeededChoices?) {
        let question = source.questions[number]
        let sentences = question.sentences.suffix(memory)
        let (first, end) = (Int(source.sentenceStarts[sentences.lowerBound]), Int(source.sentenceStarts[sentences.upperBound]))
        let shift = Int32(words.count - first)
        words.append(contentsOf: source.words[first..<end])
        for sentence in sentences { sentenceStarts.append(source.sentenceStarts[sentence + 1] + shift) }
        addAges(sentences.count, noise)
        storyStarts.append(Int32(sentenceStarts.count - 1))
        questionWords.append(contentsOf: source.questionWords[question.words])
        questionStarts.append(Int32(questionWords.count))
        answers.append(question.answer)
        questions.append(number)
        tasks.append(question.task)
    }

    /// Ages count, count - 1, ..., 1; or, with up to a tenth of blank slots (a number drawn evenly from 0 to a tenth, rounded up), those of the slots
    /// that are not blank, all choices equally likely (Knuth's selection sampling).
    private mutating func addAges(_ count: Int, _ noise: SeededChoices?) {
        guard var noise else {
            for age in stride(from: count, to: 0, by: -1) { ages.append(Int32(age)) }
            return
        }
        let slots = count + noise.below((count + 9) / 10 + 1)
        var wanted = count
        for age in stride(from: slots, to: 0, by: -1) where noise.below(age) < wanted {
            ages.append(Int32(age))
            wanted -= 1
        }
    }
}

extension StoryQuestions {
    /// Some questions as rows, lanes 0, 1, ...: for evaluation and use.
    /// - Parameters:
    ///   - numbers: which questions.
    ///   - memory: the most sentences of a story; the latest are kept.
    public func rows(_ numbers: some Sequence<Int>, memory: Int) -> StoryRows {
        let numbers = Array(numbers)
        var rows = StoryRows(lanes: Array(numbers.indices), step: .max)
        for number in numbers { rows.add(number, of: self, memory: memory, noise: nil) }
        return rows
    }
}
