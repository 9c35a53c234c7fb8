// What a Transformer-XL and a Compressive Transformer are made of.

import Configuration

/// The section `model` of `kind: transformer-xl` and `kind: compressive-transformer`.
public struct TransformerXLConfiguration: ModelConfiguration, Equatable {
    /// Blocks.
    public var layers: Int
    /// D.
    public var width: Int
    /// H, a divisor of D.
    public var heads: Int
    /// The inner width of the feed-forward blocks.
    public var feedForward: Int
    /// M, the latest positions that a lane remembers; 0 for a model that sees its segment alone.
    public var memory = 128
    /// The same while it is evaluated, and while it writes.
    public var evaluationMemory = 128
    /// What becomes of positions that leave the memory; `nil` where they are forgotten.
    public var compression: CompressionConfiguration?
    /// Distances above this are encoded as this one; `nil` where each is encoded as itself.
    public var clamp: Int?
    /// Whether in evaluation every position sees itself and as many positions before it as a lane remembers, instead of all there are.
    public var sameLength = false
    /// How many positions of its own segment a position sees, the latest ones, itself among them; `nil` for all.
    public var window: Int?
    /// The layer that also attends to stored keys and values; `nil` where none does.
    public var memorizing: MemorizingConfiguration?
    /// Whether a lane forgets where a document begins.
    public var resets = false
    /// The rate of all dropouts but the next one.
    public var dropout: Float = 0
    /// The rate of dropout on the probabilities of attention.
    public var attentionDropout: Float = 0
    /// Normalise before each sublayer instead of after it.
    public var preNorm = false
    /// The probability that is spread over the whole vocabulary in the training loss.
    public var labelSmoothing: Float = 0
    /// Compute each layer's activations again in the backward pass instead of keeping them. Changes no result.
    public var recompute = false

    /// A Transformer-XL of some size, without dropout. `feedForward` is 4 D where it is not given.
    public init(layers: Int, width: Int, heads: Int, feedForward: Int? = nil, memory: Int = 128) {
        (self.layers, self.width, self.heads, self.memory, evaluationMemory) = (layers, width, heads, memory, memory)
        self.feedForward = feedForward ?? 4 * width
    }

    public init(_ kind: ModelKind, _ section: ConfigurationSection) throws {
        let width = try section.int("width", "The width of embeddings and of every block.", in: SizeLimits.width)
        let heads = try section.int("heads", "Attention heads of a block, a divisor of model.width.", in: SizeLimits.width)
        guard width % heads == 0 else { throw section.error("heads", "is \(heads), which does not divide model.width, \(width)") }
        self.init(layers: try section.int("layers", "Blocks, one on top of the other.", in: SizeLimits.layers), width: width, heads: heads)
        feedForward = try section.int(
            "feedForward", "The inner width of the feed-forward blocks.", default: feedForward, defaultText: "4 times model.width",
            in: SizeLimits.positions)
        memory = try section.int(
            "memory", "The latest positions whose hidden states a lane remembers, in each layer; 0 reads each segment alone.", default: memory,
            in: 0...SizeLimits.positions.upperBound)
        evaluationMemory = try section.int(
            "evaluationMemory", "The same while the model is evaluated or writes.", default: memory, defaultText: "model.memory",
            in: 0...SizeLimits.positions.upperBound, onResume: .free)
        guard memory > 0 || evaluationMemory == 0 || section.fillsIn else {
            throw section.error(
                "evaluationMemory", "is \(evaluationMemory), and a model that was trained with model.memory 0 remembers nothing",
                advice: "leave it out, or raise model.memory")
        }
        if kind == .compressiveTransformer {
            if let key = [("memory", memory), ("evaluationMemory", evaluationMemory)].first(where: { $0.1 == 0 })?.0, !section.fillsIn {
                throw section.error(
                    key, "is 0, and nothing leaves such a memory to be compressed", advice: "raise it, or choose kind: transformer-xl")
            }
            compression = try CompressionConfiguration(section.section("compression"), memory: memory, evaluationMemory: evaluationMemory)
        }
        clamp = try section.optionalInt(
            "clamp", "Distances above this one share its encoding.", defaultText: "each distance has its own", in: SizeLimits.positions)
        if kind == .transformerXL {
            sameLength = try section.bool(
                "sameLength", "In evaluation every position sees as many positions before it as a lane remembers, instead of all there are.",
                default: sameLength, onResume: .free)
        }
        guard !sameLength || evaluationMemory > 0 || section.fillsIn else {
            throw section.error("sameLength", "asks for a memory in evaluation", advice: "raise model.evaluationMemory, or leave it out")
        }
        window = try section.optionalInt(
            "window",
            "How many positions of its own segment a position sees, the latest ones, itself among them. What is remembered of earlier segments is seen whole.",
            defaultText: "all of them", in: 2...SizeLimits.positions.upperBound)
        memorizing = try section.memorizing(layers: layers)
        resets = try section.bool("resetAtDocuments", "A lane forgets what it remembers where a document begins.", default: resets)
        dropout = try section.rate("dropout", "The rate of dropout on embeddings, encoded distances, sublayers and the last state.", default: dropout)
        attentionDropout = try section.rate(
            "attentionDropout", "The rate of dropout on the probabilities of attention.", default: attentionDropout)
        preNorm = try section.bool("preNorm", "Normalise before each sublayer instead of after it.", default: false)
        labelSmoothing = try section.labelSmoothing(default: labelSmoothing)
        recompute = try section.recompute(default: recompute)
    }

    public var kind: ModelKind { compression == nil ? .transformerXL : .compressiveTransformer }
    public var maximumLength: Int? { nil }
    public var carriesMemory: Bool { memory > 0 || memorizing != nil }
    public var carryKey: String { memory > 0 ? "memory" : "memorizing" }
    public var carryAdvice: String { memory > 0 ? "set it to 0" : "leave it out" }
    public func makeModel(vocabularySize: Int) -> any LanguageModel { TransformerXL(self, vocabularySize: vocabularySize) }
}
