// A batch of questions with the facts that each may need, for key-value memory networks.
//
// Legend: B questions (one a lane), M facts of the question with the most.

/// Questions over key-value facts, as weighted bags of symbols.
public struct KnowledgeBatch {
    /// The global lane of each question, [B].
    public var lanes: [Int]
}
