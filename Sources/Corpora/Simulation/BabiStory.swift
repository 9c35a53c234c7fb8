// A story with questions among its facts, and its form in a bAbI file.

/// One story. Its lines are numbered from 1, facts and questions alike.
public struct BabiStory: Sendable, Hashable {
    /// A line of a story, without its number.
    public enum Line: Sendable, Hashable {
        /// A statement, e.g. "Mary moved to the kitchen."
        case fact(String)
        /// A question, its answer, and the numbers of the facts that the answer follows from.
        case question(String, answer: String, supporting: [Int])
    }

    /// The lines in order; line `i` has number `i + 1`.
    public private(set) var lines: [Line] = []

    /// A story without lines.
    public init() {}

    /// The number of questions.
    public var questionCount: Int {
        lines.count { if case .question = $0 { true } else { false } }
    }

    /// The number of the next line.
    var nextNumber: Int { lines.count + 1 }

    /// Adds a fact.
    /// - Returns: its number.
    @discardableResult
    mutating func tell(_ sentence: String) -> Int {
        lines.append(.fact(sentence))
        return lines.count
    }

    /// Adds a question.
    mutating func ask(_ question: String, answer: String, supporting: [Int]) {
        precondition(supporting.allSatisfy { $0 >= 1 && $0 <= lines.count }, "a supporting fact must come before its question")
        lines.append(.question(question, answer: answer, supporting: supporting))
    }

    /// The story in bAbI's file format: `number text`, and for a question `number text<TAB>answer<TAB>numbers`, each with a line feed.
    public var text: String {
        var text = ""
        for (index, line) in lines.enumerated() {
            switch line {
            case .fact(let sentence):
                text += "\(index + 1) \(sentence)\n"
            case .question(let question, let answer, let supporting):
                text += "\(index + 1) \(question)\t\(answer)\t\(supporting.map(String.init).joined(separator: " "))\n"
            }
        }
        return text
    }
}
