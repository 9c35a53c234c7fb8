// Texts and tokenizers for tests.

import Corpora
import Foundation

/// The folder of real corpora, where there is one.
package let dataFolder = ProcessInfo.processInfo.environment["MNEME_DATA"]

/// Text with the letters of several scripts, repeated with variations so that a tokenizer has something to learn.
package func syntheticLines(_ count: Int) -> [String] {
    let subjects = ["Mary", "John", "the old sailor", "Jürgen", "Zoë", "a quick brown fox"]
    let verbs = ["went to", "travelled to", "journeyed to", "looked for", "dreamt of", "überquerte"]
    let objects = ["the kitchen", "the garden", "an island", "die Brücke", "the harbour", "42 lighthouses"]
    return (0..<count).map { "\(subjects[$0 % 6]) \(verbs[($0 / 6 + $0) % 6]) \(objects[($0 / 36 + 5 * $0) % 6]) on day \($0 % 97)." }
}

/// What tokenizers are trained on.
package func sample(_ lines: [String], limit: Int = 1 << 24) -> TextSample {
    var sample = TextSample(limit: limit)
    for line in lines { Array(line.utf8).withUnsafeBufferPointer { sample.add($0) } }
    return sample
}

/// A tokenizer of synthetic lines.
package func tokenizer(_ kind: TokenizerTraining.Kind, _ vocabularySize: Int?) throws -> SentencePieceTokenizer {
    try SentencePieceTokenizer(
        modelBytes: TokenizerTraining(kind: kind, vocabularySize: vocabularySize).train(on: sample(syntheticLines(400))), name: "test")
}
