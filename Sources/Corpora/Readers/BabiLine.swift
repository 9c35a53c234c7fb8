// One line of bAbI's form, in a file or typed by a person.

/// A line taken apart: `4 Mary took the milk.`, or `5 Where is the milk? <tab> kitchen <tab> 4 1`.
///
/// Behind the number stands white space, a tab included. A tab ends a question and an answer even where nothing follows it.
struct BabiLine {
    /// The number in front, from 1; `nil` where the line does not begin with one.
    let number: Int?
    /// The fact or the question, without white space at its ends.
    let text: UnsafeBufferPointer<UInt8>
    /// The answer; `nil` where no tab follows the text.
    let answer: UnsafeBufferPointer<UInt8>?
    /// The numbers of the facts that support the answer, as they are written.
    let support: [UnsafeBufferPointer<UInt8>]

    /// - Parameter line: without its end; the parts point into it.
    init(_ line: UnsafeBufferPointer<UInt8>) {
        let line = line.trimmedBetweenTabs
        var digits = 0
        while digits < line.count, line[digits] >= 0x30, line[digits] <= 0x39 { digits += 1 }
        let space = digits < line.count ? WhiteSpace.unicode.length(line, at: digits) : 0
        number = digits == line.count || space > 0 ? Self.number(UnsafeBufferPointer(rebasing: line[..<digits])) : nil
        let rest = number == nil ? line : UnsafeBufferPointer(rebasing: line[(digits + space)...]).trimmedBetweenTabs
        guard let tab = rest.firstIndex(of: 0x09) else {
            (text, answer, support) = (rest.trimmed, nil, [])
            return
        }
        let columns = UnsafeBufferPointer(rebasing: rest[(tab + 1)...])
        let end = columns.firstIndex(of: 0x09) ?? columns.count
        text = UnsafeBufferPointer(rebasing: rest[..<tab]).trimmed
        answer = UnsafeBufferPointer(rebasing: columns[..<end]).trimmed
        support = UnsafeBufferPointer(rebasing: columns[end...]).words()
    }

    /// A positive number of at most nine digits.
    static func number(_ digits: UnsafeBufferPointer<UInt8>) -> Int? {
        guard !digits.isEmpty, digits.count <= 9 else { return nil }
        var value = 0
        for digit in digits {
            guard digit >= 0x30, digit <= 0x39 else { return nil }
            value = value * 10 + Int(digit - 0x30)
        }
        return value > 0 ? value : nil
    }
}

/// A story that a person typed, or copied from a bAbI file.
///
/// It is read as a file is: a line may begin with its number, earlier questions (lines with a tab and an answer) are no facts, and number 1 begins
/// a story of its own.
public struct TypedStory: Sendable, Equatable {
    /// The lines before the question.
    public private(set) var facts: [String] = []
    /// The last line; `nil` for a text without any.
    public private(set) var question: String?
    /// What stands behind the question's tab, as in a file.
    public private(set) var answer: String?

    /// Reads lines that end in a line feed.
    public init(_ text: String) {
        var last: (text: String, answer: String?)?
        var numbered = false
        for line in text.utf8.split(separator: 0x0a) {
            Array(line).withUnsafeBufferPointer { bytes in
                let line = BabiLine(bytes)
                guard !line.text.isEmpty else { return }
                if line.number == 1, numbered {
                    facts = []
                } else if let last, last.answer == nil {
                    facts.append(last.text)
                }
                numbered = numbered || line.number != nil
                last = (String(decoding: line.text, as: UTF8.self), line.answer.map { String(decoding: $0, as: UTF8.self) })
            }
        }
        (question, answer) = (last?.text, last?.answer)
        if answer == "" { answer = nil }
    }

    /// The facts and the question, a line each: what a reader of files gives as a record's source.
    public var text: String { (facts + [question].compactMap(\.self)).joined(separator: "\n") }

    /// Whether the last line is written as a question: it ends in a question mark, with other marks around it or not, or an answer follows it.
    public var endsInQuestion: Bool {
        guard let question else { return false }
        if answer != nil { return true }
        return question.unicodeScalars.reversed().prefix { $0.properties.isPunctuationOrSpace }.contains { Self.questionMarks.contains($0) }
    }

    /// The question marks of ASCII, Greek, Arabic, and of wide and doubled forms.
    private static let questionMarks = Set("?\u{37e}\u{61f}\u{203d}\u{2047}\u{2048}\u{2049}\u{fe56}\u{ff1f}".unicodeScalars)
}

extension Unicode.Scalar.Properties {
    fileprivate var isPunctuationOrSpace: Bool {
        switch generalCategory {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation, .finalPunctuation, .otherPunctuation,
            .spaceSeparator:
            true
        default: isWhitespace
        }
    }
}
