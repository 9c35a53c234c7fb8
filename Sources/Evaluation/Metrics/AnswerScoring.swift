// Exact match and F1 of short answers, as SQuAD's evaluation computes them.
//
// Rajpurkar et al. 2016, "SQuAD: 100,000+ questions for machine comprehension of text"; Rajpurkar et al. 2018, "Know what you
// don't know" (version 2.0).

import Diagnostics
import Foundation
import Inputs

/// Mean scores over the questions of a data set.
public struct AnswerScores: Hashable, Sendable, Codable {
    /// Percent of the questions whose normalised answer equals a right one.
    public var exactMatch: Double
    /// Mean word F1 in percent.
    public var f1: Double
    /// Questions in the data set.
    public var questions: Int
    /// Questions without a prediction; they count as 0.
    public var unanswered: Int
}

/// Compares answers after normalisation.
public enum AnswerScoring {
    /// The words of an answer: lower case, without the punctuation of ASCII, without the articles a, an and the.
    public static func normalizedWords(_ answer: String) -> [String] {
        let lowered = MetricText.lowercased(answer).unicodeScalars.filter { !($0.isASCII && MetricText.isASCIIPunctuation(UInt8($0.value))) }
        var words: [String] = []
        var word = ""
        var run = ""
        // An article is a whole run of letters and digits, even inside a word joined by other marks; it becomes a space.
        func endRun() {
            if articles.contains(run) {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.unicodeScalars.append(contentsOf: run.unicodeScalars)
            }
            run = ""
        }
        for scalar in lowered {
            if isWordCharacter(scalar) {
                run.unicodeScalars.append(scalar)
                continue
            }
            endRun()
            if MetricText.isWhitespace(scalar) {
                if !word.isEmpty { words.append(word) }
                word = ""
            } else {
                word.unicodeScalars.append(scalar)
            }
        }
        endRun()
        if !word.isEmpty { words.append(word) }
        return words
    }

    /// Whether an answer equals a right one after normalisation.
    public static func isExactMatch(_ prediction: String, _ answer: String) -> Bool {
        let predicted = normalizedWords(prediction)
        let expected = normalizedWords(answer)
        return predicted.count == expected.count && zip(predicted, expected).allSatisfy { $0.utf8.elementsEqual($1.utf8) }
    }

    /// The F1 of words, each counted as often as it stands; 0 where no word is shared.
    /// - Parameter emptyIsRight: where both sides have no words, the F1 is 1: `evaluate-v2.0.py` says so, and `evaluate-v1.1.py` does not.
    public static func f1(_ prediction: String, _ answer: String, emptyIsRight: Bool = true) -> Double {
        let predicted = normalizedWords(prediction).map { Array($0.utf8) }
        let expected = normalizedWords(answer).map { Array($0.utf8) }
        if predicted.isEmpty || expected.isEmpty { return emptyIsRight && predicted.isEmpty && expected.isEmpty ? 1 : 0 }
        var remaining: [[UInt8]: Int] = [:]
        for word in expected { remaining[word, default: 0] += 1 }
        var matches = 0
        for word in predicted where remaining[word, default: 0] > 0 {
            remaining[word, default: 0] -= 1
            matches += 1
        }
        return 2 * Double(matches) / Double(predicted.count + expected.count)
    }

    /// Scores a file of predictions against a data set in SQuAD's format, version 1.1 or 2.0.
    ///
    /// Version 2.0, which the file's `version` says, or a question without right answers: right answers without words do not count beside others, and a
    /// question without any is answered rightly by an empty answer. Version 1.1: every right answer counts as it is.
    /// - Parameters:
    ///   - dataset: path of the data set.
    ///   - predictions: path of one JSON object from question ids to answers.
    /// - Throws: `UserError`: `missingInput` or `inputOutput` for the files, `badData` when one is not of its format or has no questions.
    public static func scoreSQuAD(dataset: String, predictions: String) throws -> AnswerScores {
        let data = try decode(SQuADFile.self, from: dataset, called: "a data set in SQuAD's format")
        let answers = try decode([String: String].self, from: predictions, called: "an object of question ids and answers")
        var exact = 0
        var total = 0.0
        var questions = 0
        var unanswered = 0
        let all = data.data.lazy.flatMap(\.paragraphs).flatMap(\.qas)
        let isSecond = data.isSecond ?? all.contains { $0.answers.isEmpty }
        for question in all {
            questions += 1
            guard let prediction = answers[question.id] else {
                unanswered += 1
                continue
            }
            var golden = question.answers.map(\.text)
            if isSecond {
                golden.removeAll { normalizedWords($0).isEmpty }
                if golden.isEmpty { golden = [""] }
            }
            if golden.contains(where: { isExactMatch(prediction, $0) }) { exact += 1 }
            total += golden.map { f1(prediction, $0, emptyIsRight: isSecond) }.max() ?? 0
        }
        guard questions > 0 else { throw UserError(.badData, "the data set has no questions", at: dataset) }
        let scale = 100 / Double(questions)
        return AnswerScores(exactMatch: Double(exact) * scale, f1: total * scale, questions: questions, unanswered: unanswered)
    }

    private static let articles: Set<String> = ["a", "an", "the"]

    /// Whether regular expressions count the scalar as part of a word: letters and numbers of any script.
    private static func isWordCharacter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: scalar.properties.numericType != nil
        }
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, from path: String, called name: String) throws -> Value {
        let bytes = try TextFile.bytes(path)
        do {
            return try JSONDecoder().decode(type, from: Data(bytes))
        } catch let error as DecodingError {
            throw UserError(.badData, "this is not \(name): \(error.userDescription)", at: path)
        }
    }

    private struct SQuADFile: Decodable {
        let data: [Article]
        let version: String?
        /// Whether it is of version 2; `nil` where it does not say.
        var isSecond: Bool? { version.map { $0.drop { $0 == "v" || $0 == "V" }.hasPrefix("2") } }
        struct Article: Decodable { let paragraphs: [Paragraph] }
        struct Paragraph: Decodable { let qas: [Question] }
        struct Question: Decodable {
            let id: String
            let answers: [Answer]
        }
        struct Answer: Decodable { let text: String }
    }
}

extension DecodingError {
    /// What is wrong, with the path inside the document.
    fileprivate var userDescription: String {
        func place(_ context: Context) -> String {
            context.codingPath.isEmpty ? "the top level" : context.codingPath.map(\.stringValue).joined(separator: ".")
        }
        switch self {
        case .keyNotFound(let key, let context): return "no '\(key.stringValue)' at \(place(context))"
        case .typeMismatch(_, let context), .valueNotFound(_, let context): return "another type at \(place(context))"
        case .dataCorrupted(let context): return "not valid JSON at \(place(context))"
        @unknown default: return "not readable"
        }
    }
}
