// Facts, questions, and what was wrong with those that could not be used.

import Diagnostics

/// One fact: a triple, or a sentence of a document.
public struct KnowledgeFact: Sendable, Hashable, Codable {
    /// What it is about; of a sentence, the title of its document.
    public var subject: String
    /// How the object stands to the subject, such as `directed by`; `nil` for a sentence.
    public var relation: String?
    /// The other end; of a sentence, its text.
    public var object: String

    /// A triple; without a relation, a sentence of the document named `subject`.
    public init(_ subject: String, _ relation: String?, _ object: String) {
        self.subject = subject
        self.relation = relation
        self.object = object
    }
}

/// A question with its answers.
public struct KnowledgeQuestion: Sendable, Hashable {
    /// The question; what stands between brackets is the name of an entity.
    public var text: String
    /// The right answers, each of them right.
    public var answers: [String]
    /// What kind of question it is, such as `movie_to_year`; `nil` where the file does not say.
    public var kind: String?

    /// A question with all of its right answers.
    public init(text: String, answers: [String], kind: String? = nil) {
        self.text = text
        self.answers = answers
        self.kind = kind
    }
}

/// Records that were passed over because they are wrong by themselves.
public struct SkippedRecords: Sendable {
    /// How many.
    public private(set) var count = 0
    /// The first few, with their places.
    public private(set) var examples: [RecordError] = []
    /// More than this many are an error.
    private let limit: Int

    /// - Parameter limit: the most that are let pass.
    public init(limit: Int) { self.limit = limit }

    /// Counts one.
    /// - Throws: `UserError(.badData)` when it is one too many.
    public mutating func count(_ error: RecordError) throws {
        count += 1
        if examples.count < 3 { examples.append(error) }
        guard count <= limit else {
            throw UserError(
                .badData, "\(error.what); \(count) records are wrong, and \(limit) may be", at: "\(error.place.file):\(error.place.line)",
                advice: "mend the file, or raise skipLimit")
        }
    }

    /// `3 records skipped, the first at kb.txt:17: no relation`; `nil` where there is none.
    public var report: String? {
        guard let first = examples.first else { return nil }
        return "\(quantity(count, "record")) skipped, the first at \(first.place.file):\(first.place.line): \(first.what)"
    }
}

extension KnowledgeQuestion {
    /// The names in brackets, or the whole question where there are none: what it is about.
    private var topic: String {
        let names = KnowledgeText.parts(text).filter(\.isBracketed).map(\.text)
        return names.isEmpty ? text : names.joined(separator: "\t")
    }

    /// Divides questions by what they are about, so that no entity that one part asks about is asked about in another. A function of the seed.
    /// - Parameter shares: of the parts; they are scaled to add up to 1.
    public static func divided(_ questions: [KnowledgeQuestion], shares: [Double], seed: UInt64) -> [[KnowledgeQuestion]] {
        var numbers: [String: Int] = [:]
        for question in questions where numbers[question.topic] == nil { numbers[question.topic] = numbers.count }
        var parts = [[KnowledgeQuestion]](repeating: [], count: shares.count)
        guard !numbers.isEmpty else { return parts }
        let order = Permutation(count: numbers.count, seed: seed, stream: 0x73_706c_6974)
        let total = shares.reduce(0, +)
        var bounds: [Int] = []
        for end in shares.indices { bounds.append(Int((shares[...end].reduce(0, +) / total * Double(numbers.count)).rounded())) }
        for question in questions {
            let place = order[numbers[question.topic] ?? 0]
            parts[bounds.firstIndex { place < $0 } ?? shares.count - 1].append(question)
        }
        return parts
    }
}
