// Small runs that several tests look at: trained once, by the program itself.

import Foundation
import TestSupport
import Testing

/// Runs `mneme` with arguments in a folder's context and expects success.
@discardableResult
func mneme(_ arguments: [String], expecting status: Int32 = 0, timeout: Double = 300) throws -> FinishedRun {
    let run = try MPIRun.runAlone(executable: "mneme", arguments: arguments, timeout: timeout)
    #expect(run.status == status, "mneme \(arguments.joined(separator: " ")): \(run.standardError)")
    return run
}

func jsonObject(_ text: String) throws -> [String: Any] {
    try #require(try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
}

/// The ways from raw text to a trained run, each with data made here.
enum TrainedRuns {
    /// A run file for a small model.
    static func runFile(_ directory: String, kind: String, corpus: String, validation: String, steps: Int, layers: Int = 1) throws -> String {
        let path = "\(directory)/run.yaml"
        let text = """
            run: \(directory)/run
            seed: 3
            steps: \(steps)
            model: {kind: \(kind), layers: \(layers), width: 32, heads: 2, context: 128\(kind == "encoder-decoder" ? ", preNorm: true" : "")}
            corpus: {shards: \(corpus), validation: \(validation)}
            batch: {lanes: 16, length: 96}
            optimizer: {learningRate: 3e-3}
            schedule: {kind: cosine, warmup: 20}
            evaluation: {every: \(steps)}
            parallel: {threads: 1}
            log: {every: 5}
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        return path
    }

    /// Stories of task 20, whose answers a small model learns at once.
    static func stories(_ directory: String, kind: String, steps: Int) throws {
        try mneme([
            "corpus", "simulate", "babi", "--tasks", "20", "--stories", "300", "--test-stories", "10", "--seed", "4", "--output",
            "\(directory)/stories",
        ])
        let tokenizer = "\(directory)/stories.model"
        try mneme(["tokenizer", "train", "--kind", "bpe", "--vocabulary", "400", "--format", "babi", "--output", tokenizer, "\(directory)/stories"])
        for split in ["train", "test"] {
            try mneme([
                "corpus", "shard", "--format", "babi", "--split", split, "--maximum-length", "40", "--tokenizer", tokenizer, "--output",
                "\(directory)/\(split)", "\(directory)/stories",
            ])
        }
        let file = try runFile(directory, kind: kind, corpus: "\(directory)/train", validation: "\(directory)/test", steps: steps, layers: 2)
        try mneme(["train", file])
    }

    /// Pairs whose target is the source in capitals.
    static func translation(_ directory: String) throws {
        let words = ["the", "small", "house", "stands", "by", "a", "river", "and", "old", "tree"]
        let lines = (0..<400).map { line in (0..<4).map { words[(line * 7 + $0 * $0 * 3 + line / 9 * $0) % words.count] }.joined(separator: " ") }
        try (lines.joined(separator: "\n") + "\n").write(toFile: "\(directory)/text.en", atomically: true, encoding: .utf8)
        try (lines.map { $0.uppercased() }.joined(separator: "\n") + "\n").write(toFile: "\(directory)/text.de", atomically: true, encoding: .utf8)
        let (source, target, tokenizer) = ("\(directory)/text.en", "\(directory)/text.de", "\(directory)/pairs.model")
        try mneme(["tokenizer", "train", "--kind", "bpe", "--vocabulary", "340", "--format", "wmt", "--output", tokenizer, source, target])
        try mneme(["corpus", "shard", "--format", "wmt", "--tokenizer", tokenizer, "--output", "\(directory)/pairs", source, target])
        let file = try runFile(
            directory, kind: "encoder-decoder", corpus: "\(directory)/pairs", validation: "\(directory)/pairs", steps: 250)
        try mneme(["train", file])
    }
}
