// What an end-to-end memory network is made of, as the run file's section `model` says it.

import Configuration
import Memory

/// How the tables of the hops are tied (Sukhbaatar et al. 2015, section 2.2).
public enum MemoryTying: String, Sendable, CaseIterable {
    /// The output memory of a hop is the input memory of the next: A(k + 1) = C(k); the first one also reads the question, B = A(1).
    case adjacent
    /// All hops share one A and one C; the question has a table of its own.
    case layerWise = "layer-wise"

    /// Whether the state goes through a learned matrix H between hops, unless a run file says otherwise.
    var hasTransition: Bool { self == .layerWise }
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
    public var hops = 3
    /// D.
    public var width = 20
    /// The weights of a sentence's words.
    public var encoding = MemoryEncoding.position
    /// Learned rows by age are added to the sentences.
    public var temporal = true
    /// How the tables of the hops are tied; decides `transition` and `tiedOutput` where it is set.
    public var tying = MemoryTying.adjacent {
        didSet { (transition, tiedOutput) = (tying.hasTransition, tying == .adjacent) }
    }
    /// A learned matrix H on the state between hops.
    public var transition = MemoryTying.adjacent.hasTransition
    /// Which units go through a rectifier after each hop.
    public var rectifier = MemoryRectifier.none
    /// The answer layer is the last table of words (where answers are words) instead of a matrix of its own.
    public var tiedOutput = true
    /// Slots without a sentence hold zeros and can be attended to, as in the authors' released program; otherwise sentences alone are.
    public var emptySlots = false
    /// Training steps at the beginning in which the softmax over sentences is left out.
    public var linearStart = 0
    /// The standard deviation of all parameters at the start.
    public var deviation: Float = 0.1

    /// The paper's single-task model.
    public init() {}

    /// Reads the section `model` but for `kind`.
    /// - Throws: `UserError` (.configuration) that names the key.
    public init(_ section: ConfigurationSection) throws {
        self.init()
        tying = try section.choice("tying", "Which tables of words the hops share.", default: tying)
        hops = try section.int("hops", "How often the memory is read.", default: hops, in: 1...64)
        width = try section.int("width", "The width of the tables of words.", default: width, in: 1...4096)
        encoding = try section.choice("encoding", "How the words of a sentence are weighted.", default: encoding)
        temporal = try section.bool("temporal", "Learned rows by age are added to the sentences.", default: temporal)
        // An initializer does not observe what it sets.
        tiedOutput = tying == .adjacent
        transition = try section.bool(
            "transition", "The state goes through a learned matrix between hops.", default: tying.hasTransition,
            defaultText: "true where model.tying is layer-wise")
        rectifier = try section.choice("rectifier", "Which units of the state go through a rectifier after each hop.", default: rectifier)
        emptySlots = try section.bool(
            "emptySlots", "Slots without a sentence hold zeros and can be attended to, instead of sentences alone.", default: emptySlots)
        linearStart = try section.int(
            "linearStart", "Steps at the beginning in which the softmax over sentences is left out.", default: linearStart, in: 0...,
            onResume: .noted)
        deviation = try section.deviation(default: deviation)
    }
}
