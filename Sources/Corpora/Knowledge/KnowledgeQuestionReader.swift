// Questions over a knowledge base, in the formats that they are published in.

import Diagnostics
import Foundation

/// Reads questions.
public enum KnowledgeQuestionReader {
    /// What was read.
    public struct Result: Sendable {
        /// In the order of the file.
        public var questions: [KnowledgeQuestion]
        /// Lines that were wrong.
        public var skipped: SkippedRecords
    }

    /// Reads `question with [entity]<TAB>answer|answer` lines. A line that begins with a number, whose question ends with `?` and has no brackets, is
    /// read as WikiMovies has them: `1 question?<TAB>answer, answer`, where a comma that is part of one of `names` divides nothing.
    /// - Parameters:
    ///   - path: the questions.
    ///   - kinds: a file with the kind of each question in the same line; `nil` for none.
    ///   - names: those of the knowledge base.
    ///   - skipLimit: the most wrong lines that are passed over.
    /// - Throws: `UserError` where a file cannot be read, the files do not have as many lines, or too many lines are wrong.
    public static func read(path: String, kinds: String? = nil, names: [String] = [], skipLimit: Int = 0) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var kindOfLine: [Int: String] = [:]
        var (lines, kindLines) = (0, 0)
        if let kinds {
            try forEachLine(kinds, &skipped) { text, number in
                kindOfLine[number] = text.trimmed
                kindLines = number
            }
        }
        let list = NameList(names)
        var questions: [KnowledgeQuestion] = []
        try forEachLine(path, &skipped) { text, number in
            lines = number
            // A tab that nothing stands before or behind is a line that somebody meant to fill.
            if text.trimmed.isEmpty, !text.utf8.contains(0x09) { return }
            let line = KnowledgeQuestionLine(text)
            guard let answers = line.answers else { throw KnowledgeFault("no tab and answer after the question") }
            guard !line.question.isEmpty else { throw KnowledgeFault("no question before the tab") }
            let named = line.isNumbered ? list.divided(answers) : answers.fields(separatedBy: "|").map(\.trimmed).filter { !$0.isEmpty }
            guard !named.isEmpty else { throw KnowledgeFault("no answer after the tab") }
            questions.append(KnowledgeQuestion(text: line.question, answers: named, kind: kindOfLine[number]))
        }
        if let kinds, kindLines != lines {
            throw UserError(.badData, "it has \(kindLines) lines, \(path) has \(lines)", at: kinds, advice: "name the kinds of these questions")
        }
        return Result(questions: questions, skipped: skipped)
    }
}

/// A question of a file, or typed by a person, taken apart: its number goes, and a tab ends it.
public struct KnowledgeQuestionLine: Sendable, Equatable {
    /// Without number and answers.
    public private(set) var question: String
    /// What stands behind the tab; `nil` where there is none.
    public private(set) var answers: String?
    /// Whether the line has WikiMovies' form, a number in front.
    public private(set) var isNumbered = false

    /// Reads one line without its end.
    public init(_ line: String) {
        var fields = line.fields(separatedBy: "\t").map(\.trimmed)
        func isNumber(_ text: some StringProtocol) -> Bool { !text.isEmpty && text.utf8.allSatisfy { $0 >= 0x30 && $0 <= 0x39 } }
        // A tab may stand behind the number too, as in files that went through a spreadsheet.
        if fields.count > 1, isNumber(fields[0]), fields[1].utf8.last == UInt8(ascii: "?") { fields[0...1] = ["\(fields[0]) \(fields[1])"] }
        question = fields[0]
        answers = fields.count > 1 ? fields[1] : nil
        let words = question.fields(separatedBy: " ")
        guard words.count > 1, isNumber(words[0]), question.utf8.last == UInt8(ascii: "?"), !question.utf8.contains(UInt8(ascii: "[")) else { return }
        question = words.dropFirst().joined(separator: " ").trimmed
        isNumbered = true
    }
}
