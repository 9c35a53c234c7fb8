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
