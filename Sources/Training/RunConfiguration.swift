// A run as one value: everything that decides what it computes, read from one YAML file and its overrides.

import Collectives
import Configuration
import Diagnostics
import Foundation
import Models
import NeuralNetworks
import Optimizers
import Storage
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
    /// Bytes of a gradient bucket; `nil` measures which is best when the run begins.
    public var bucketBytes: Int?
    /// Each rank keeps the optimizer's state of a part of the parameters alone.
    public var shardOptimizer: Bool
    /// What partial sums of gradients are rounded to, and travel as.
    public var gradients: GradientFormat
    /// How the gradients of two groups become one.
    public var combination: GradientCombination
    /// Steps that groups make by themselves; `nil` where every step is one of the whole.
    public var localSteps: LocalStepSettings?
    /// Steps between two checks of each rank on its neighbour; `nil` for none.
    public var verify: Int?
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
    /// One shard for each node instead of one for each rank.
    public var checkpointPerNode: Bool
    /// Parity beside the shards, from which one that is lost or damaged is restored.
    public var checkpointParity: Bool
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
    /// For how long nothing may move.
    public var watchdog: WatchdogSettings
    /// What is done about steps that go wrong.
    public var recovery: RecoverySettings
    /// What asks a session to stop.
    public var stopSignals: [StopSignal]
    /// The complete configuration as YAML, defaults included.
    public var resolvedYAML: String
    /// Every key with its value and its declaration.
    public let values: [ConfigurationValue]
    /// Lines for the user: keys whose spelling has changed.
    public let notices: [String]
    /// Keys in which a session that resumes may differ from the run although that makes another run of it.
    public private(set) var acceptedChanges: Set<String> = []

    /// The run directory's path.
    public var directory: String { run.contains("/") ? run : "checkpoints/\(run)" }

    /// The resolved configuration key by key, for comparing ranks.
    var items: [(name: String, value: String)] { values.map { ("configuration key \($0.name)", $0.value) } }

    /// Reads a run file.
    /// - Parameters:
    ///   - path: the YAML file.
    ///   - overrides: `section.key=value`, as `--set` takes them.
    /// - Throws: `UserError` (.missingInput, .configuration) naming key, line and the nearest valid key.
    public init(contentsOf path: String, overrides: [String] = []) throws {
        try self.init(
            ConfigurationTree(contentsOf: path, overrides: overrides),
            defaultName: path == "-" ? "run" : Self.name(ofFile: path))
    }

    /// The name of a file without its extension: that of its run, where the file names none.
    private static func name(ofFile path: String) -> String {
        let name = Directory.lastName(of: path)
        guard let dot = name.lastIndex(of: "."), dot > name.startIndex else { return name }
        return String(name[..<dot])
    }

    /// Reads a run from YAML text, such as the one stored in a checkpoint.
    public init(yaml: String, file: String) throws {
        try self.init(ConfigurationTree(yaml: yaml, file: file), defaultName: "run")
    }

    /// Every key that a run file may have.
    /// - Throws: nothing but for a defect: a key whose readers refuse what its declaration allows.
    public static func keys() throws -> [ConfigurationKey] {
        try ConfigurationTree.keys { _ = try RunConfiguration($0, defaultName: "run", knowsOthers: false) }
    }

    /// Lets a session that resumes differ from the run in some keys.
    /// - Throws: `UserError` (.usage) for a key that the run file does not have.
    public mutating func accept(_ keys: [String]) throws {
        let names = values.map(\.name)
        for key in keys where !names.contains(key) {
            throw UserError(
                .usage, "the run file has no key '\(key)'", at: "--accept",
                advice: Spelling.likelyMeaning(of: key, among: names).map { "did you mean '\($0)'?" }
                    ?? "name one with its section, such as batch.lanes")
        }
        acceptedChanges.formUnion(keys)
    }

    /// - Parameter knowsOthers: advice about an unknown key looks at the keys of other kinds too.
    private init(_ tree: ConfigurationTree, defaultName: String, knowsOthers: Bool = true) throws {
        let root = tree.root
        run = try root.string(
            "run", "The run directory: a path, or a bare name under checkpoints/.", default: defaultName,
            defaultText: "the run file's name",
            onResume: .free)
        try Self.checkDirectory(run, root)
        seed = UInt64(try root.int("seed", "What every random number of the run is a function of.", default: 1, in: 0...Int.max))
        steps = try root.int("steps", "Optimizer steps of the whole run.", in: 1..., onResume: .free)
        task = try TaskKind.settings(root)

        let batchSection = try root.section("batch")
        batch = try BatchSettings(batchSection, task)
        optimizer = try OptimizerConfiguration(root.section("optimizer", onResume: .noted))
        schedule = try ScheduleConfiguration(root.section("schedule", onResume: .noted), totalSteps: steps)
        precision = try root.choice("precision", "The arithmetic of activations and matrix products.", default: Precision.float32)
        try root.rename("check_numerics", to: "checkNumerics")
        checkNumerics = try root.bool(
            "checkNumerics", "Look at every layer's output, and stop at the first that is not finite.", default: false, onResume: .free)

        parallel = try ParallelSettings(root.section("parallel", onResume: .free))
        if parallel.reproducible, batch.groups == nil {
            throw batchSection.error(
                "groups", "is missing, and parallel.reproducible asks for it", advice: "set it to a power of two that no world size exceeds")
        }
        guard !parallel.reproducible || batch.accumulation == 1 else {
            throw batchSection.error(
                "accumulation", "is \(batch.accumulation), but with parallel.reproducible the groups are the micro-batches",
                advice: "leave it out, and set batch.groups")
        }

        let checkpointSection = try root.section("checkpoint", onResume: .free)
        checkpointEvery = try checkpointSection.interval("every", "How often a checkpoint is written.", default: .steps(500))
        checkpointKeep = try checkpointSection.int("keep", "How many checkpoints are kept.", default: 3, in: 1...)
        checkpointPerNode = try checkpointSection.bool(
            "perNode", "One rank of a node writes one shard for all its ranks, instead of each its own.", default: false)
        checkpointParity = try checkpointSection.bool(
            "parity", "Beside the shards their parity is written, as large as one shard, so that mneme checkpoint repair restores one that is lost or damaged.",
            default: false)
        let evaluationSection = try root.section("evaluation", onResume: .free)
        evaluationEvery = try evaluationSection.interval("every", "How often the validation data is evaluated.", default: .steps(500))
        evaluationBatches = try evaluationSection.optionalInt(
            "batches", "The most batches of one evaluation.", defaultText: "all of the validation data", in: 1...)
        let logSection = try root.section("log", onResume: .free)
        logEvery = try logSection.int("every", "Steps between two logged lines.", default: 10, in: 1...)
        logTensorBoard = try logSection.bool("tensorboard", "Whether TensorBoard's event files are written.", default: true)
        logPrometheus = try logSection.optionalString(
            "prometheus", "A text file for node_exporter, whose name ends in .prom: a path, or a name in the run directory.", defaultText: "none")
        if let path = logPrometheus, !path.hasSuffix(".prom") {
            throw logSection.error("prometheus", "is \(path), which node_exporter does not read", advice: "give a name that ends in .prom")
        }
        logHistograms = try logSection.optionalInt(
            "histograms", "Steps between two histograms of the gradients in TensorBoard.", defaultText: "none", in: 1...)
        stopSignals = try Self.stopSignals(root)
        watchdog = try WatchdogSettings(root.section("watchdog", onResume: .free))
        recovery = try RecoverySettings(root.section("recovery", onResume: .noted))
        if parallel.localSteps != nil, ![.stop, .back].contains(recovery.notFinite) || recovery.spikeFactor > 0 {
            throw try root.section("recovery").error(
                recovery.spikeFactor > 0 ? "spikeFactor" : "notFinite", "would take back a step of one group, when others have made theirs: not with parallel.localSteps",
                advice: "set recovery.notFinite to stop or back, and recovery.spikeFactor to 0")
        }
        if schedule.kind == .plateau {
            guard case .steps = evaluationEvery else {
                throw evaluationSection.error(
                    "every", "must be a number of steps where schedule.kind is plateau: the learning rate follows the evaluations",
                    advice: "give one, such as 500")
            }
        }
        try tree.finish(known: { knowsOthers ? (try? Self.keys()) ?? [] : [] })
        resolvedYAML = tree.resolvedYAML()
        (values, notices) = (tree.values, tree.notices)
    }

    private static func stopSignals(_ root: ConfigurationSection) throws -> [StopSignal] {
        let names = try root.strings(
            "signals",
            "Signals that ask a session to stop with a checkpoint: \(StopSignal.allCases.map(\.rawValue).joined(separator: ", ")). USR1 has to be "
                + "among them, since launch/mpirun passes every request on as USR1.",
            default: StopSignal.usual.map(\.rawValue), onResume: .free)
        let signals = try names.map { name in
            guard let signal = StopSignal(rawValue: name.hasPrefix("SIG") ? String(name.dropFirst(3)) : name) else {
                throw root.error(
                    "signals", "has '\(name)'", advice: "choose among \(StopSignal.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            return signal
        }
        guard signals.contains(.user1) else {
            throw root.error("signals", "does not have USR1, as which launch/mpirun passes every request on", advice: "add it")
        }
        return signals
    }

    /// Refuses names that would make another directory than one of the run's own into its directory.
    private static func checkDirectory(_ run: String, _ root: ConfigurationSection) throws {
        guard !run.isEmpty else { throw root.error("run", "is empty", advice: "name the run, or leave the key out") }
        guard !run.unicodeScalars.contains("\0") else {
            throw root.error("run", "holds a character that no path can hold", advice: "leave it out")
        }
        guard let last = run.split(separator: "/").last, last != ".", last != ".." else {
            throw root.error(
                "run", "is '\(run)', which is no directory of the run's own", advice: "name one, such as 'my-run' for checkpoints/my-run")
        }
    }
}

extension BatchSettings {
    /// Reads the section `batch`.
    init(_ section: ConfigurationSection, _ task: any TaskSettings) throws {
        lanes = try section.int("lanes", "The lanes of the global batch: sequences of a step, whatever the number of ranks.", in: SizeLimits.lanes)
        length = try task.readLength(section)
        groups = try section.optionalInt(
            "groups", "Groups of lanes that a reproducible run cuts its batch into, a power of two; a rank owns whole groups.",
            defaultText: "one for each rank", in: 1...)
        accumulation = try section.int(
            "accumulation", "Without groups: micro-batches of a step that each rank cuts its lanes into.", default: 1, in: 1...,
            onResume: .noted)
        let positions = lanes.multipliedReportingOverflow(by: max(length, 1))
        guard !positions.overflow, positions.partialValue <= SizeLimits.batchPositions else {
            throw section.error(
                "lanes", "is \(lanes): with batch.length, \(length), a batch has more than \(SizeLimits.batchPositions) positions",
                advice: "make one of them smaller")
        }
        guard let groups else { return }
        guard groups.nonzeroBitCount == 1 else { throw section.error("groups", "is \(groups), not a power of two") }
        guard lanes % groups == 0 else { throw section.error("groups", "is \(groups), which does not divide batch.lanes, \(lanes)") }
    }
}

extension ParallelSettings {
    /// Reads the section `parallel`.
    init(_ section: ConfigurationSection) throws {
        reproducible = try section.bool(
            "reproducible", "Sum gradients along one fixed tree, so that every number of ranks computes the same bits.", default: false,
            onResume: .noted)
        threads = try section.optionalInt(
            "threads", "Threads of a rank.", defaultText: "the node's cores divided among its ranks",
            in: 1...1024)
        bucketBytes = try section.optionalInt(
            "bucketBytes", "Bytes of gradients that are summed over ranks at a time.",
            defaultText: "measured when the run begins on several ranks, and kept with it; 4 MiB for small models", in: 4096...)
        shardOptimizer = try section.bool(
            "shardOptimizer",
            "Each rank keeps the optimizer's state of its own part of the parameters, and updates that part alone (ZeRO-1); with parallel.reproducible.",
            default: false)
        guard !shardOptimizer || reproducible else {
            throw section.error(
                "shardOptimizer", "is true, but parallel.reproducible is not: ranks share the state out along its tree",
                advice: "set parallel.reproducible and batch.groups, or leave it out")
        }
        gradients = try section.choice(
            "gradients",
            "What gradients travel between ranks as, with parallel.reproducible: bfloat16 halves the bytes, int8 quarters them and keeps what rounding leaves of each group's gradient for its next one.",
            default: GradientFormat.float32, onResume: .noted)
        guard gradients == .float32 || reproducible || section.fillsIn else {
            throw section.error(
                "gradients", "is \(gradients.rawValue), but parallel.reproducible is not true: gradients are rounded at the nodes of its tree",
                advice: "set parallel.reproducible and batch.groups, or leave it out")
        }
        combination = try section.choice(
            "combination",
            "How gradients of groups become one, with parallel.reproducible: sum, or adasum, adaptive sums that count once what groups have in common and add what is orthogonal, so that many groups need no other learning rate.",
            default: GradientCombination.sum, onResume: .noted)
        guard combination == .sum || reproducible || section.fillsIn else {
            throw section.error(
                "combination", "is \(combination.rawValue), but parallel.reproducible is not true: gradients are combined at the nodes of its tree",
                advice: "set parallel.reproducible and batch.groups, or leave it out")
        }
        guard combination == .sum || gradients == .float32 else {
            throw section.error(
                "combination", "is \(combination.rawValue), which rounded gradients cannot be combined by", advice: "leave parallel.gradients or this out")
        }
        let interval = try section.int(
            "localSteps",
            "Steps that each group makes with parameters and an optimizer of its own before all meet (DiLoCo): parameters travel that much less. 1: every step is one of the whole. With parallel.reproducible.",
            default: 1, in: 1..., onResume: .refused)
        let rate = try section.double(
            "outerLearningRate", "With localSteps: what the mean of the groups' ways is multiplied by where they meet.", default: 0.7, in: 0.0...)
        let momentum = try section.double(
            "outerMomentum", "With localSteps: Nesterov's momentum of what happens where they meet.", default: 0.9, in: 0.0...1.0)
        localSteps = interval == 1 ? nil : LocalStepSettings(interval: interval, learningRate: rate, momentum: momentum)
        guard localSteps == nil || reproducible || section.fillsIn else {
            throw section.error(
                "localSteps", "is \(interval), but parallel.reproducible is not true: it is groups that make them",
                advice: "set parallel.reproducible and batch.groups, or leave it out")
        }
        guard localSteps == nil || combination == .sum else {
            throw section.error(
                "localSteps", "is \(interval), where the mean of the groups' ways is taken: there is nothing to combine",
                advice: "leave parallel.combination or this out")
        }
        guard localSteps == nil || !shardOptimizer else {
            throw section.error(
                "localSteps", "is \(interval), and each group has an optimizer of its own: there is nothing to share out", advice: "leave parallel.shardOptimizer out")
        }
        verify = try section.optionalInt(
            "verify",
            "Steps between two in which each rank computes its neighbour's last group again and compares the bits: silent corruption ends the session with 69. With parallel.reproducible.",
            defaultText: "none", in: 1...)
        guard verify == nil || reproducible else {
            throw section.error(
                "verify", "is \(verify ?? 0), but parallel.reproducible is not true: ranks may rightly differ in their last bits",
                advice: "set parallel.reproducible and batch.groups, or leave it out")
        }
        guard verify == nil || localSteps == nil else {
            throw section.error(
                "verify", "is \(verify ?? 0), but with parallel.localSteps the neighbour has no parameters of this rank's groups", advice: "leave one of them out")
        }
    }
}

extension OptimizerConfiguration {
    /// Reads the section `optimizer`.
    init(_ section: ConfigurationSection) throws {
        let kind = try section.choice("kind", "The update rule.", default: OptimizerKind.adamw, onResume: .refused)
        let standard = OptimizerConfiguration(kind: kind)
        self.init(
            kind: kind,
            learningRate: try section.double(
                "learningRate", "The learning rate that the schedule multiplies.", default: standard.learningRate,
                in: Double.leastNonzeroMagnitude...))
        weightDecay = try section.double(
            "weightDecay", "Weight decay: decoupled in AdamW, added to the gradient in the other rules.", default: standard.weightDecay,
            in: 0...)
        clip = try section.double(
            "clip", "The largest norm that a gradient may have, larger ones being scaled down; 0 for no clipping.", default: 1, in: 0...)
        clipPer = try section.choice("clipPer", "What the norm is taken over.", default: ClipScope.all)
        reduction = try section.choice(
            "reduction", "What the gradient is divided by: predicted tokens or answers, lanes, or nothing.", default: LossReduction.mean)
        tableRate = try section.double(
            "tableRate", "What the learning rate is multiplied by for tables of rows that are found by an address (model.engram).", default: tableRate,
            in: Double.leastNonzeroMagnitude...)
        func momentum() throws -> Double { try section.double("momentum", "Momentum, 0 for none.", default: standard.momentum, in: 0..<1) }
        func epsilon() throws -> Double {
            try section.double("epsilon", "Added to the denominator after the square root.", default: standard.epsilon, in: 0...)
        }
        switch kind {
        case .adamw:
            betas = try section.doubles(
                "betas", "Decay rates of the first and the second moment.", default: standard.betas, count: 2, in: 0..<1)
            self.epsilon = try epsilon()
        case .sgd:
            self.momentum = try momentum()
            nesterov = try section.bool("nesterov", "Nesterov's form of momentum.", default: standard.nesterov)
        case .rmsprop:
            smoothing = try section.double(
                "smoothing", "The decay rate of the average of squared gradients.", default: standard.smoothing, in: 0..<1)
            self.momentum = try momentum()
            self.epsilon = try epsilon()
        case .adagrad:
            initialAccumulator = try section.double(
                "initialAccumulator", "What the sum of squared gradients starts from.", default: standard.initialAccumulator, in: 0...,
                onResume: .refused)
            self.epsilon = try epsilon()
        }
        try validate()
    }
}

extension ScheduleConfiguration {
    /// Reads the section `schedule`. The curve ends at the run's last step unless `schedule.steps` says otherwise.
    init(_ section: ConfigurationSection, totalSteps: Int) throws {
        self.init()
        kind = try section.choice("kind", "How the learning rate goes after the warm-up.", default: kind)
        warmup = try section.int("warmup", "Steps in which the learning rate rises from 0.", default: warmup, in: 0...)
        hold = try section.int("hold", "Steps at the base rate before the schedule begins.", default: 0, in: 0...)
        switch kind {
        case .constant: break
        case .cosine, .linear:
            steps = try section.int(
                "steps", "The step at which the curve reaches the floor.", default: totalSteps, defaultText: "the run's steps", in: 1...)
        case .step:
            factor = try section.double(
                "factor", "What the learning rate is multiplied by at each reduction.", default: factor, in: Double.leastNonzeroMagnitude...1)
            every = try section.int("every", "Steps between two reductions.", in: 1...)
        case .plateau:
            factor = try section.double(
                "factor", "What the learning rate is multiplied by when the validation loss stalls.", default: factor,
                in: Double.leastNonzeroMagnitude..<1)
            patience = try section.int("patience", "Evaluations without improvement that are let pass.", default: patience, in: 0...)
            threshold = try section.double(
                "threshold", "The part of the best validation loss by which another must be below it to count as better.",
                default: threshold, in: 0..<1)
        case .inverseSquareRoot: break
        }
        if kind != .constant {
            floor = try section.double("floor", "The smallest learning rate after the warm-up.", default: floor, in: 0...)
        }
        try validate()
    }
}
