// A run as one value: everything that decides what it computes, read from one YAML file and its overrides.

import Configuration
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import Tensors

/// The arithmetic of activations and matrix products.
public enum Precision: String, Sendable, CaseIterable, Codable {
    /// Everything float32.
    case float32
    /// Activations and operands of matrix products bfloat16; parameters, optimizer state, sums and losses float32.
    case bfloat16

    /// The type of activations.
    public var activations: DataType { self == .float32 ? .float32 : .bfloat16 }
}

/// In which order a text corpus is read.
public enum TextOrder: String, Sendable, CaseIterable {
    /// Shuffled windows of `batch.length` tokens.
    case windows
    /// Documents one after the other, each lane its own stream: for models that remember across segments.
    case streams
}

/// The section `corpus`.
public struct CorpusSettings: Sendable {
    /// The corpus directory to train on.
    public var shards: String
    /// The corpus directory to evaluate on during training.
    public var validation: String?
    /// The order of a text corpus.
    public var order: TextOrder
}

/// The section `batch`: the global batch, fixed whatever the number of ranks.
public struct BatchSettings: Sendable {
    /// L, the lanes of the global batch.
    public var lanes: Int
    /// Positions a lane: the window of a text corpus, the longest source and target of pairs. Tasks without a corpus have their own lengths: 0.
    public var length: Int
    /// G: the batch is cut into so many groups of lanes, a power of two. A rank owns whole groups.
    public var groups: Int?
    /// Without `parallel.reproducible`: micro-batches a step that each rank cuts its lanes into.
    public var accumulation: Int
}

/// The section `parallel`.
public struct ParallelSettings: Sendable {
    /// Sum gradients along one fixed tree, so that every world size computes the same bits.
    public var reproducible: Bool
    /// Threads of a rank; `nil` divides the node's cores among its ranks, or is 1 where the run is reproducible.
    public var threads: Int?
    /// Bytes of a gradient bucket.
    public var bucketBytes: Int
}

/// A resolved run configuration.
public struct RunConfiguration: Sendable {
    /// The run directory: a path, or a bare name under `checkpoints/`.
    public var run: String
    /// What every random number of the run is a function of.
    public var seed: UInt64
    /// Optimizer steps.
    public var steps: Int
    /// What is learned, and by which model.
    public var task: any TaskSettings
    /// The global batch.
    public var batch: BatchSettings
    /// The update rule.
    public var optimizer: OptimizerConfiguration
    /// The learning rate over time.
    public var schedule: ScheduleConfiguration
    /// The type of activations and of operands of matrix products.
    public var precision: Precision
    /// Look at every layer's output, and stop at the first that is not finite.
    public var checkNumerics: Bool
    /// How ranks share the work.
    public var parallel: ParallelSettings
    /// When checkpoints are written.
    public var checkpointEvery: ConfigurationInterval
    /// How many checkpoints are kept.
    public var checkpointKeep: Int
    /// When the validation corpus is evaluated.
    public var evaluationEvery: ConfigurationInterval
    /// The most batches of one evaluation; `nil` for the whole validation corpus.
    public var evaluationBatches: Int?
    /// Steps between two logged lines.
    public var logEvery: Int
    /// Write TensorBoard's event files.
    public var logTensorBoard: Bool
    /// The text file for Prometheus: a path, or a name in the run directory; `nil` for none.
    public var logPrometheus: String?
    /// Steps between two histograms of the gradients in TensorBoard; `nil` for none.
    public var logHistograms: Int?
    /// The complete configuration as YAML, defaults included.
    public var resolvedYAML: String

    /// The run directory's path.
    public var directory: String { run.contains("/") ? run : "checkpoints/\(run)" }

    /// The resolved configuration key by key, for comparing ranks.
    var items: [(name: String, value: String)] {
        var path: [Substring] = []
        return resolvedYAML.split(separator: "\n").compactMap { line in
            let content = line.drop { $0 == " " }
            guard let colon = content.firstIndex(of: ":") else { return nil }
            path = path.prefix((line.count - content.count) / 2) + [content[..<colon]]
            let value = content[content.index(after: colon)...].drop { $0 == " " }
            return ("configuration key \(path.joined(separator: "."))", String(value))
        }
    }

    /// Reads a run file.
    /// - Parameters:
    ///   - path: the YAML file.
    ///   - overrides: `section.key=value`, as `--set` takes them.
    /// - Throws: `UserError` (.missingInput, .configuration) naming key, line and the nearest valid key.
    public init(contentsOf path: String, overrides: [String] = []) throws {
        try self.init(
            ConfigurationTree(contentsOf: path, overrides: overrides),
            defaultName: URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent)
    }

    /// Reads a run from YAML text, such as the one stored in a checkpoint.
    public init(yaml: String, file: String) throws {
        try self.init(ConfigurationTree(yaml: yaml, file: file), defaultName: "run")
    }

    private init(_ tree: ConfigurationTree, defaultName: String) throws {
        let root = tree.root
        run = try root.string("run", default: defaultName)
        guard !run.isEmpty else { throw root.error("run", "is empty", advice: "name the run, or leave the key out") }
        let seedValue = try root.int("seed", default: 1, in: 0...)
        seed = UInt64(seedValue)
        steps = try root.int("steps", in: 1...)
        task = try Self.task(root)
        let model = (task as? LanguageTaskSettings)?.model

        let batchSection = try root.section("batch")
        batch = BatchSettings(
            lanes: try batchSection.int("lanes", in: 1...),
            length: try model.map { try batchSection.int("length", default: min($0.maximumLength ?? .max, 1024), in: 1...) } ?? 0,
            groups: try batchSection.optionalInt("groups", in: 1...), accumulation: try batchSection.int("accumulation", default: 1, in: 1...))
        if let groups = batch.groups {
            guard groups.nonzeroBitCount == 1 else { throw batchSection.error("groups", "is \(groups), not a power of two") }
            guard batch.lanes % groups == 0 else {
                throw batchSection.error("groups", "is \(groups), which does not divide batch.lanes, \(batch.lanes)")
            }
        }
        if let context = model?.maximumLength, batch.length > context {
            throw batchSection.error(
                "length", "is \(batch.length), more than model.context, \(context)", advice: "raise model.context or shorten the batch")
        }

        optimizer = try OptimizerConfiguration(root.section("optimizer"))
        schedule = try ScheduleConfiguration(root.section("schedule"), totalSteps: steps)
        precision = try root.choice("precision", default: Precision.float32)

        checkNumerics = try root.bool("check_numerics", default: false)

        let parallelSection = try root.section("parallel")
        parallel = ParallelSettings(
            reproducible: try parallelSection.bool("reproducible", default: false), threads: try parallelSection.optionalInt("threads", in: 1...1024),
            bucketBytes: try parallelSection.int("bucketBytes", default: 4 << 20, in: 4096...))
        if parallel.reproducible, batch.groups == nil {
            throw batchSection.error(
                "groups", "is missing, and parallel.reproducible asks for it", advice: "set it to a power of two that every world size divides")
        }

        guard !parallel.reproducible || batch.accumulation == 1 else {
            throw batchSection.error(
                "accumulation", "is \(batch.accumulation), but with parallel.reproducible the groups are the micro-batches",
                advice: "leave it out, and set batch.groups")
        }

        let checkpointSection = try root.section("checkpoint")
        checkpointEvery = try checkpointSection.interval("every", default: .steps(500))
        checkpointKeep = try checkpointSection.int("keep", default: 3, in: 1...)
        let evaluationSection = try root.section("evaluation")
        evaluationEvery = try evaluationSection.interval("every", default: .steps(500))
        evaluationBatches = try evaluationSection.optionalInt("batches", in: 1...)
        let logSection = try root.section("log")
        logEvery = try logSection.int("every", default: 10, in: 1...)
        logTensorBoard = try logSection.bool("tensorboard", default: true)
        logPrometheus = try logSection.optionalString("prometheus")
        if let path = logPrometheus, !path.hasSuffix(".prom") {
            throw logSection.error("prometheus", "is \(path), which node_exporter does not read", advice: "give a name that ends in .prom")
        }
        logHistograms = try logSection.optionalInt("histograms", in: 1...)
        if schedule.kind == .plateau {
            guard case .steps = evaluationEvery else {
                throw evaluationSection.error(
                    "every", "must be a number of steps where schedule.kind is plateau: the learning rate follows the evaluations",
                    advice: "give one, such as 500")
            }
        }
        try tree.finish()
        resolvedYAML = tree.resolvedYAML()
    }
}

extension RunConfiguration {
    /// Reads the sections that say what is learned and by which model.
    private static func task(_ root: ConfigurationSection) throws -> any TaskSettings {
        let section = try root.section("task")
        guard section.isPresent else {
            let corpus = try CorpusSettings(root.section("corpus"))
            let model = try readModelConfiguration(root.section("model"))
            if model.carriesMemory, corpus.order != .streams {
                throw try root.section("model").error(
                    "carry", "asks for corpus.order streams: shuffled windows do not continue each other", advice: "set corpus.order to streams")
            }
            return LanguageTaskSettings(corpus: corpus, model: model)
        }
        return try TaskKind.settings(task: section, model: root.section("model"))
    }
}

extension CorpusSettings {
    /// Reads the section `corpus`.
    init(_ section: ConfigurationSection) throws {
        shards = try section.string("shards")
        validation = try section.optionalString("validation")
        order = try section.choice("order", default: TextOrder.windows)
    }
}

extension OptimizerConfiguration {
    /// Reads the section `optimizer`.
    init(_ section: ConfigurationSection) throws {
        let kind = try section.choice("kind", default: OptimizerKind.adamw)
        let standard = OptimizerConfiguration(kind: kind)
        self.init(kind: kind, learningRate: try section.double("learningRate", default: standard.learningRate))
        weightDecay = try section.double("weightDecay", default: standard.weightDecay)
        clip = try section.double("clip", default: 1)
        clipPer = try section.choice("clipPer", default: ClipScope.all)
        reduction = try section.choice("reduction", default: LossReduction.mean)
        switch kind {
        case .adamw:
            betas = try section.doubles("betas", default: standard.betas)
            epsilon = try section.double("epsilon", default: standard.epsilon)
        case .sgd:
            momentum = try section.double("momentum", default: standard.momentum)
            nesterov = try section.bool("nesterov", default: standard.nesterov)
        case .rmsprop:
            smoothing = try section.double("smoothing", default: standard.smoothing)
            momentum = try section.double("momentum", default: standard.momentum)
            epsilon = try section.double("epsilon", default: standard.epsilon)
        case .adagrad:
            initialAccumulator = try section.double("initialAccumulator", default: standard.initialAccumulator)
            epsilon = try section.double("epsilon", default: standard.epsilon)
        }
        try validate()
    }
}

extension ScheduleConfiguration {
    /// Reads the section `schedule`. The curve ends at the run's last step unless `schedule.steps` says otherwise.
    init(_ section: ConfigurationSection, totalSteps: Int) throws {
        self.init()
        kind = try section.choice("kind", default: kind)
        warmup = try section.int("warmup", default: warmup, in: 0...)
        hold = try section.int("hold", default: 0, in: 0...)
        switch kind {
        case .cosine, .linear:
            steps = try section.int("steps", default: totalSteps, in: 1...)
            floor = try section.double("floor", default: floor)
        case .step:
            factor = try section.double("factor", default: factor)
            every = try section.int("every", in: 1...)
            floor = try section.double("floor", default: floor)
        case .plateau:
            factor = try section.double("factor", default: factor)
            patience = try section.int("patience", default: patience, in: 0...)
            threshold = try section.double("threshold", default: threshold)
            floor = try section.double("floor", default: floor)
        case .inverseSquareRoot: floor = try section.double("floor", default: floor)
        case .constant: break
        }
        try validate()
    }
}
