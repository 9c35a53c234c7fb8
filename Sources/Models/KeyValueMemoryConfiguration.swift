// What a key-value memory network is made of, as the run file's section `model` says it.

import Configuration

/// The section `model` of a run file, but for its key `kind`.
public struct KeyValueMemoryConfiguration: Sendable, Equatable {
    /// How R_j starts.
    public enum HopStart: String, Sendable, CaseIterable {
        /// As the identity: a query starts as the sum of what it was and what it has read.
        case identity
        /// Normally distributed, as the other weights.
        case normal
    }

    /// D.
    public var width = 64
    /// H, the number of reads.
    public var hops = 2
    /// R after the last hop too, as the paper's equation 3 has it; without it as in the authors' program.
    public var mapsLastHop = true
    /// B = A: answers are scored by the table that questions and facts are read with.
    public var sharesAnswerTable = true
    /// The standard deviation of the starting values.
    public var deviation: Float = 0.1
    /// How R_j starts.
    public var hopStart = HopStart.identity

    /// Two hops over tables of width 64.
    public init() {}

    /// Reads the section.
    /// - Throws: `UserError` (.configuration) where a value is not what it must be.
    public init(_ section: ConfigurationSection) throws {
        width = try section.int("width", "The width of the tables of symbols.", default: width, in: SizeLimits.width)
        hops = try section.int("hops", "How often the memory is read for a question.", default: hops, in: SizeLimits.layers)
        mapsLastHop = try section.bool(
            "mapLastHop", "The state goes through a learned matrix after the last read too.", default: mapsLastHop)
        sharesAnswerTable = try section.bool(
            "shareAnswerTable", "Answers are scored by the table that questions and facts are read with.", default: sharesAnswerTable)
        deviation = try section.deviation(default: deviation)
        hopStart = try section.choice("hopStart", "What the matrices between reads start as.", default: hopStart)
    }
}
