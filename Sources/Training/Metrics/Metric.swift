// The figures that a run reports, each declared in one place. metrics.jsonl, log.txt, the terminal, TensorBoard and Prometheus come from here.

/// One figure of a run: its name, unit and meaning, and how it is shown. Whoever computes a value computes it of the whole run, over all lanes, so that
/// it does not depend on the number of ranks; only what clocks say is of rank 0.
///
/// A new figure is declared in ``all``'s list, and given its value with `metrics[.name] = value` where it is computed.
public struct Metric: Sendable {
    /// What a value counts in.
    public enum Unit: String, Sendable {
        /// A ratio, a rate without a unit, a number of things that the meaning names.
        case none = ""
        case nats, bits, steps, tokens, seconds
        case tokensPerSecond = "tokens a second"
    }

    /// Where TensorBoard shows it: the part of a tag before the slash.
    public enum Group: String, Sendable { case training, validation, speed }

    /// How a value stands in the line that shows a step to people.
    public enum Display: Sendable {
        /// Four digits after the point: `loss 2.3807`.
        case fixed(String)
        /// Three digits: `learning rate 0.002`.
        case significant(String)
        /// `8383 tokens/s`, of whatever the task counts.
        case rate
    }

    /// Which of two values of runs is the better one.
    public enum Better: String, Sendable, Codable { case smaller, larger }

    /// The member of metrics.jsonl, in snake case.
    public let name: String
    public let unit: Unit
    /// What it says, as a phrase without a full stop.
    public let meaning: String
    public let group: Group
    /// A whole number that only grows, such as tokens so far.
    public let isCount: Bool
    /// How people see it; `nil` where the line of a step leaves it out.
    public let display: Display?
    /// By which runs are compared; `nil` for a figure that makes no run better than another.
    public let better: Better?

    init(
        _ name: String, _ unit: Unit, _ meaning: String, group: Group = .training, isCount: Bool = false, display: Display? = nil,
        better: Better? = nil
    ) {
        (self.name, self.unit, self.meaning, self.group) = (name, unit, meaning, group)
        (self.isCount, self.display, self.better) = (isCount, display, better)
    }

    // MARK: What a step reports, in the order of metrics.jsonl

    /// The optimizer step, from 1.
    public static let step = Metric("step", .steps, "optimizer steps done", isCount: true)
    /// Predicted tokens since the start of the run.
    public static let tokens = Metric("tokens", .tokens, "predicted tokens, or answers, since the start of the run", isCount: true)
    /// The mean training loss of the step's tokens.
    public static let loss = Metric("loss", .nats, "mean training loss of the step's tokens", display: .fixed("loss"), better: .smaller)
    /// What parts of the model learn from beside the loss, such as the compression of a memory. Absent where there is nothing such.
    public static let auxiliaryLoss = Metric(
        "auxiliary_loss", .none, "mean over the step's tokens of what parts of the model learn from beside the loss, such as a memory's compression")
    /// The gradient's global norm before clipping.
    public static let gradientNorm = Metric("gradient_norm", .none, "norm of the gradient before clipping", display: .fixed("gradient norm"))
    /// The norm of the loss's gradient by what the lanes brought with them from their last batches, all lanes together, scaled as the gradient. Absent
    /// where nothing is carried that has a gradient. A recurrent network whose gradients vanish shows it here.
    public static let carriedGradientNorm = Metric(
        "carried_gradient_norm", .none, "norm of the loss's gradient by the memory that lanes brought from their last batches")
    /// What a memorizing layer's queries read of stored keys and values, the mean over queries and heads. Absent where nothing is stored.
    public static let memoryHitRate = Metric(
        "memory_hit_rate", .none, "the part of queries to stored keys that give one of them more than half of their attention to stored keys")
    public static let memoryGate = Metric("memory_gate", .none, "mean gate of a memorizing layer: the part that stored values have in what its heads give")
    public static let memoryEntropy = Metric("memory_entropy", .nats, "mean entropy of a query's attention to stored keys")
    public static let memoryAge = Metric("memory_age", .steps, "mean age, by attention, of the stored keys that are read")
    /// The norm of all parameters after the step.
    public static let parameterNorm = Metric("parameter_norm", .none, "norm of all parameters after the step")
    /// The learning rate of the step.
    public static let learningRate = Metric("learning_rate", .none, "learning rate of the step", display: .significant("learning rate"))
    /// Pairs of the step that lost tokens to `batch.length`. Absent where none did.
    public static let cutPairs = Metric("cut_pairs", .none, "pairs of the step that are longer than `batch.length` and are cut; absent where none is")
    /// Steps that went wrong and were not applied, since the start of the run. Absent where none was.
    public static let skippedSteps = Metric(
        "skipped_steps", .steps, "steps that went wrong and were skipped, since the start of the run; absent where none was", isCount: true)
    /// Seconds of training since the start of the run, over all its sessions.
    public static let seconds = Metric("seconds", .seconds, "time of training since the start of the run, over all sessions", group: .speed)
    /// Predicted tokens a second since the last logged step.
    public static let tokensPerSecond = Metric(
        "tokens_per_second", .tokensPerSecond, "predicted tokens a second since the last logged step", group: .speed, display: .rate)

    /// Every figure of a step, in the order of metrics.jsonl.
    public static let all = [
        step, tokens, loss, auxiliaryLoss, gradientNorm, carriedGradientNorm, memoryHitRate, memoryGate, memoryEntropy, memoryAge, parameterNorm,
        learningRate, cutPairs, skippedSteps, seconds, tokensPerSecond,
    ]

    // MARK: What an evaluation reports

    /// The figures of evaluations whose unit or meaning their names do not tell, by the name that a task gives them.
    private static let validationScores = Dictionary(
        uniqueKeysWithValues: [
            Metric("loss", .nats, "mean loss of the validation examples", better: .smaller),
            Metric("perplexity", .none, "e to the loss, a token", better: .smaller),
            Metric("perplexity_per_word", .none, "e to the nats a word of the original text", better: .smaller),
            Metric("bits_per_byte", .bits, "bits a byte of the original text", better: .smaller),
            Metric("bits_per_character", .bits, "bits a character (Unicode scalar) of the original text", better: .smaller),
            Metric("bits_per_sequence", .bits, "bits a sequence", better: .smaller),
            Metric("bit_errors_per_sequence", .bits, "wrong bits a sequence", better: .smaller),
            Metric("error", .none, "the part of answers that are wrong, the mean over tasks", better: .smaller),
            Metric("accuracy", .none, "the part of answers that are right, the mean over tasks", better: .larger),
            Metric("failed_tasks", .none, "tasks of which more than 5 % of the answers are wrong", better: .smaller),
        ].map { ($0.name, $0) })

    /// A figure of an evaluation on validation examples: `validation_` and the name of the score.
    public static func validation(_ name: String) -> Metric {
        let score = validationScores[name]
        let words = name.replacing("_", with: " ")
        return Metric(
            "validation_\(name)", score?.unit ?? .none, score?.meaning ?? words, group: .validation, display: .fixed(words),
            better: score?.better)
    }

    /// What people call it where runs are compared: `training_loss` is the member `loss` of metrics.jsonl.
    public var comparableName: String { group == .validation ? name : "\(group.rawValue)_\(name)" }

    /// The figures by which runs can be compared.
    public static var comparable: [Metric] { all.filter { $0.better != nil } + validationScores.keys.sorted().map(validation) }

    /// The figure that people call so: by its ``comparableName``, its name, or, after an evaluation, that of the score; `nil` for a name of none.
    public static func named(_ name: String) -> Metric? {
        let figures = comparable + all
        return figures.first { $0.comparableName == name } ?? figures.first { $0.name == name }
            ?? figures.first { $0.name == validation(name).name }
    }

    /// The tag in TensorBoard: `training/loss`, `validation/perplexity`.
    package var tag: String { "\(group.rawValue)/\(group == .validation ? String(name.dropFirst("validation_".count)) : name)" }
}
