// What the tests of the configuration share.

import Configuration
import Diagnostics
import Testing

/// The run file that design and documentation show.
let exampleRun = """
    run: wmt-en-de
    seed: 1
    steps: 20000
    model: {kind: encoder-decoder, layers: 6, width: 512, heads: 8, feedForward: 2048, dropout: 0.1}
    corpus: {shards: corpora/wmt-en-de, validation: corpora/wmt-en-de-valid}
    batch: {lanes: 64, length: 128, groups: 8}      # the global batch
    optimizer: {kind: adamw, learningRate: 7e-4, betas: [0.9, 0.98], clip: 1.0}
    precision: float32
    checkpoint:
      every: 10 min
      keep: 3
    evaluation: {every: 500}
    """

func tree(_ yaml: String, _ overrides: String...) throws -> ConfigurationTree {
    try ConfigurationTree(yaml: yaml, file: "x.yaml", overrides: overrides)
}

/// The user's error that `body` throws, in one line.
func message(exitCode: ExitCode = .configuration, sourceLocation: SourceLocation = #_sourceLocation, _ body: () throws -> Void) -> String {
    do {
        try body()
        Issue.record("no error was thrown", sourceLocation: sourceLocation)
    } catch let error as UserError {
        #expect(error.exitCode == exitCode, sourceLocation: sourceLocation)
        return error.description
    } catch {
        Issue.record("another error: \(error)", sourceLocation: sourceLocation)
    }
    return ""
}

/// Reads without a meaning, where a test is about values.
extension ConfigurationSection {
    func int(_ key: String, default value: Int? = nil, in range: some RangeExpression<Int> = Int.min...Int.max) throws -> Int {
        try int(key, "", default: value, in: range)
    }
    func optionalInt(_ key: String, in range: some RangeExpression<Int> = Int.min...Int.max) throws -> Int? {
        try optionalInt(key, "", in: range)
    }
    func ints(_ key: String, default value: [Int]? = nil) throws -> [Int] { try ints(key, "", default: value) }
    func double(
        _ key: String, default value: Double? = nil, in range: some RangeExpression<Double> = -Double.infinity...Double.infinity
    ) throws -> Double {
        try double(key, "", default: value, in: range)
    }
    func optionalDouble(_ key: String) throws -> Double? { try optionalDouble(key, "") }
    func doubles(
        _ key: String, default value: [Double]? = nil, count: Int? = nil,
        in range: some RangeExpression<Double> = -Double.infinity...Double.infinity
    ) throws -> [Double] {
        try doubles(key, "", default: value, count: count, in: range)
    }
    func bool(_ key: String, default value: Bool? = nil) throws -> Bool { try bool(key, "", default: value) }
    func string(_ key: String, default value: String? = nil) throws -> String { try string(key, "", default: value, defaultText: nil) }
    func optionalString(_ key: String) throws -> String? { try optionalString(key, "", defaultText: nil) }
    func strings(_ key: String, default value: [String]? = nil) throws -> [String] { try strings(key, "", default: value) }
    func choice(_ key: String, default value: String? = nil, of words: [String]) throws -> String {
        try choice(key, "", default: value, of: words)
    }
    func choice<Choice: RawRepresentable<String> & CaseIterable>(
        _ key: String, default value: Choice? = nil, of type: Choice.Type = Choice.self
    ) throws -> Choice {
        try choice(key, "", default: value, of: Array(Choice.allCases))
    }
    func interval(_ key: String, default value: ConfigurationInterval? = nil) throws -> ConfigurationInterval {
        try interval(key, "", default: value)
    }
}
