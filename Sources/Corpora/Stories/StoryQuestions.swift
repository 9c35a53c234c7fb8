// Questions about stories as numbers: what memory networks are trained on and asked.

import Diagnostics
import Foundation
import Inputs

/// What was found while questions were read, besides the questions.
public struct StoryFindings: Sendable, Equatable {
    /// Questions and lines left out because they are malformed.
    public var malformed = 0
    /// The first malformed line: where it stands and what is wrong with it.
    public var firstMalformed: String?
    /// Questions left out because no fact stands before them.
    public var questionsWithoutFacts = 0
    /// Facts left out because they hold no word.
    public var emptyFacts = 0
    /// Occurrences of words that the vocabulary does not hold; they are left out of their sentences.
    public var unknownWords = 0
    /// Some of those words, in the order in which they were met.
    public var someUnknownWords: [String] = []
    /// Questions no word of which the vocabulary holds; they are asked without words.
    public var unknownQuestions = 0
    /// Questions whose answer the training data does not hold: they count as answered wrongly.
    public var unseenAnswers = 0
    /// Stories that end with facts instead of a question, as where a file was cut off.
    public var storiesEndingInFacts = 0
    /// What lies in the directory of the files, as if it were one of them, and was not read.
    public var passedOver: [PassedOver] = []

    /// Nothing found.
    public init() {}

    /// Records left out.
    public var leftOut: Int { malformed + questionsWithoutFacts + emptyFacts }

    mutating func addMalformed(_ what: String, at place: RecordPlace) {
        malformed += 1
        if firstMalformed == nil { firstMalformed = "\(what) (\(place.file), line \(place.line))" }
    }

    mutating func addUnknown(_ word: String) {
        unknownWords += 1
        if someUnknownWords.count < 8, !someUnknownWords.contains(word) { someUnknownWords.append(word) }
    }

    /// What a person should know, a line for each kind of finding.
    public var notes: [String] {
        var notes = passedOver.map { "passed over \($0.description)" }
        if malformed > 0 { notes.append("\(quantity(malformed, "malformed line")) left out, the first: \(firstMalformed ?? "unknown")") }
        if questionsWithoutFacts > 0 { notes.append("\(quantity(questionsWithoutFacts, "question")) left out, with no fact before") }
        if emptyFacts > 0 { notes.append("\(quantity(emptyFacts, "fact")) left out, without a word") }
        if unknownWords > 0 {
            notes.append("\(quantity(unknownWords, "unknown word")) left out, such as \(someUnknownWords.joined(separator: ", "))")
        }
        if unknownQuestions > 0 { notes.append("\(quantity(unknownQuestions, "question")) without a known word") }
        if unseenAnswers > 0 { notes.append("\(quantity(unseenAnswers, "question")) with an answer unseen in training, counted as wrong") }
        if storiesEndingInFacts > 0 {
            notes.append("\(quantity(storiesEndingInFacts, "story", "stories")) without a question at the end: was a file cut off?")
        }
        return notes
    }

    /// - Throws: `UserError` (.badData) when more was left out than `limit`.
    public func check(limit: Int, at place: String) throws {
        guard leftOut > limit else { return }
        throw UserError(
            .badData, "\(quantity(leftOut, "record")) left out, more than \(limit): \(notes.joined(separator: "; "))", at: place,
            advice: "mend the data, or raise task.maximumBadRecords")
    }
}

/// Questions, each with its story so far.
public struct StoryQuestions: Sendable {
    /// One question.
    public struct Question: Sendable, Equatable {
        /// Its story: sentences of `sentenceStarts`, oldest first.
        public var sentences: Range<Int>
        /// Its words, in `questionWords`.
        public var words: Range<Int>
        /// The class of the answer, -1 for one unseen in training.
        public var answer: Int32
        /// The task's number.
        public var task: Int
        /// The sentences that support the answer, in `supportingSentences`.
        public var support: Range<Int>
    }

    /// The words of all sentences, one after another.
    public internal(set) var words: [Int32] = []
    /// Where each sentence begins in `words`, and the end of the last.
    public internal(set) var sentenceStarts: [Int32] = [0]
    /// The words of all questions, one after another.
    public internal(set) var questionWords: [Int32] = []
    /// Sentences that support answers, question after question.
    public internal(set) var supportingSentences: [Int] = []
    /// In the order of the files.
    public internal(set) var questions: [Question] = []
    /// What was found besides.
    public var findings = StoryFindings()
    /// The answers as they are written, where they are no words of the vocabulary (`answer` -1).
    public internal(set) var unseenAnswers: [Int: String] = [:]

    /// No questions.
    public init() {}

    /// The number of questions.
    public var count: Int { questions.count }

    /// The number of sentences of the longest story.
    public var longestStory: Int { questions.map(\.sentences.count).max() ?? 0 }

    /// The numbers of the words of a sentence.
    public func sentence(_ index: Int) -> ArraySlice<Int32> { words[Int(sentenceStarts[index])..<Int(sentenceStarts[index + 1])] }

    /// Adds a sentence.
    mutating func addSentence(_ sentence: [Int32]) {
        words.append(contentsOf: sentence)
        sentenceStarts.append(Int32(words.count))
    }

    /// The questions of some numbers, in that order, over the same sentences.
    public func selecting(_ numbers: [Int]) -> StoryQuestions {
        var result = self
        result.questions = numbers.map { questions[$0] }
        result.unseenAnswers = [:]
        for (place, number) in numbers.enumerated() { result.unseenAnswers[place] = unseenAnswers[number] }
        return result
    }

    // MARK: reading

    /// Reads bAbI files.
    /// - Parameters:
    ///   - files: paths with their tasks' numbers, in the order in which questions are wanted.
    ///   - vocabulary: what gives words their numbers.
    ///   - isTraining: words and answers that are new are added to the vocabulary. Otherwise they are counted.
    /// - Throws: `UserError` where a file cannot be read. What is wrong in a file is left out and counted.
    public init(babi files: [(path: String, task: Int)], vocabulary: inout StoryVocabulary, isTraining: Bool) throws {
        try read(files, .questions, &vocabulary, isTraining: isTraining)
    }

    /// Reads dialog bAbI files: every utterance of the user is a question, the reply its answer, and both are remembered for the next one.
    /// - Parameters:
    ///   - files: paths with their tasks' numbers, in the order in which questions are wanted.
    ///   - vocabulary: its `answers` are what is replied; a reply that is none of them is unseen.
    ///   - isTraining: words that are new are added to the vocabulary. Otherwise they are counted.
    /// - Throws: `UserError` where a file cannot be read. What is wrong in a file is left out and counted.
    public init(dialogs files: [(path: String, task: Int)], vocabulary: inout StoryVocabulary, isTraining: Bool) throws {
        let classes = Dictionary((vocabulary.answers ?? []).enumerated().map { ($1, Int32($0)) }) { first, _ in first }
        try read(files, .dialogs(classes: classes), &vocabulary, isTraining: isTraining)
    }

    /// What a line with a tab means.
    private enum Form {
        /// A question and its answer, which are forgotten afterwards.
        case questions
        /// What the user says, and the reply: both become sentences. The class of each reply.
        case dialogs(classes: [String: Int32])
    }

    /// The words that say whose an utterance is.
    static let (userMark, replyMark) = ("$user", "$reply")

    private mutating func read(_ files: [(path: String, task: Int)], _ form: Form, _ vocabulary: inout StoryVocabulary, isTraining: Bool) throws {
        for file in files {
            let reader = BabiReader(files: [file.path])
            defer { findings.storiesEndingInFacts += reader.storiesEndingInFacts }
            var story = StoryInProgress()
            while true {
                do {
                    guard let record = try reader.next() else { break }
                    add(record, reader, form, task: file.task, &story, &vocabulary, isTraining: isTraining)
                } catch let error as RecordError {
                    findings.addMalformed(error.what, at: error.place)
                }
            }
        }
    }

    /// What is known of the story that is being read.
    private struct StoryInProgress {
        var number = -1
        var firstSentence = 0
        /// Bytes of the record's source that earlier records of the story have shown.
        var consumed = 0
        /// The sentence of each fact, -1 for one without words.
        var sentences: [Int] = []
    }

    private mutating func add(
        _ record: CorpusRecord, _ reader: BabiReader, _ form: Form, task: Int, _ story: inout StoryInProgress, _ vocabulary: inout StoryVocabulary,
        isTraining: Bool
    ) {
        if story.number != reader.storyNumber {
            story = StoryInProgress()
            (story.number, story.firstSentence) = (reader.storyNumber, sentenceStarts.count - 1)
        }
        var lines = record.source[story.consumed...].split(separator: 0x0a)
        guard let questionLine = lines.popLast() else { return }
        for line in lines {
            story.consumed = line.endIndex + 1
            let words = vocabulary.split(line)
            if case .dialogs = form, Self.isIncomplete(words) {
                let line = "the line '\(words.joined(separator: " "))' lacks a subject, a relation or a value; it stands before the utterance"
                findings.addMalformed(line, at: record.place)
                story.sentences.append(-1)
                continue
            }
            let sentence = numbers(words, &vocabulary, isTraining: isTraining)
            if sentence.isEmpty {
                findings.emptyFacts += 1
                story.sentences.append(-1)
                continue
            }
            story.sentences.append(sentenceStarts.count - 1)
            addSentence(sentence)
        }
        let sentences = story.firstSentence..<sentenceStarts.count - 1
        if isTraining { vocabulary.longestStory = max(vocabulary.longestStory, sentences.count) }
        let words = vocabulary.split(questionLine)
        let reply = record.target ?? []
        switch form {
        case .questions:
            guard !sentences.isEmpty else {
                findings.questionsWithoutFacts += 1
                return
            }
            let answer = vocabulary.folded(reply)
            let question = numbers(words, &vocabulary, isTraining: isTraining)
            if question.isEmpty { findings.unknownQuestions += 1 }
            add(
                story: sentences, question: question, answer: answer, number: isTraining ? vocabulary.add(answer) : vocabulary[answer], task: task,
                support: reader.supportingFacts.map { story.sentences[$0] }.filter { $0 >= 0 })
        case .dialogs(let classes):
            let utterance = numbers([Self.userMark] + words, &vocabulary, isTraining: isTraining)
            if utterance.count == 1 { findings.unknownQuestions += 1 }
            let answer = String(decoding: reply, as: UTF8.self)
            add(story: sentences, question: utterance, answer: answer, number: classes[answer], task: task, support: [])
            addSentence(utterance)
            addSentence(numbers([Self.replyMark] + vocabulary.split(reply), &vocabulary, isTraining: isTraining))
        }
    }

    /// Whether a line of a knowledge base, which has a subject, a relation such as `R_phone` and a value, lacks one of them.
    private static func isIncomplete(_ words: [String]) -> Bool {
        guard let relation = relation(in: words) else { return false }
        return relation == 0 || relation == words.count - 1
    }

    /// The place of a knowledge base's relation among the words of a line, which are in lower case.
    private static func relation(in words: [String]) -> Int? { words.firstIndex { $0.hasPrefix("r_") } }

    /// Adds a question whose answer may have no number.
    private mutating func add(story: Range<Int>, question: [Int32], answer: String, number: Int32?, task: Int, support: [Int]) {
        if number == nil {
            findings.unseenAnswers += 1
            unseenAnswers[questions.count] = answer
        }
        add(story: story, question: question, answer: number ?? -1, task: task, support: support)
    }

    /// Adds a question about sentences that were added before.
    mutating func add(story: Range<Int>, question: [Int32], answer: Int32, task: Int, support: [Int] = []) {
        let (firstWord, firstSupport) = (questionWords.count, supportingSentences.count)
        questionWords.append(contentsOf: question)
        supportingSentences.append(contentsOf: support)
        questions.append(
            Question(
                sentences: story, words: firstWord..<questionWords.count, answer: answer, task: task,
                support: firstSupport..<supportingSentences.count))
    }

    /// The numbers of words; unknown ones are left out and counted, or added.
    mutating func numbers(_ words: [String], _ vocabulary: inout StoryVocabulary, isTraining: Bool) -> [Int32] {
        if isTraining {
            vocabulary.longestSentence = max(vocabulary.longestSentence, words.count)
            return words.map { vocabulary.add($0) }
        }
        return words.compactMap { word in
            if let number = vocabulary[word] { return number }
            findings.addUnknown(word)
            return nil
        }
    }

    /// One story typed by a person: facts, the last line the question, as `TypedStory` reads them.
    /// - Throws: `UserError` (.badData) where there is no question, no fact before it, or no word that is known in either.
    public init(typed text: String, vocabulary: StoryVocabulary) throws {
        let story = TypedStory(text)
        guard let question = story.question else {
            throw UserError(.badData, "there is no question", advice: "give facts, a line each, and the question as the last line")
        }
        guard !story.facts.isEmpty else {
            throw UserError(.badData, "no fact stands before the question '\(question)'", advice: "give facts, a line each, before the question")
        }
        var vocabulary = vocabulary
        for line in story.facts {
            let sentence = numbers(vocabulary.split(line.utf8), &vocabulary, isTraining: false)
            if sentence.isEmpty { findings.emptyFacts += 1 } else { addSentence(sentence) }
        }
        let words = numbers(vocabulary.split(question.utf8), &vocabulary, isTraining: false)
        guard sentenceStarts.count > 1, !words.isEmpty else {
            let what = words.isEmpty ? "the question" : "the facts"
            throw UserError(.badData, "no word of \(what) is known to the model", advice: "use the words of the training data: see vocabulary.json")
        }
        add(story: 0..<sentenceStarts.count - 1, question: words, answer: -1, task: 0)
    }

    /// A dialog typed by a person: lines of the user and of the replies in turn, or KB lines as the data has them; the last line is what the user
    /// says. A tab between both, as the files have it, puts them on one line.
    /// - Throws: `UserError` (.badData) where there is no line, or no word that is known.
    public init(typedDialog text: String, vocabulary: StoryVocabulary) throws {
        var lines: [(text: String, reply: String?)] = text.utf8.split(separator: 0x0a).compactMap { line in
            Array(line).withUnsafeBufferPointer { bytes in
                let line = BabiLine(bytes)
                return line.text.isEmpty
                    ? nil : (String(decoding: line.text, as: UTF8.self), line.answer.map { String(decoding: $0, as: UTF8.self) })
            }
        }
        guard let last = lines.popLast()?.text else {
            throw UserError(.badData, "there is nothing to reply to", advice: "give the dialog, a line each, what the user says last")
        }
        var vocabulary = vocabulary
        var isUser = true
        for (line, reply) in lines {
            let words = vocabulary.split(line.utf8)
            if let reply {
                addSentence(numbers([Self.userMark] + words, &vocabulary, isTraining: false))
                addSentence(numbers([Self.replyMark] + vocabulary.split(reply.utf8), &vocabulary, isTraining: false))
                isUser = true
            } else if Self.relation(in: words) != nil {
                guard !Self.isIncomplete(words) else {
                    throw UserError(.badData, "'\(line)' lacks a subject, a relation or a value", advice: "write a fact as SUBJECT R_RELATION VALUE")
                }
                addSentence(numbers(words, &vocabulary, isTraining: false))
            } else {
                addSentence(numbers([isUser ? Self.userMark : Self.replyMark] + words, &vocabulary, isTraining: false))
                isUser.toggle()
            }
        }
        let words = numbers([Self.userMark] + vocabulary.split(last.utf8), &vocabulary, isTraining: false)
        guard words.count > 1 else {
            throw UserError(.badData, "no word of '\(last)' is known to the model", advice: "use the words of the training data: see vocabulary.json")
        }
        add(story: 0..<sentenceStarts.count - 1, question: words, answer: -1, task: 0)
    }
}
