// Tiny corpora and run files, for tests that run `mneme train` itself.

import Checkpoints
import Collectives
import Foundation
import Testing
import TestSupport
import Training

/// Corpora that are made once a test process: running text, stories with questions, and validation parts of both.
struct TrainingFixture {
    /// Holds `text`, `text-valid`, `pairs`, `pairs-valid`, `other` (the text with another tokenizer), `t.model`, `other.model`, `stories` and
    /// `text.txt`.
    let directory: String

    static func shared() throws -> TrainingFixture { try made.get() }

    private static let made = Result { try TrainingFixture() }

    private init() throws {
        directory = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-training-\(getpid())").path
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        atexit {
            try? FileManager.default.removeItem(at: FileManager.default.temporaryDirectory.appendingPathComponent("mneme-training-\(getpid())"))
        }
        func mneme(_ arguments: String) throws {
            let words = arguments.split(separator: " ").map { $0.replacingOccurrences(of: "@", with: directory + "/") }
            let run = try MPIRun.runAlone(executable: "mneme", arguments: words)
            guard run.status == 0 else { throw CheckFailure("mneme \(arguments): \(run.standardError)") }
        }
        try mneme("corpus simulate babi --stories 30 --valid-stories 8 --tasks 1-2 --seed 3 --output @stories")
        func text(_ split: String) throws -> String {
            try FileManager.default.contentsOfDirectory(atPath: directory + "/stories").filter { $0.hasSuffix("\(split).txt") }.sorted()
                .map { try String(contentsOfFile: "\(directory)/stories/\($0)", encoding: .utf8) }.joined()
        }
        try text("train").write(toFile: directory + "/text.txt", atomically: true, encoding: .utf8)
        try text("valid").write(toFile: directory + "/valid.txt", atomically: true, encoding: .utf8)
        try mneme("tokenizer train --kind bpe --vocabulary 340 --output @t.model @text.txt")
        try mneme("tokenizer train --kind bpe --vocabulary 350 --output @other.model @text.txt")
        try mneme("corpus shard --format text --document line --shard-size 4000 --tokenizer @t.model --output @text @text.txt")
        try mneme("corpus shard --format text --document line --tokenizer @t.model --output @text-valid @valid.txt")
        try mneme("corpus shard --format text --document line --tokenizer @other.model --output @other @text.txt")
        try mneme("corpus shard --format babi --split train --shard-size 4000 --tokenizer @t.model --output @pairs @stories")
        try mneme("corpus shard --format babi --split valid --tokenizer @t.model --output @pairs-valid @stories")
    }

    /// A run file, and what a test changes in it.
    enum Kind: String, CaseIterable, Sendable {
        /// Decoder-only on shuffled windows.
        case windows
        /// Decoder-only on one stream a lane.
        case streams
        /// Encoder-decoder on stories and answers, with label smoothing.
        case pairs
        /// Decoder-only on stories and answers in one row.
        case prompts
        /// An LSTM on shuffled windows.
        case recurrent
        /// An LSTM whose state is carried along the stream of each lane, with variational dropout.
        case carried
        /// A memory network over the latest words of each lane's stream, which are carried on, with dropout.
        case carriedWords
        /// A language model over a Neural Turing Machine whose memory is carried along the stream of each lane.
        case carriedMachine
        /// A language model over a Differentiable Neural Computer whose memory is carried along the stream of each lane, with dropout past the
        /// memory.
        case carriedComputer
        /// A Transformer-XL whose hidden states are carried along the stream of each lane, which forgets where a document begins, with all dropouts.
        case carriedSegments
        /// A Transformer-XL that compresses what leaves its memory, carried along the stream of each lane, with all dropouts.
        case carriedCompression
        /// A Gated DeltaNet whose matrices and last positions are carried along the stream of each lane, with dropout.
        case carriedDeltaNet
        /// Sparse Delta Memories that are carried along the stream of each lane, and begin anew from a learned start where a document does, with
        /// dropout.
        case carriedSparseRows
        /// A recurrent memory transformer whose associations, and what it has read of a segment, are carried along the stream of each lane, with dropout.
        case carriedAssociations
        /// A Memformer whose slots, and what it has read of a segment, are carried along the stream of each lane, with dropout.
        case carriedSlots
        /// A GRU on a generated task, sequences of another length each step.
        case generated
        /// A Neural Turing Machine on a generated task.
        case turingMachine
        /// A Differentiable Neural Computer on a generated task, its memory computed again in the backward pass.
        case neuralComputer
        /// An end-to-end memory network on stories, with random blank slots and a linear start.
        case memoryNetwork
        /// A key-value memory network on generated facts.
        case keyValueMemory
        /// A memory that is erased and added to, on a generated task.
        case eraseAdd

        /// The section `task`; `nil` for a corpus.
        func task(_ directory: String) -> String? {
            switch self {
            case .generated, .turingMachine, .neuralComputer: "{kind: repeat-copy, bits: 3, lengths: [6, 14], repeats: [2, 5], examples: 100}"
            case .memoryNetwork: "{kind: babi, data: \(directory)/stories, tasks: [1, 2], memory: 12, timeNoise: true, validation: 0.1}"
            case .keyValueMemory: "{kind: knowledge, source: generated, films: 40, heldOut: 0.2}"
            case .eraseAdd: "{kind: overwrite, keys: 5, values: 7, length: 20, examples: 100}"
            default: nil
            }
        }
    }

    /// Writes a run file of 12 steps with dropout, a logged line each step, an evaluation each 5 and a checkpoint each 3.
    func runFile(_ kind: Kind, in scratch: String) throws -> String {
        let model =
            switch kind {
            case .pairs: "{kind: encoder-decoder, layers: 2, width: 48, heads: 4, feedForward: 96, dropout: 0.1, labelSmoothing: 0.1, context: 80}"
            case .recurrent: "{kind: lstm, layers: 2, width: 128, dropout: 0.1}"
            case .carried: "{kind: lstm, layers: 2, width: 48, embedding: 32, carry: true, inputDropout: 0.1, stateDropout: 0.2, forgetBias: 1}"
            case .carriedWords: "{kind: memory-network, hops: 4, width: 96, memory: 70, deviation: 0.1, carry: true, dropout: 0.1}"
            case .carriedMachine: "{kind: ntm, rows: 48, width: 12, readHeads: 2, embedding: 32, carry: true, dropout: 0.1, controller: {width: 64}}"
            case .carriedComputer:
                "{kind: dnc, rows: 24, width: 12, readHeads: 2, bypassDropout: 0.2, carry: true, controller: {width: 48, layers: 2}}"
            case .carriedSegments:
                "{kind: transformer-xl, layers: 2, width: 48, heads: 4, memory: 64, resetAtDocuments: true, dropout: 0.1, attentionDropout: 0.1}"
            case .carriedCompression:
                "{kind: compressive-transformer, layers: 2, width: 48, heads: 4, memory: 40, dropout: 0.1, attentionDropout: 0.1, "
                    + "compression: {slots: 20, rate: 3}}"
            case .carriedDeltaNet: "{kind: gated-deltanet, layers: 2, width: 48, heads: 3, feedForward: 96, carry: true, dropout: 0.1}"
            case .carriedSparseRows:
                "{kind: sparse-delta, layers: 2, width: 48, heads: 3, rows: 64, writes: 6, reads: 9, start: factorized, resetAtDocuments: true, "
                    + "feedForward: 96, carry: true, dropout: 0.1}"
            case .carriedAssociations:
                "{kind: recurrent-memory, layers: 2, width: 48, heads: 3, segment: 36, keyWidth: 8, feedForward: 96, carry: true, dropout: 0.1}"
            case .carriedSlots:
                "{kind: memformer, layers: 1, width: 48, heads: 3, segment: 36, slots: 6, feedForward: 96, carry: true, dropout: 0.1}"
            case .generated: "{kind: gru, layers: 2, width: 160, dropout: 0.1, stateDropout: 0.1}"
            case .turingMachine: "{kind: ntm, rows: 128, width: 20, readHeads: 2, learnsInitialReads: true, controller: {kind: lstm, width: 96}}"
            case .neuralComputer:
                "{kind: dnc, rows: 48, width: 20, readHeads: 2, bypassDropout: 0.1, recompute: true, controller: {kind: lstm, width: 96}}"
            case .memoryNetwork: "{kind: memory-network, hops: 3, width: 20, linearStart: 8}"
            case .keyValueMemory: "{kind: key-value-memory-network, width: 16, hops: 2}"
            case .eraseAdd: "{kind: erase-add, rows: 20, width: 12, controller: {width: 40}}"
            case .windows, .streams, .prompts: "{kind: decoder-only, layers: 2, width: 64, heads: 4, context: 96, dropout: 0.1}"
            }
        let isStreamed = [
            .streams, .carried, .carriedWords, .carriedMachine, .carriedComputer, .carriedSegments, .carriedCompression, .carriedDeltaNet,
            .carriedSparseRows, .carriedAssociations, .carriedSlots,
        ].contains(kind)
        let corpus = kind == .pairs || kind == .prompts ? "pairs" : "text"
        let task = kind.task(directory)
        let data =
            task.map { "task: \($0)" }
            ?? "corpus: {shards: \(directory)/\(corpus), validation: \(directory)/\(corpus)-valid\(isStreamed ? ", order: streams" : "")}"
        let yaml = """
            run: \(scratch)/run
            seed: 7
            steps: 12
            model: \(model)
            \(data)
            batch: {lanes: 8\(task != nil ? "" : kind == .pairs ? ", length: 80" : ", length: 96")}
            optimizer: {kind: adamw, learningRate: 1e-3, clip: 1.0}
            schedule: {kind: inverse-square-root, warmup: 5}
            checkpoint: {every: 3, keep: 2}
            evaluation: {every: 5, batches: 2}
            log: {every: 1}

            """
        let path = "\(scratch)/\(kind.rawValue).yaml"
        try yaml.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }
}

/// One run of `mneme train`: its run file, its directory and its overrides.
struct TrainingRun {
    let file: String
    let directory: String
    var settings: [String] = []
    var environment: [String: String] = [:]

    /// The same run with every matrix product by OpenBLAS: runs that are compared to rounding must not choose differently.
    var onOneBackend: TrainingRun {
        var copy = self
        copy.environment["MNEME_MATRIX_BACKEND"] = "openblas"
        return copy
    }

    /// - Parameter name: the run directory, in `scratch`.
    init(_ kind: TrainingFixture.Kind, _ name: String, in scratch: String, _ settings: String...) throws {
        file = try TrainingFixture.shared().runFile(kind, in: scratch)
        directory = "\(scratch)/\(name)"
        self.settings = settings
    }

    /// The same run with other overrides besides.
    func with(_ more: String...) -> TrainingRun {
        var copy = self
        copy.settings += more
        return copy
    }

    var arguments: [String] { ["train", file] + (["run=\(directory)"] + settings).flatMap { ["--set", $0] } }

    /// Starts a session, alone or on some ranks.
    func start(ranks: Int? = nil, flags: String...) throws -> StartedRun {
        try MPIRun.start(ranks: ranks, executable: "mneme", arguments: arguments + flags, extraEnvironment: environment)
    }

    /// Runs a session that is expected to finish.
    @discardableResult
    func train(ranks: Int? = nil, flags: String...) throws -> FinishedRun {
        let run = try MPIRun.start(ranks: ranks, executable: "mneme", arguments: arguments + flags, extraEnvironment: environment).finish()
        try #require(run.status == 0, "\(run.standardError)")
        return run
    }

    /// Runs a session whose ranks are threads of this process, each of which computes on one thread.
    ///
    /// - Parameters:
    ///   - lifetimes: after how many calls ranks are lost, by rank; where it is given, the others can go on without them.
    ///   - report: takes the lines that the session says to its user and its log.
    func trainOnThreads(_ ranks: Int, lifetimes: [Int: Int]? = nil, report: @escaping @Sendable (String) -> Void = { _ in }) throws {
        let configuration = try RunConfiguration(contentsOf: file, overrides: ["run=\(directory)"] + settings)
        let outcomes = try withThreads(1) {
            try LoopbackCommunicator.run(size: ranks, outlivesLostRanks: lifetimes != nil) { communicator in
                var surroundings = SessionSurroundings()
                surroundings.ownsProcess = false
                surroundings.report = report
                let mortal = MortalCommunicator(communicator, lifetime: lifetimes?[communicator.rank] ?? .max)
                return try Trainer.train(configuration, communicator: mortal, surroundings: surroundings)
            }
        }
        for outcome in outcomes { guard case .finished = outcome else { throw CheckFailure("\(outcome)") } }
    }

    /// The lines of metrics.jsonl.
    var metrics: [String] {
        ((try? String(contentsOfFile: "\(directory)/metrics.jsonl", encoding: .utf8)) ?? "").split(separator: "\n").map(String.init)
    }

    /// The lines of metrics.jsonl as text, without what clocks say.
    var timelessMetrics: [String] {
        metrics.map { $0.replacing(/"(seconds|tokens_per_second)":[^,}]*/, with: "") }
    }

    /// The steps of the checkpoints in the directory.
    var checkpointSteps: [Int] { (try? CheckpointStore(directory: directory).steps()) ?? [] }

    /// What a crash leaves of checkpoints: hidden directories.
    var leftovers: [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: directory)) ?? []).filter { $0.hasPrefix(".") && $0.contains("step-") }
    }

    /// The items in which the checkpoints of two runs differ.
    func differences(from other: TrainingRun, step: Int = 12) throws -> [String] {
        let readers = try [self, other].map { try CheckpointReader(directory: "\($0.directory)/step-\(step)") }
        defer { for reader in readers { try? reader.close() } }
        return try readers[0].differences(from: readers[1]).map(\.name)
    }

    /// Checks that a run has the metrics and the last checkpoint of another, bit for bit.
    func expectSame(as other: TrainingRun, step: Int = 12, _ location: SourceLocation = #_sourceLocation) throws {
        #expect(timelessMetrics == other.timelessMetrics, sourceLocation: location)
        #expect(try differences(from: other, step: step) == [], sourceLocation: location)
    }

    /// The largest difference of a parameter tensor from the other run's, each in the Euclidean norm and relative to the other's norm; and that of
    /// all.
    ///
    /// Biases of keys are left out: they add the same to all scores of a query, which a softmax does not see. Their gradient is zero but for
    /// rounding, and AdamW makes full steps of that.
    func relativeDifference(from other: TrainingRun, step: Int) throws -> (worst: Double, name: String, all: Double) {
        let readers = try [self, other].map { try CheckpointReader(directory: "\($0.directory)/step-\(step)") }
        var worst = (relative: 0.0, name: "")
        var (allDifference, allSize) = (0.0, 0.0)
        for item in readers[1].items where item.name.hasPrefix("parameters/") {
            let values = try readers.map { try $0.elements(item.name, as: Float.self) }
            var (difference, size) = (0.0, 0.0)
            let count = values[0].count
            let keys = item.name.hasSuffix("qkv.bias") ? count / 3..<count / 3 * 2 : item.name.hasSuffix("keyValue.bias") ? 0..<count / 2 : 0..<0
            for index in 0..<count where !keys.contains(index) {
                let (mine, theirs) = (values[0][index], values[1][index])
                difference += Double(mine - theirs) * Double(mine - theirs)
                size += Double(theirs) * Double(theirs)
            }
            let relative = size == 0 ? (difference == 0 ? 0 : 1) : (difference / size).squareRoot()
            if relative > worst.relative { worst = (relative, item.name) }
            allDifference += difference
            allSize += size
        }
        return (worst.relative, worst.name, (allDifference / allSize).squareRoot())
    }
}
