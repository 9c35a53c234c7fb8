// What an end-to-end memory network is made of, as the run file's section `model` says it.

import Configuration
import Memory

/// How the tables of the hops are tied (Sukhbaatar et al. 2015, section 2.2).
public enum MemoryTying: String, Sendable, CaseIterable {
    /// The output memory of a hop is the input memory of the next: A(k + 1) = C(k); the first one also reads the question, B = A(1).
    case adjacent
    /// All hops share one A and one C; the question has a table of its own.
    case layerWise = "layer-wise"
}

/// The weights of a sentence's words.
public enum MemoryEncoding: String, Sendable, CaseIterable {
    /// A bag of words.
    case bag
    /// The paper's position encoding.
    case position
    /// The form of the authors' released program.
    case releasedPosition = "released-position"
}

/// Which units of the state go through a rectifier after each hop.
public enum MemoryRectifier: String, Sendable, CaseIterable {
    case none
    /// The second half, as the paper's language models have it.
    case half
    /// All: the paper's non-linear variant.
    case all

    /// Units of a state of D that go through it.
    func units(of width: Int) -> Int {
        switch self {
        case .none: 0
        case .half: width / 2
        case .all: width
        }
    }
}

/// The section `model` of a run file with `kind: memory-network`.
public struct MemoryNetworkConfiguration: Sendable, Equatable {
    /// K.
    public var hops: Int
    /// D.
    public var width: Int
    public var encoding: MemoryEncoding
    /// Learned rows by age are added to the sentences.
    public var temporal: Bool
    public var tying: MemoryTying
    /// A learned matrix H on the state between hops.
    public var transition: Bool
    public var rectifier: MemoryRectifier
    /// The answer layer is the last table of words (where answers are words) instead of a matrix of its own.
    public var tiedOutput: Bool
    /// Slots without a sentence hold zeros and can be attended to, as in the authors' released program; otherwise sentences alone are.
    public var emptySlots: Bool
    /// Training steps at the beginning in which the softmax over sentences is left out.
    public var linearStart: Int
    /// The standard deviation of all parameters at the start.
    public var deviation: Float

    /// The paper's single-task model.
    public init(
        hops: Int = 3, width: Int = 20, encoding: MemoryEncoding = .position, temporal: Bool = true, tying: MemoryTying = .adjacent,
        transition: Bool? = nil, rectifier: MemoryRectifier = .none, tiedOutput: Bool? = nil, emptySlots: Bool = false, linearStart: Int = 0,
        deviation: Float = 0.1
    ) {
        self.hops = hops
        self.width = width
        self.encoding = encoding
        self.temporal = temporal
        self.tying = tying
        self.transition = transition ?? (tying == .layerWise)
        self.rectifier = rectifier
        self.tiedOutput = tiedOutput ?? (tying == .adjacent)
        self.emptySlots = emptySlots
        self.linearStart = linearStart
        self.deviation = deviation
    }

    /// Reads the section `model` but for `kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection) throws {
        let tying = try section.choice("tying", default: MemoryTying.adjacent)
        self.init(
            hops: try section.int("hops", default: 3, in: 1...64), width: try section.int("width", default: 20, in: 1...4096),
            encoding: try section.choice("encoding", default: .position), temporal: try section.bool("temporal", default: true), tying: tying,
            transition: try section.bool("transition", default: tying == .layerWise),
            rectifier: try section.choice("rectifier", default: MemoryRectifier.none),
            emptySlots: try section.bool("emptySlots", default: false), linearStart: try section.int("linearStart", default: 0, in: 0...),
            deviation: Float(try section.double("deviation", default: 0.1, in: Double.leastNonzeroMagnitude...)))
    }
}
