// What an end-to-end memory reads: stories of sentences with a question each, without any padding.
//
// Legend: B stories, N sentences of all of them, V vocabulary, M temporal rows.

/// Stories as lists of words, one after the other. Sentences that do not exist take no place, so nothing but sentences can be attended to.
public struct MemorizedStories: Sendable, Equatable {
    /// The words of all sentences, the oldest sentence of each story first; each in 1 ..< V.
    public var words: [Int32] = []
    /// Where each sentence begins in `words`, and the end of the last, [N + 1].
    public var sentenceStarts: [Int32] = [0]
    /// The age of each sentence, [N]: 1 for the latest, more where blanks were put between. Ages above M count as M.
    public var ages: [Int32] = []
    /// Where each story begins in the sentences, and the end of the last, [B + 1].
    public var storyStarts: [Int32] = [0]
    /// The words of all questions; each in 1 ..< V.
    public var questionWords: [Int32] = []
    /// Where each question begins in `questionWords`, and the end of the last, [B + 1].
    public var questionStarts: [Int32] = [0]

    public init() {}

    /// B.
    public var count: Int { storyStarts.count - 1 }
    /// N.
    public var sentenceCount: Int { sentenceStarts.count - 1 }

    /// Adds a sentence to the story that `finishStory` will close.
    public mutating func addSentence(_ sentence: some Sequence<Int32>, age: Int) {
        words.append(contentsOf: sentence)
        sentenceStarts.append(Int32(words.count))
        ages.append(Int32(age))
    }

    /// Closes a story with its question.
    public mutating func finishStory(question: some Sequence<Int32>) {
        storyStarts.append(Int32(sentenceCount))
        questionWords.append(contentsOf: question)
        questionStarts.append(Int32(questionWords.count))
    }

    /// Adds one story: its sentences, oldest first, with ages 1 for the last, 2 for the one before, and so on.
    public mutating func add(sentences: [[Int32]], question: [Int32]) {
        for (index, sentence) in sentences.enumerated() { addSentence(sentence, age: sentences.count - index) }
        finishStory(question: question)
    }
}
