// Small corpora for tests, made in a scratch directory.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Sharding
import TestSupport

/// Gives the records of a list; a record whose source is "BAD" is a wrong one.
final class ListReader: CorpusReader {
    let isPaired: Bool
    let labels: [String]
    private var records: ArraySlice<CorpusRecord>

    init(_ records: [CorpusRecord], labels: [String] = []) {
        isPaired = records.first?.target != nil
        self.labels = labels
        self.records = records[...]
    }

    func next() throws -> CorpusRecord? {
        guard let record = records.popFirst() else { return nil }
        if record.source == Array("BAD".utf8) { throw RecordError("a wrong record", at: record.place) }
        return record
    }
}

func place(_ line: Int) -> RecordPlace {
    RecordPlace(file: "list.txt", line: line, byte: 10 * line)
}

/// Documents of one to five lines.
func documents(_ count: Int) -> [CorpusRecord] {
    let lines = syntheticLines(5 * count)
    return (0..<count).map { index in
        let text = lines[5 * index..<5 * index + 1 + index % 5].joined(separator: "\n")
        return CorpusRecord(source: Array(text.utf8), place: place(index + 1))
    }
}

/// Pairs of different lengths; every tenth has an empty target, which cleaning drops.
func pairs(_ count: Int) -> [CorpusRecord] {
    let lines = syntheticLines(2 * count)
    return (0..<count).map { index in
        let words = lines[index].split(separator: " ")
        let source = words.prefix(2 + index % 5).joined(separator: " ") + " \(index)"
        let target = index % 10 == 9 ? " " : lines[count + index].split(separator: " ").prefix(1 + index % 4).joined(separator: " ")
        return CorpusRecord(source: Array(source.utf8), target: Array(target.utf8), label: Int32(index % 3), place: place(index + 1))
    }
}

/// A tokenizer is used by one thread at a time, so tests and ranks share its bytes only.
let testModel = Result { try tokenizer(.bpe, 330).modelBytes }

/// A plan over records that are given, with small shards.
func plan(
    _ records: [CorpusRecord], output: String, shardSize: Int = 2000, badRecordLimit: Int = 0, format: CorpusFormat = .text
) throws -> ShardingPlan {
    ShardingPlan(
        format: format, rules: CleaningRules(), tokenizer: try SentencePieceTokenizer(modelBytes: testModel.get(), name: "test"),
        output: output, shardSize: shardSize,
        badRecordLimit: badRecordLimit
    ) { _ in ListReader(records, labels: ["first", "second", "third"]) }
}

/// Shards records on one rank and opens the corpus.
func corpus(_ records: [CorpusRecord], output: String, shardSize: Int = 2000) throws -> Corpus {
    _ = try CorpusSharder(plan(records, output: output, shardSize: shardSize), communicator: SingleProcess()).run()
    return try Corpus(directory: output)
}

/// Every file of a directory with its bytes.
func contents(of directory: String) throws -> [String: Data] {
    var files: [String: Data] = [:]
    for name in try FileManager.default.contentsOfDirectory(atPath: directory) {
        files[name] = try Data(contentsOf: URL(fileURLWithPath: directory + "/" + name))
    }
    return files
}
