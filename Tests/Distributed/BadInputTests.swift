// What users get wrong: each case prints one line, ends with its documented code on every rank, and leaves earlier checkpoints and shards alone.
// With MNEME_BAD_INPUT_TABLE=FILE the table of all cases is written to that file as Markdown.

import Foundation
import HDF5
import Testing
import TestSupport

/// One mistake.
struct BadInput: Sendable, CustomTestStringConvertible {
    let name: String
    /// The exit code of the process, or of mpirun.
    let status: Int32
    /// What the line must say.
    let message: String
    /// Ranks under mpirun; `nil` for one process alone.
    var ranks: Int?
    /// Whether the line is a note, and the command goes on.
    var isNote = false
    /// Makes the scratch directory ready and returns mneme's arguments. "@" is the directory of the corpora.
    let prepare: @Sendable (_ scratch: String) throws -> [String]

    var testDescription: String { name + (ranks.map { $0 == 1 ? ", under mpirun" : ", \($0) ranks" } ?? "") }

    /// A training run with overrides, after `before` has prepared its directory.
    static func train(
        _ name: String, _ status: Int32, _ message: String, ranks: Int? = nil, isNote: Bool = false, kind: TrainingFixture.Kind = .windows,
        _ settings: [String], before: @escaping @Sendable (TrainingRun) throws -> Void = { _ in }
    ) -> BadInput {
        BadInput(name: name, status: status, message: message, ranks: ranks, isNote: isNote) { scratch in
            var run = try TrainingRun(kind, "run", in: scratch)
            try before(run)
            run.settings = settings
            return run.arguments
        }
    }

    /// Sharding of files that `before` writes.
    static func shard(
        _ name: String, _ status: Int32, _ message: String, ranks: Int? = nil, _ arguments: [String],
        write: @escaping @Sendable (_ scratch: String) throws -> Void
    ) -> BadInput {
        BadInput(name: name, status: status, message: message, ranks: ranks) { scratch in
            try write(scratch)
            return ["corpus", "shard", "--tokenizer", try TrainingFixture.shared().directory + "/t.model", "--output", "\(scratch)/corpus"]
                + arguments.map { $0.replacingOccurrences(of: "@", with: scratch + "/") }
        }
    }
}

/// Changes one bit of the bytes of a dataset.
private func flipBit(of dataset: String, in path: String) throws {
    let file = try HDF5File.openReadOnly(path)
    let offset = try #require(try file.dataset(dataset).fileOffset)
    try file.close()
    try flipBit(at: offset + 5, in: path)
}

private func flipBit(at offset: Int, in path: String) throws {
    let handle = try #require(FileHandle(forUpdatingAtPath: path))
    try handle.seek(toOffset: UInt64(offset))
    let byte = try #require(try handle.read(upToCount: 1)?.first)
    try handle.seek(toOffset: UInt64(offset))
    try handle.write(contentsOf: Data([byte ^ 4]))
    try handle.close()
}

/// A copy of the text corpus in which one bit of one shard is wrong.
private func damagedCorpus(_ scratch: String) throws -> String {
    let copy = "\(scratch)/damaged"
    try FileManager.default.copyItem(atPath: try TrainingFixture.shared().directory + "/text", toPath: copy)
    let shard = try #require(try FileManager.default.contentsOfDirectory(atPath: copy).filter { $0.hasPrefix("shard-") }.sorted().dropFirst().first)
    try flipBit(of: "tokens", in: "\(copy)/\(shard)")
    return copy
}

/// Trains to step 6, which leaves checkpoints of steps 3 and 6.
@Sendable private func trainABit(_ run: TrainingRun) throws { try run.with("steps=6").train() }

private func damage(_ run: TrainingRun, step: Int) throws {
    let directory = "\(run.directory)/step-\(step)"
    let shard = try #require(try FileManager.default.contentsOfDirectory(atPath: directory).first { $0.hasPrefix("shard-") })
    try flipBit(of: "parameters/tokenEmbedding.weight", in: "\(directory)/\(shard)")
}

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct BadInputTests {
    private static func corpus(_ name: String) -> String { ((try? TrainingFixture.shared().directory) ?? "") + "/" + name }

    static let configuration: [BadInput] = [
        .train("a misspelt key (--set)", 78, "did you mean 'dropout'", ["model.droput=0.1"]),
        BadInput(name: "a misspelt key (file)", status: 78, message: "learningRate", ranks: 2) { scratch in
            let path = try TrainingFixture.shared().runFile(.windows, in: scratch)
            let text = try String(contentsOfFile: path, encoding: .utf8).replacingOccurrences(of: "learningRate", with: "learningrate")
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            return ["train", path]
        },
        .train("an ill-typed value", 78, "batch.lanes", ["batch.lanes=many"]),
        .train("a value out of range", 78, "model.heads", ["model.heads=0"]),
        .train("an option of another kind of model", 78, "unknown key", kind: .carriedWords, ["model.layers=2"]),
        .train("a memory without slots", 78, "model.memory", kind: .carriedWords, ["model.memory=0"]),
        .train(
            "a learning rate that follows evaluations, and none", 78, "evaluation.every' must be a number of steps", ranks: 2,
            ["schedule.kind=plateau", "evaluation.every=never"]),
        .train(
            "a learning rate that follows evaluations, and nothing to evaluate", 78, "plateau follows the validation loss", ranks: 2,
            ["schedule.kind=plateau", "corpus.validation=null"]),
        .train("a learning rate that would never fall", 78, "schedule.factor", ["schedule.kind=plateau", "schedule.factor=1"]),
        .train("a run directory that is not the run's own", 78, "'run' is '..', which is no directory of the run's own", ["run=.."]),
        .train("an interval without a known unit", 78, "checkpoint.every", ["checkpoint.every=5 parsecs"]),
        BadInput(name: "a run file that does not exist", status: 66, message: "there is no such file") { ["train", "\($0)/none.yaml"] },
        BadInput(name: "a run file that is not YAML", status: 78, message: "bad.yaml:") { scratch in
            try "model: {kind: decoder-only\nsteps".write(toFile: "\(scratch)/bad.yaml", atomically: true, encoding: .utf8)
            return ["train", "\(scratch)/bad.yaml"]
        },
        .train("more ranks than lanes", 78, "2 lanes cannot be shared by 3 ranks", ranks: 3, ["batch.lanes=2"]),
        .train(
            "more ranks than groups", 78, "batch.groups: 2 groups cannot be shared by 3 ranks", ranks: 3,
            ["parallel.reproducible=true", "batch.groups=2", "batch.lanes=12"]),
        BadInput(name: "ranks with different run files", status: 78, message: "rank 1 differs from rank 0 in configuration key model.width", ranks: 1)
        { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            let other = run.with("model.width=128")
            return run.arguments + [":", "-n", "1", MPIRun.productsFolder.path + "/mneme"] + other.arguments
        },
    ]

    static let corpora: [BadInput] = [
        .train("a corpus that does not exist", 66, "corpus.json is missing", ranks: 2, ["corpus.shards=/none"]),
        .train("running text for an encoder-decoder", 78, "holds running text", kind: .pairs, ["corpus.shards=\(corpus("text"))"]),
        .train(
            "validation text for an encoder-decoder", 78, "holds running text", ranks: 2, kind: .pairs,
            ["corpus.validation=\(corpus("text-valid"))"]),
        .train("a validation corpus of another vocabulary", 78, "its tokenizer is not the one", ranks: 2, ["corpus.validation=\(corpus("other"))"]),
        .train(
            "resumed with a corpus of another vocabulary", 78, "its vocabulary is not that of", ranks: 2,
            ["corpus.shards=\(corpus("other"))", "corpus.validation=\(corpus("other"))"], before: trainABit),
        .train("resumed with another corpus", 78, "it was trained on another corpus", ["corpus.shards=\(corpus("text-valid"))"], before: trainABit),
        BadInput(name: "a shard with a flipped bit, inspected", status: 65, message: "dataset tokens is damaged") {
            ["corpus", "inspect", "--verify", try damagedCorpus($0)]
        },
        BadInput(name: "a shard with a flipped bit, trained on", status: 65, message: "dataset tokens is damaged", ranks: 1) {
            try TrainingRun(.windows, "run", in: $0, "corpus.shards=\(try damagedCorpus($0))").arguments
        },
        BadInput(name: "a shard with a flipped bit, trained on", status: 65, message: "dataset tokens is damaged", ranks: 2) {
            try TrainingRun(.windows, "run", in: $0, "corpus.shards=\(try damagedCorpus($0))").arguments
        },
        .shard("a truncated gz file", 65, "text.gz", ["--format", "text", "@text.gz"]) { scratch in
            let zip = try MPIRun.runAlone(
                executable: "/bin/sh", arguments: ["-c", "gzip -c '\(corpus("text.txt"))' | head -c 1500 > '\(scratch)/text.gz'"])
            try #require(zip.status == 0)
        },
        .shard("text that is not UTF-8", 65, "UTF-8", ranks: 2, ["--format", "text", "@latin.txt"]) { scratch in
            try Data("one line\ncaf\u{E9}\n".unicodeScalars.map { UInt8($0.value) }).write(to: URL(fileURLWithPath: "\(scratch)/latin.txt"))
        },
        .shard("line-aligned files of unequal length", 65, "lines", ranks: 2, ["--format", "wmt", "--languages", "en-de", "@two"]) { scratch in
            try "one\ntwo\nthree\n".write(toFile: "\(scratch)/two.en", atomically: true, encoding: .utf8)
            try "eins\nzwei\n".write(toFile: "\(scratch)/two.de", atomically: true, encoding: .utf8)
        },
        .shard("an empty corpus", 65, "there is no record of --format text; it seems to be an empty file", ranks: 2, ["--format", "text", "@empty.txt"]) { scratch in
            try Data().write(to: URL(fileURLWithPath: "\(scratch)/empty.txt"))
        },
    ]

    static let directories: [BadInput] = [
        .train(
            "a checkpoint of another model", 78, "step-6: the run was trained with model.width 64, not 32", ranks: 2, ["model.width=32"],
            before: trainABit),
        .train(
            "a checkpoint of another optimizer", 78, "the run was trained with optimizer.kind adamw, not sgd", ["optimizer.kind=sgd"],
            before: trainABit),
        .train("the newest checkpoint has a flipped bit", 0, "passing over", isNote: true, []) { run in
            try trainABit(run)
            try damage(run, step: 6)
        },
        .train("all checkpoints have a flipped bit", 65, "no checkpoint verifies", ranks: 2, []) { run in
            try trainABit(run)
            try damage(run, step: 3)
            try damage(run, step: 6)
        },
        BadInput(name: "a run directory that cannot be made", status: 74, message: "Not a directory", ranks: 2) { scratch in
            try Data().write(to: URL(fileURLWithPath: "\(scratch)/file"))
            return try TrainingRun(.windows, "file/run", in: scratch).arguments
        },
        .train(
            "a loss that is not a number", 65, "the gradient is not finite", ranks: 2,
            ["optimizer.learningRate=1e30", "optimizer.weightDecay=0", "schedule.kind=constant"]),
        .train(
            "activations that are not finite, 2 ranks", 65, "blocks.0.attention.qkv is the first layer whose output is not finite", ranks: 2,
            ["optimizer.learningRate=1e30", "optimizer.weightDecay=0", "schedule.kind=constant", "checkNumerics=true"]),
    ]

    /// Runs a case and checks what it printed, its code, and that checkpoints and shards are as they were.
    private func check(_ bad: BadInput) throws {
        try withScratchDirectory { scratch in
            let arguments = try bad.prepare(scratch)
            let before = try files(scratch)
            let run = try MPIRun.start(ranks: bad.ranks, executable: "mneme", arguments: arguments).finish()
            try report(bad.testDescription, "mneme " + arguments.joined(separator: " "), bad.status, bad.message, isNote: bad.isNote, run, scratch)
            if !bad.isNote { #expect(try files(scratch) == before, "earlier files have changed") }
        }
    }

    /// Checkpoints and shards below a directory, by path, with their bytes.
    private func files(_ directory: String) throws -> [String: Data] {
        let paths = FileManager.default.enumerator(atPath: directory)?.compactMap { $0 as? String } ?? []
        return try paths.filter { $0.hasSuffix(".h5") }.reduce(into: [:]) { files, path in
            files[path] = try Data(contentsOf: URL(fileURLWithPath: "\(directory)/\(path)"))
        }
    }

    private func report(
        _ name: String, _ command: String, _ status: Int32, _ message: String, isNote: Bool = false, _ run: FinishedRun, _ scratch: String
    ) throws {
        let lines = run.standardError.split(separator: "\n").map(String.init)
        let errors = lines.filter { isNote ? $0.contains(message) : $0.hasPrefix("mneme: error: ") }
        #expect(run.status == status, "\(run.standardError)")
        #expect(errors.count == 1 && errors.first?.contains(message) == true, "\(run.standardError)")
        #expect(!run.standardError.contains("Fatal error") && !run.standardError.contains("Stack dump"), "\(run.standardError)")
        #expect(!run.isTimedOut, "\(run.seconds) s")
        guard let table = ProcessInfo.processInfo.environment["MNEME_BAD_INPUT_TABLE"] else { return }
        if !FileManager.default.fileExists(atPath: table) {
            try Data("| case | command | message | exit code | seconds |\n| --- | --- | --- | --- | --- |\n".utf8).write(
                to: URL(fileURLWithPath: table))
        }
        let fixture = try TrainingFixture.shared().directory
        func short(_ text: String) -> String {
            text.replacingOccurrences(of: scratch + "/", with: "").replacingOccurrences(of: fixture + "/", with: "")
                .replacingOccurrences(of: MPIRun.productsFolder.path + "/", with: "").replacingOccurrences(of: "|", with: "\\|")
        }
        let handle = try #require(FileHandle(forWritingAtPath: table))
        try handle.seekToEnd()
        let row = "| \(name) | `\(short(command))` | \(short(errors.first ?? "none")) | \(run.status) | \(String(format: "%.1f", run.seconds)) |\n"
        try handle.write(contentsOf: Data(row.utf8))
        try handle.close()
    }

    @Test(arguments: configuration) func inConfigurations(bad: BadInput) throws { try check(bad) }
    @Test(arguments: corpora) func inCorpora(bad: BadInput) throws { try check(bad) }
    @Test(arguments: directories) func inRunDirectories(bad: BadInput) throws { try check(bad) }

    @Test("no space left on the device during a checkpoint", .enabled(if: TinyDisk.isPermitted, "mounting a small file system is not permitted"))
    func diskIsFull() throws {
        try withTinyDisk(kilobytes: 4096) { disk in
            let run = try TrainingRun(.windows, "disk", in: disk).with("checkpoint.keep=5")
            let session = try run.start(ranks: 2).finish()
            try report(
                "no space left on the device, 2 ranks", "mneme \(run.arguments.joined(separator: " "))", 74, "No space left on device", session, disk)
            #expect(run.checkpointSteps == [3, 6] && run.leftovers == [], "\(run.checkpointSteps) \(run.leftovers)")
            let verified = try MPIRun.runAlone(
                executable: "mneme", arguments: ["checkpoint", "verify"] + [3, 6].map { "\(run.directory)/step-\($0)" })
            #expect(verified.status == 0, "\(verified.standardError)")
        }
    }

    @Test("a checkpoint beyond the largest file that the shell allows")
    func fileIsTooLarge() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            try run.with("steps=3").train()
            let before = try files(scratch)
            let command = "ulimit -f 600; exec \(MPIRun.productsFolder.path)/mneme \(run.arguments.joined(separator: " "))"
            let session = try MPIRun.runAlone(executable: "/bin/bash", arguments: ["-c", command])
            try report("a file beyond ulimit -f", command, 74, "File too large", session, scratch)
            #expect(try files(scratch) == before && run.leftovers == [])
        }
    }
}
