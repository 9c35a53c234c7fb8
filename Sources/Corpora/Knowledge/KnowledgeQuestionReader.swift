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
    /// read as WikiMovies has them: `1 question?<TAB>answer, answer`.
    /// - Parameters:
    ///   - path: the questions.
    ///   - kinds: a file with the kind of each question in the same line; `nil` for none.
    ///   - skipLimit: the most wrong lines that are passed over.
    /// - Throws: `UserError` where a file cannot be read, the files do not have as many lines, or too many lines are wrong.
    public static func read(path: String, kinds: String? = nil, skipLimit: Int = 0) throws -> Result {
        var skipped = SkippedRecords(limit: skipLimit)
        var kindOfLine: [Int: String] = [:]
        var (lines, kindLines) = (0, 0)
        if let kinds {
            try forEachLine(kinds, &skipped) { text, number in
                kindOfLine[number] = text.trimmingCharacters(in: .whitespaces)
                kindLines = number
            }
        }
        var questions: [KnowledgeQuestion] = []
        try forEachLine(path, &skipped) { text, number in
            lines = number
            if text.isEmpty { return }
            guard let tab = text.firstIndex(of: "\t") else { throw KnowledgeFault("no tab and answer after the question") }
            var question = text[..<tab].trimmingCharacters(in: .whitespaces)
            let isNumbered =
                question.prefix { $0 != " " }.allSatisfy(\.isNumber) && question.contains(" ") && question.hasSuffix("?") && !question.contains("[")
            if isNumbered { question = String(question.drop { $0 != " " }.dropFirst()) }
            guard !question.isEmpty else { throw KnowledgeFault("no question before the tab") }
            let answers = text[text.index(after: tab)...].split(separator: isNumbered ? "," : "|").map { $0.trimmingCharacters(in: .whitespaces) }
                .filter { !$0.isEmpty }
            guard !answers.isEmpty else { throw KnowledgeFault("no answer after the tab") }
            questions.append(KnowledgeQuestion(text: question, answers: answers, kind: kindOfLine[number]))
        }
        if let kinds, kindLines != lines {
            throw UserError(.badData, "it has \(kindLines) lines, \(path) has \(lines)", at: kinds, advice: "name the kinds of these questions")
        }
        return Result(questions: questions, skipped: skipped)
    }
}
