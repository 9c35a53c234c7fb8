// All hops of an end-to-end memory network that reads a text word by word (Sukhbaatar, Szlam, Weston and Fergus, "End-to-end memory networks", 2015,
// section 5), as one operation over all positions.
//
// Legend: B sequences, T positions that something is predicted after, S words of a sequence: S - T before the first position, then the T words at the
// positions; M window, D width, K hops, G tables.

import Diagnostics
import Tensors

/// What the words of some sequences mean to the hops.
public struct SlidingMemoryTables {
    /// The rows of the words in each table, [B, S, D], float32: A x or C x.
    public var words: [Tensor]
    /// Temporal rows of each table, [M, D]: row a - 1 for age a, which is 1 for the word at the position itself.
    public var times: [Tensor]
    /// For each hop the tables of its input memory m and its output memory c.
    public var hops: [(keys: Int, values: Int)]
    /// H, [D, D]: the state goes through it from hop to hop; `nil` leaves it as it is.
    public var transition: Tensor?

    /// Tables as described above; their shapes are checked where they are used.
    public init(words: [Tensor], times: [Tensor], hops: [(keys: Int, values: Int)], transition: Tensor? = nil) {
        self.words = words
        self.times = times
        self.hops = hops
        self.transition = transition
    }
}

/// An end-to-end memory over the latest M words, at every position of a text.
///
/// At position t the memory is the word at t, of age 1, and the M - 1 words before it, each a sentence of its own: m = A x + T_A(age),
/// c = C x + T_C(age). The first state is a constant; a hop is p = softmax(u m^T), u' = H u + p c, rectified in part.
public struct SlidingMemory: Sendable {
    /// D.
    public let width: Int
    /// The last units of every state but the first that go through a rectifier; 0 for none, D for all.
    public let rectifiedUnits: Int
    /// The value of every unit of the first state.
    public let firstState: Float

    /// A memory without parameters of its own: the tables are given with every call.
    /// - Parameters:
    ///   - width: D.
    ///   - rectifiedUnits: units that go through a rectifier after each hop, at most D.
    ///   - firstState: the paper's constant.
    public init(width: Int, rectifiedUnits: Int = 0, firstState: Float = 0.1) {
        require(width > 0 && rectifiedUnits >= 0 && rectifiedUnits <= width, "\(rectifiedUnits) rectified units of \(width)")
        self.width = width
        self.rectifiedUnits = rectifiedUnits
        self.firstState = firstState
    }

    /// What the hops give.
    public struct Output {
        /// u after the last hop, [B, T, D], on the tape of the tables.
        public let state: Tensor
        /// p of each hop and position, [K, B, T, M], the oldest word first; 0 where there is no word.
        public let attention: Tensor
    }

    /// Goes through all hops at all positions.
    ///
    /// Neighbouring positions share all memories but one, and a word's rows are the same wherever it stands in the window. So the scores of some
    /// positions are a band of the product of their states with the rows of all words they see, plus the product of the states with the
    /// temporal rows; what they read is the product of that band with the words' rows plus that of the attention with the temporal rows.
    /// Nothing is gathered.
    ///
    /// - Parameters:
    ///   - tables: the parameters, and the rows of the words.
    ///   - positions: T, at least 1.
    ///   - empty: for each sequence the first words that are none and are never attended to, at most S - T; what their rows hold does not matter.
    /// - Complexity: with blocks of R positions, R about M / 4, a hop takes 2 B T D (2 (M + R) + 2 M + D) flops forward, twice that backward. Keeps
    ///   K B T (M + D) values; scratch memory comes from the pool, a block of R (M + R) values a thread. No hop and no position allocates.
    public func callAsFunction(_ tables: SlidingMemoryTables, positions: Int, empty: [Int]) -> Output {
        let pass = SlidingMemoryPass(self, tables, positions: positions, empty: empty)
        pass.run()
        let inputs = tables.words + tables.times + (tables.transition.map { [$0] } ?? [])
        let state = Operation("sliding memory").record(pass.finalState(), from: inputs) { pass.accumulateGradients($0) }
        return Output(state: state, attention: pass.attention)
    }
}
