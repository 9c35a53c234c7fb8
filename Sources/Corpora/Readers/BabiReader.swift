// bAbI's question-answering tasks: numbered lines, questions among them.

import Diagnostics
import Inputs

extension CorpusProfile {
    /// Stories with questions and answers: the question stands last, the answer is a word or a few.
    static let babi = CorpusProfile(
        readerOptions: [.split], truncatedSide: .beginning, scoring: .answer,
        generation: GenerationDefaults(beamSize: 1, limit: .longestTarget(atLeast: 16)),
        list: { inputs, options in
            try InputFiles.list(inputs, wanted: "bAbI task file of the split \(options.split)") { BabiTask.isFile($0, ofSplit: options.split) }
        },
        makeReader: { BabiReader(files: $0, maximumLineBytes: $1.maximumLineBytes) })
}

/// Questions of bAbI files, each with the facts that precede it in its story.
///
/// A record's source is every fact so far, one a line, then the question as the last line; earlier questions are not part of it. Its
/// target is the answer as it is written, its label the task: an index into `labels`. A malformed line spoils the facts of its story, so the rest
/// of that story is passed over with it.
public final class BabiReader: CorpusReader {
    public let isPaired = true
    /// The tasks of the files read, by number, e.g. "qa1_single-supporting-fact".
    public let labels: [String]
    /// The supporting facts of the record that `next` gave last, as places in its story's facts, from 0, in the order of the file.
    public private(set) var supportingFacts: [Int] = []
    /// Stories begun so far: records of one number share their story, each with the facts of the one before it and perhaps more.
    public private(set) var storyNumber = 0

    /// Stories so far whose last line is a fact, which no question asks about: a file that was cut off ends with one.
    public private(set) var storiesEndingInFacts = 0

    private let files: [(path: String, label: Int32)]
    private let maximumLineBytes: Int
    private var fileIndex = 0
    private var lines: LineReader?
    private var facts: [UInt8] = []
    /// The place of each fact in its story, from 0, by its line number.
    private var factPlaces: [Int: Int] = [:]
    private var lastIdentifier = 0
    private var skipsStory = false
    private var lastLineIsFact = false

    /// - Parameter files: paths of task files; they are read in the order of their tasks, those of one task in the order given.
    public init(files: [String], maximumLineBytes: Int = ReaderOptions.defaultMaximumLineBytes) {
        let tasks = files.map(BabiTask.label(ofFile:))
        let order = Set(tasks).sorted { ($0.number, $0.name) < ($1.number, $1.name) }
        labels = order.map(\.name)
        let sorted = zip(files, tasks).enumerated().sorted {
            ($0.element.1.number, $0.element.1.name, $0.offset) < ($1.element.1.number, $1.element.1.name, $1.offset)
        }
        self.files = sorted.map { entry in
            (path: entry.element.0, label: Int32(order.firstIndex(of: entry.element.1) ?? 0))
        }
        self.maximumLineBytes = maximumLineBytes
    }

    /// - Throws: `RecordError` for a line without a number or without text, a number out of order, a question without words or without an answer, a
    ///   supporting fact that is none of the story's, or a line that is not UTF-8.
    public func next() throws -> CorpusRecord? {
        while true {
            guard let reader = lines else {
                endStory()
                guard fileIndex < files.count else { return nil }
                lines = try LineReader(path: files[fileIndex].path, maximumLineBytes: maximumLineBytes)
                startStory()
                continue
            }
            guard try reader.advance() else {
                lines = nil
                fileIndex += 1
                continue
            }
            do {
                if let record = try readLine(reader) { return record }
            } catch {
                (skipsStory, lastLineIsFact) = (true, false)
                throw error
            }
        }
    }

    private func endStory() {
        if lastLineIsFact { storiesEndingInFacts += 1 }
        lastLineIsFact = false
    }

    private func startStory() {
        endStory()
        facts.removeAll(keepingCapacity: true)
        factPlaces.removeAll(keepingCapacity: true)
        storyNumber += 1
        lastIdentifier = 0
        skipsStory = false
    }

    /// Takes one line in.
    /// - Returns: the record of a question; `nil` for a fact, a blank line and a line of a spoilt story.
    private func readLine(_ reader: LineReader) throws(RecordError) -> CorpusRecord? {
        if let fault = reader.fault {
            if skipsStory { return nil }
            throw fault
        }
        if WhiteSpace.unicode.isBlank(reader.line) { return nil }
        let line = BabiLine(reader.line)
        guard let identifier = line.number else {
            if skipsStory { return nil }
            throw RecordError("no line number before the text; the rest of the story is left out", at: reader.place)
        }
        if identifier == 1 {
            startStory()
        } else if skipsStory {
            return nil
        } else if identifier <= lastIdentifier || lastIdentifier == 0 {
            throw RecordError(
                "line number \(identifier) where \(lastIdentifier + 1) was expected; the rest of the story is left out", at: reader.place)
        }
        lastIdentifier = identifier
        guard let answer = line.answer else {
            if line.text.isEmpty { throw RecordError("no text behind the line number; the rest of the story is left out", at: reader.place) }
            lastLineIsFact = true
            if !facts.isEmpty { facts.append(0x0a) }
            facts.append(contentsOf: line.text)
            factPlaces[identifier] = factPlaces.count
            return nil
        }
        if answer.isEmpty { throw RecordError("a question without an answer; the rest of the story is left out", at: reader.place) }
        supportingFacts = try line.support.map { field throws(RecordError) in
            guard let number = BabiLine.number(field), let fact = factPlaces[number] else {
                let text = String(decoding: field, as: UTF8.self)
                throw RecordError("supporting fact \(text) is no fact of the story; the rest of the story is left out", at: reader.place)
            }
            return fact
        }
        if line.text.isEmpty { throw RecordError("an answer without a question; the rest of the story is left out", at: reader.place) }
        lastLineIsFact = false
        var source = facts
        if !source.isEmpty { source.append(0x0a) }
        source.append(contentsOf: line.text)
        return CorpusRecord(source: source, target: Array(answer), label: files[fileIndex].label, place: reader.place)
    }
}
