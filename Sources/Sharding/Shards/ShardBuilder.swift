// One shard in the making: records in, an HDF5 file out.

import Corpora
import Diagnostics
import Foundation
import HDF5
import Storage

/// Cleans, tokenises and gathers the records of one shard, and writes the file. One object serves all shards of a rank, one after the other.
final class ShardBuilder {
    private let kind: CorpusKind
    private let tokenizer: SentencePieceTokenizer
    private let rules: CleaningRules
    private let recipe: String
    private let buffers: [(name: String, buffer: DatasetBuffer)]
    private let source: DatasetBuffer
    private let sourceOffsets: DatasetBuffer
    private let target: DatasetBuffer?
    private let targetOffsets: DatasetBuffer?
    private let labels: DatasetBuffer?
    private let words: DatasetBuffer

    private var counts = CorpusCounts()
    private var cleaning = CleaningCounts()
    private var continuesDocument = false
    /// Text: the document that is open, if one is.
    private var documentIsOpen = false
    private var documentIsDropped = false
    private var documentStart = 0
    private var documentWords = 0
    private var documentEndsInLine = false

    init(kind: CorpusKind, tokenizer: SentencePieceTokenizer, tokenType: HDF5ElementType, rules: CleaningRules, recipe: String) {
        self.kind = kind
        self.tokenizer = tokenizer
        self.rules = rules
        self.recipe = recipe
        let made = ShardLayout.datasets(kind, tokenType: tokenType).map { (name: $0.name, buffer: DatasetBuffer($0.type)) }
        func buffer(_ name: String) -> DatasetBuffer? { made.first { $0.name == name }?.buffer }
        func required(_ name: String) -> DatasetBuffer {
            guard let found = buffer(name) else { preconditionFailure("a shard of \(kind) has no dataset \(name)") }
            return found
        }
        buffers = made
        let isText = kind == .text
        source = required(isText ? ShardLayout.tokens : ShardLayout.sourceTokens)
        sourceOffsets = required(isText ? ShardLayout.documentOffsets : ShardLayout.sourceOffsets)
        words = required(isText ? ShardLayout.documentWords : ShardLayout.words)
        target = buffer(ShardLayout.targetTokens)
        targetOffsets = buffer(ShardLayout.targetOffsets)
        labels = buffer(ShardLayout.labels)
    }

    /// Empties the builder for another shard.
    /// - Parameter openDocument: `nil` at the start of a document; otherwise the first record of the document that goes on here, by which
    ///   cleaning decided about all of it.
    func begin(continuing openDocument: CorpusRecord?) {
        for (_, buffer) in buffers { buffer.removeAll() }
        counts = CorpusCounts()
        cleaning = CleaningCounts()
        sourceOffsets.append(0)
        targetOffsets?.append(0)
        continuesDocument = false
        documentIsOpen = false
        documentIsDropped = false
        if var first = openDocument {
            documentIsDropped = rules.apply(to: &first) != nil
            continuesDocument = !documentIsDropped
            if !documentIsDropped { openDocumentHere() }
        }
    }

    /// Cleans, encodes and adds one record.
    func add(_ record: inout CorpusRecord) {
        switch kind {
        case .text: addText(&record)
        case .pairs: addPair(&record)
        }
    }

    private func addText(_ record: inout CorpusRecord) {
        if record.startsDocument {
            closeDocument(atEnd: true)
            let reason = rules.apply(to: &record)
            cleaning.count(reason)
            documentIsDropped = reason != nil
            if !documentIsDropped { openDocumentHere() }
        } else if !documentIsDropped {
            _ = rules.apply(to: &record)
        }
        guard !documentIsDropped else { return }
        if !documentIsOpen { openDocumentHere() }
        let continues = !record.startsDocument
        record.source.withUnsafeBufferPointer { text in
            tokenizer.withEncoded(text, continuing: continues) { source.append($0) }
            let counted = WordCount.words(in: text)
            documentWords += counted.words + counted.lineBreaks
            if let last = text.last { documentEndsInLine = last != UInt8(ascii: "\n") }
        }
        counts.countText(record.source)
    }

    private func openDocumentHere() {
        documentIsOpen = true
        documentWords = 0
        documentEndsInLine = false
        documentStart = source.count
    }

    /// Ends the open document: with an end piece, or without one where it goes on in the next shard.
    private func closeDocument(atEnd: Bool) {
        guard documentIsOpen else { return }
        documentIsOpen = false
        if atEnd {
            source.append(id: tokenizer.endID)
            if documentEndsInLine { documentWords += 1 }
        }
        sourceOffsets.append(source.count)
        words.append(documentWords)
        counts.documents += 1
        counts.words += documentWords
        counts.longestSource = max(counts.longestSource, source.count - documentStart)
    }

    private func addPair(_ record: inout CorpusRecord) {
        let reason = rules.apply(to: &record)
        cleaning.count(reason)
        guard reason == nil, let targetText = record.target, let target, let targetOffsets, let labels else { return }
        let sourceLength = record.source.withUnsafeBufferPointer { text in
            tokenizer.withEncoded(text) { ids in
                source.append(ids)
                return ids.count
            }
        }
        sourceOffsets.append(source.count)
        let (targetLength, wordCount) = targetText.withUnsafeBufferPointer { text in
            let length = tokenizer.withEncoded(text) { ids in
                target.append(ids)
                return ids.count
            }
            return (length, WordCount.wordsAndLineEnds(in: text))
        }
        targetOffsets.append(target.count)
        labels.append(id: record.label)
        words.append(wordCount)
        counts.documents += 1
        counts.words += wordCount
        counts.countText(record.source)
        counts.countText(targetText)
        counts.longestSource = max(counts.longestSource, sourceLength)
        counts.longestTarget = max(counts.longestTarget, targetLength)
    }

    /// Writes the shard under a hidden name, syncs it, and gives it its name.
    /// - Parameter documentGoesOn: true when the next shard continues the last document.
    /// - Returns: the shard's entry for corpus.json.
    /// - Throws: `UserError(.inputOutput)`.
    func finish(index: Int, directory: String, documentGoesOn: Bool) throws -> CorpusManifest.Shard {
        closeDocument(atEnd: !documentGoesOn)
        counts.tokens = source.count + (target?.count ?? 0)
        if kind == .pairs {
            counts.sourceTokens = source.count
            counts.targetTokens = target?.count ?? 0
        }
        let checksums = Dictionary(uniqueKeysWithValues: buffers.map { ($0.name, ShardLayout.checksum(of: $0.buffer.bytes)) })
        let summary = CorpusManifest.Shard(
            file: ShardLayout.fileName(index), continuesDocument: continuesDocument, counts: counts, cleaning: cleaning, checksums: checksums)
        let path = Directory.path(of: summary.file, in: directory)
        let partial = Directory.path(of: ShardLayout.partialName(index), in: directory)
        do {
            try write(summary, to: partial)
        } catch {
            withSystemPath(partial, unlink)
            throw error
        }
        try Failpoint.corpusShard.pass(path)
        guard withSystemPaths(partial, path, rename) == 0 else {
            throw UserError(.inputOutput, "cannot be renamed: \(systemReason())", at: partial)
        }
        try Directory.synchronize(Directory.parent(of: path))
        return try summary.withSize(ofFileAt: path)
    }

    private func write(_ summary: CorpusManifest.Shard, to path: String) throws {
        let file = try HDF5File.create(path, replacing: true)
        try file.setAttribute(ShardLayout.formatAttribute, .string(ShardLayout.format))
        try file.setAttribute(ShardLayout.versionAttribute, .integer(Int64(CorpusManifest.currentVersion)))
        try file.setAttribute("kind", .string(kind.rawValue))
        try file.setAttribute("tokenizer", .string(tokenizer.fingerprint))
        try file.setAttribute(ShardLayout.recipeAttribute, .string(recipe))
        try file.setAttribute(ShardLayout.summaryAttribute, .string(String(decoding: CorpusManifest.encoder().encode(summary), as: UTF8.self)))
        for (name, buffer) in buffers {
            let dataset = try file.createDataset(name, buffer.elementType, shape: [buffer.count])
            try dataset.write(buffer.bytes)
            try dataset.setAttribute(ShardLayout.checksumAttribute, .string(summary.checksums[name] ?? ""))
            try dataset.close()
        }
        try file.close(synchronizing: true)
    }
}

extension CorpusCounts {
    /// Counts UTF-8 text that is kept. Every byte but those that continue a character begins one.
    fileprivate mutating func countText(_ text: [UInt8]) {
        textBytes += text.count
        textCharacters = (textCharacters ?? 0) + text.reduce(0) { $0 + ($1 & 0xC0 == 0x80 ? 0 : 1) }
    }
}
