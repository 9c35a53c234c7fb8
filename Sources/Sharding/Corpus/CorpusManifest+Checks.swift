// What can be told of corpus.json without a look at the shards: its identities, its sums, its names. Nothing in it is believed before.

import Corpora
import Diagnostics
import Foundation
import HDF5
import Storage

extension CorpusManifest {
    /// SHA-256 over what a model sees: kind, tokenizer, labels, and the checksums and sizes of all datasets.
    package var computedFingerprint: String {
        var hash = SHA256()
        func add(_ text: String) { Array((text + "\n").utf8).withUnsafeBytes { hash.update($0) } }
        add("\(format) \(formatVersion) \(kind.rawValue) \(tokenType) \(tokenizer.sha256)")
        for label in labels { add(label) }
        for shard in shards {
            add("\(shard.counts.documents) \(shard.counts.tokens) \(shard.continuesDocument)")
            for (name, checksum) in shard.checksums.sorted(by: { $0.key < $1.key }) { add("\(name) \(checksum)") }
        }
        return hash.finalized()
    }

    /// SHA-256 over everything that decides the shards' content. How many wrong records are allowed decides only whether there is a corpus.
    static func recipe(
        format: CorpusFormat, inputs: [Input], options: [String: String], tokenizerFingerprint: String
    ) throws -> String {
        struct Recipe: Encodable {
            var version: Int
            var format: CorpusFormat
            var inputs: [Input]
            var options: [String: String]
            var tokenizer: String
        }
        let recipe = Recipe(
            version: currentVersion, format: format, inputs: inputs, options: options.filter { $0.key != "bad-records" },
            tokenizer: tokenizerFingerprint)
        return SHA256.hexadecimalDigest(of: Array(try compactEncoder().encode(recipe)))
    }

    static func compactEncoder() -> JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return encoder
    }

    /// Makes sure that the manifest agrees with itself: fingerprint and recipe follow from what it says, sums are the sums of its shards, numbers are
    /// in range, names stay in the directory.
    /// - Throws: `UserError(.badData)` that names the key.
    func check(at path: String) throws {
        func require(_ condition: Bool, _ what: @autoclosure () -> String) throws {
            if !condition { throw UserError(.badData, "is damaged: \(what())", at: path, advice: "copy the corpus again, or shard it again") }
        }
        try require((1...Int(Int32.max)).contains(tokenizer.vocabularySize), "tokenizer.vocabulary_size is \(tokenizer.vocabularySize)")
        let ids = 0..<Int32(tokenizer.vocabularySize)
        for (name, id) in [
            ("unknown_id", tokenizer.unknownId), ("beginning_id", tokenizer.beginningId), ("end_id", tokenizer.endId),
            ("padding_id", tokenizer.paddingId),
        ] { try require(ids.contains(id), "tokenizer.\(name) is \(id), the vocabulary has \(tokenizer.vocabularySize) pieces") }
        try require(Self.staysInDirectory(tokenizer.file), "tokenizer.file leads out of the directory: \(tokenizer.file)")
        let type = ShardLayout.tokenType(vocabularySize: tokenizer.vocabularySize).rawValue
        try require(tokenType == type, "token_type is \(tokenType) where \(tokenizer.vocabularySize) pieces take \(type)")
        let names = Set(ShardLayout.datasets(kind, tokenType: .uint16).map(\.name))
        for (index, shard) in shards.enumerated() {
            let place = "shards[\(index)]"
            try require(shard.file == ShardLayout.fileName(index), "\(place).file is \(shard.file), not \(ShardLayout.fileName(index))")
            try require(Set(shard.checksums.keys) == names, "\(place).checksums are not those of the datasets of \(kind.rawValue)")
            if let wrong = shard.counts.firstImpossible(kind) { try require(false, "\(place).counts.\(wrong)") }
            try require(shard.bytes ?? 1 > 0, "\(place).bytes is \(shard.bytes ?? 0)")
            try require(shard.cleaning.isPlausible, "\(place).cleaning holds a number out of range")
        }
        var (sums, cleaned) = (CorpusCounts(), CleaningCounts())
        for shard in shards {
            sums.add(shard.counts)
            cleaned.add(shard.cleaning)
        }
        try require(counts == sums, "counts are not the sums of its shards (\(counts.firstDifference(from: sums) ?? ""))")
        try require(cleaning == cleaned, "cleaning is not the sum of its shards")
        try require(counts.documents > 0, "it holds no document")
        try require(badRecordCount >= badRecords.count, "bad_record_count is \(badRecordCount), \(badRecords.count) are listed")
        try require(fingerprint == computedFingerprint, "its fingerprint is not that of what it lists")
        let recipe = try Self.recipe(format: sourceFormat, inputs: inputs, options: options, tokenizerFingerprint: tokenizer.sha256)
        try require(self.recipe == recipe, "its recipe is not that of its source_format, inputs, options and tokenizer")
    }

    /// Whether a file name names something in the directory itself.
    private static func staysInDirectory(_ name: String) -> Bool { !name.isEmpty && !name.contains("/") && name != "." && name != ".." }
}

extension CorpusCounts {
    /// Each count by its key in corpus.json.
    private var named: [(name: String, value: Int)] {
        [
            ("documents", documents), ("tokens", tokens), ("source_tokens", sourceTokens), ("target_tokens", targetTokens), ("words", words),
            ("text_bytes", textBytes), ("text_characters", textCharacters ?? 0), ("longest_source", longestSource), ("longest_target", longestTarget),
        ]
    }

    /// Far more than a shard holds, and so little that sums over any number of shards do not overflow.
    fileprivate static let largestOfAShard = 1 << 40

    /// The first count of a shard that cannot be, with its value.
    fileprivate func firstImpossible(_ kind: CorpusKind) -> String? {
        if let wrong = named.first(where: { !(0...Self.largestOfAShard).contains($0.value) }) { return "\(wrong.name) is \(wrong.value)" }
        switch kind {
        case .text: return sourceTokens + targetTokens + longestTarget == 0 ? nil : "source_tokens or target_tokens are of a corpus of pairs"
        case .pairs: return tokens == sourceTokens + targetTokens ? nil : "tokens is \(tokens), both sides have \(sourceTokens + targetTokens)"
        }
    }

    /// The first count that another has another value for: `tokens is 12, not 10`.
    func firstDifference(from other: CorpusCounts) -> String? {
        zip(named, other.named).first { $0.value != $1.value }.map { "\($0.name) is \($0.value), not \($1.value)" }
    }
}

extension CleaningCounts {
    /// Whether every count may be a shard's.
    fileprivate var isPlausible: Bool {
        (dropped.map(\.count) + [kept]).allSatisfy { (0...CorpusCounts.largestOfAShard).contains($0) }
    }
}

extension CorpusManifest.Shard {
    /// The entry with the size of the file at `path`.
    func withSize(ofFileAt path: String) throws -> CorpusManifest.Shard {
        var entry = self
        entry.bytes = try DurableFile.size(of: path)
        return entry
    }

    /// The entry as the shard file itself carries it.
    var withoutSize: CorpusManifest.Shard {
        var entry = self
        entry.bytes = nil
        return entry
    }
}
