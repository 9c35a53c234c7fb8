// All hops of an end-to-end memory network as one operation (Sukhbaatar, Szlam, Weston and Fergus, "End-to-end memory networks", 2015).
//
// Legend: B stories, N sentences of all of them, D width, V vocabulary, M temporal rows, K hops, T tables that sentences are summed with.

import Diagnostics
import Tensors

/// What the tables of the hops are, and how they are used.
public struct EndToEndTables {
    /// Tables of word embeddings, [V, D] each, float32. Row 0 is padding and is never read.
    public var words: [Tensor]
    /// Temporal rows that go with the first tables, [M, D] each: row a - 1 for age a. None, or one for each of the T tables that hops use.
    public var times: [Tensor]
    /// For each hop the tables of its input memory m and its output memory c, which differ. A table that no hop names is not read by sentences.
    public var hops: [(keys: Int, values: Int)]
    /// The table that questions are summed with.
    public var question: Int
    /// H, [D, D]: the state goes through it from hop to hop; `nil` leaves it as it is.
    public var transition: Tensor?

    /// Tables as described above; their shapes are checked where they are used.
    public init(words: [Tensor], times: [Tensor], hops: [(keys: Int, values: Int)], question: Int, transition: Tensor? = nil) {
        self.words = words
        self.times = times
        self.hops = hops
        self.question = question
        self.transition = transition
    }

    /// T.
    var memoryTables: Int { (hops.flatMap { [$0.keys, $0.values] }.max() ?? -1) + 1 }
}

/// An end-to-end memory: the part of the network between the words and the answer.
public final class EndToEndMemory {
    /// D.
    public let width: Int
    /// The last units of every state but the first that go through a rectifier; 0 for none, D for all.
    public let rectifiedUnits: Int
    /// With a number, a story has that many slots: those without a sentence hold zeros and can be attended to, as in the authors' released program.
    /// `nil`: sentences alone are attended to.
    public let capacity: Int?
    private var weights: EncodingWeights

    /// A memory without parameters of its own: the tables are given with every call.
    /// - Parameters:
    ///   - width: D.
    ///   - encoding: how the words of a sentence are weighted.
    ///   - rectifiedUnits: units that go through a rectifier after each hop.
    ///   - capacity: slots of a story, empty ones counted; `nil` for none that are empty.
    public init(width: Int, encoding: SentenceEncoding, rectifiedUnits: Int = 0, capacity: Int? = nil) {
        require(width > 0 && rectifiedUnits >= 0 && rectifiedUnits <= width, "\(rectifiedUnits) rectified units of \(width)")
        self.width = width
        self.rectifiedUnits = rectifiedUnits
        self.capacity = capacity
        weights = EncodingWeights(encoding, width: width)
    }

    /// What the hops give.
    public struct Output {
        /// u after the last hop, [B, D], on the tape of the tables.
        public let state: Tensor
        /// What was attended to at each hop, [K, N]: probabilities, or products where the softmax was left out.
        public let attention: Tensor
    }

    /// Reads stories and goes through all hops: p = softmax(u m^T), u' = H u + p c, rectified in part.
    ///
    /// The rows of the words that occur, and of all ages, are gathered side by side for all tables, so that each word is read once, and
    /// every embedding sum is computed once; the gradient touches those rows alone. A story without sentences gives u' = H u.
    ///
    /// - Parameters:
    ///   - stories: what is read.
    ///   - tables: the parameters.
    ///   - isLinear: leave the softmax out (the paper's linear start).
    /// - Complexity: for W words of all sentences 2 T W D flops for the sums and 4 K N D for the hops, twice that backward; keeps T N D values.
    ///   Scratch memory comes from the pool; no hop allocates.
    public func callAsFunction(_ stories: MemorizedStories, _ tables: EndToEndTables, isLinear: Bool = false) -> Output {
        let pass = EndToEndPass(self, stories, tables, isLinear: isLinear)
        pass.run()
        let state = pass.finalState()
        let inputs = tables.words + tables.times + (tables.transition.map { [$0] } ?? [])
        let recorded = Operation("end-to-end memory").record(state, from: inputs) { pass.accumulateGradients($0) }
        return Output(state: recorded, attention: pass.attention)
    }

    /// The weights, with rows for all sentences and questions of some stories.
    func weights(of stories: MemorizedStories) -> EncodingWeights {
        weights.require(stories.sentenceStarts)
        weights.require(stories.questionStarts)
        return weights
    }

    /// Rows of weights that the memory keeps.
    package var weightRows: Int { weights.table.shape[0] }
}
