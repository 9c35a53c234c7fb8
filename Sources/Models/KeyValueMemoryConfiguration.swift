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
    public var width: Int
    /// H, the number of reads.
    public var hops: Int
    /// R after the last hop too, as the paper's equation 3 has it; without it as in the authors' program.
    public var mapsLastHop: Bool
    /// B = A: answers are scored by the table that questions and facts are read with.
    public var sharesAnswerTable: Bool
    /// The standard deviation of the starting values.
    public var deviation: Double
    /// How R_j starts.
    public var hopStart: HopStart

    /// Two hops over tables of width 64. The values are those of the properties; nothing is checked.
    public init(
        width: Int = 64, hops: Int = 2, mapsLastHop: Bool = true, sharesAnswerTable: Bool = true, deviation: Double = 0.1,
        hopStart: HopStart = .identity
    ) {
        self.width = width
        self.hops = hops
        self.mapsLastHop = mapsLastHop
        self.sharesAnswerTable = sharesAnswerTable
        self.deviation = deviation
        self.hopStart = hopStart
    }

    /// Reads the section.
    /// - Throws: `UserError` (.configuration) where a value is not what it must be.
    public init(_ section: ConfigurationSection) throws {
        width = try section.int("width", default: 64, in: 1...)
        hops = try section.int("hops", default: 2, in: 1...)
        mapsLastHop = try section.bool("mapLastHop", default: true)
        sharesAnswerTable = try section.bool("shareAnswerTable", default: true)
        deviation = try section.double("deviation", default: 0.1, in: Double.leastNonzeroMagnitude...)
        hopStart = try section.choice("hopStart", default: .identity)
    }
}
