// A batch of questions with the facts that each may need, for key-value memory networks.
//
// Legend: B questions (one a lane), F facts of all questions together.

import Diagnostics
import Memory
import Tensors

/// Questions over key-value facts, as weighted bags of symbols. Every question has the facts that key hashing found for it, and may have none.
public struct KnowledgeBatch {
    /// The global lane of each question, [B].
    public var lanes: [Int]
    /// The words and entities of each question, B bags.
    public var questions: WeightedBags
    /// Which facts belong to which question, B segments of F.
    public var facts: Segments
    /// The key of each fact, F bags.
    public var keys: WeightedBags
    /// The value of each fact, F bags.
    public var values: WeightedBags
    /// What may be answered.
    public var candidates: AnswerCandidates
    /// What is right; a question without a right answer among its candidates does not count.
    public var answers: AnswerPlaces

    /// There are a lane, a question and a segment of facts for each of B, a key and a value for each of F.
    public init(
        lanes: [Int], questions: WeightedBags, facts: Segments, keys: WeightedBags, values: WeightedBags, candidates: AnswerCandidates,
        answers: AnswerPlaces
    ) {
        require(
            questions.count == lanes.count && facts.count == lanes.count,
            "\(questions.count) questions, facts of \(facts.count), \(lanes.count) lanes")
        require(
            keys.count == facts.total && values.count == facts.total, "\(keys.count) keys and \(values.count) values for \(facts.total) facts")
        self.lanes = lanes
        self.questions = questions
        self.facts = facts
        self.keys = keys
        self.values = values
        self.candidates = candidates
        self.answers = answers
    }
}
