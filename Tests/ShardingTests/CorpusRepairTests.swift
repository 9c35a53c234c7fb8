// Damaged shards are made again from the inputs, bit for bit, and only from the same inputs.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Sharding
import TestSupport
import Testing

@Suite struct CorpusRepairTests {
    /// A corpus of a folder of text and one of a prefix of line-aligned files, several shards each.
    private func withCorpora(_ body: (_ inputs: String, _ corpus: String) throws -> Void) throws {
        for isPaired in [false, true] {
            try withScratchDirectory { directory in
                let inputs = directory + "/inputs"
                try FileManager.default.createDirectory(atPath: inputs, withIntermediateDirectories: true)
                let lines = syntheticLines(600)
                func write(_ name: String, _ lines: ArraySlice<String>) throws {
                    try (lines.joined(separator: "\n") + "\n").write(toFile: "\(inputs)/\(name)", atomically: true, encoding: .utf8)
                }
                try write("train.en", lines[..<300])
                try write("train.de", lines[300...])
                var options = ReaderOptions()
                if isPaired { options.languages = try LanguagePair("en-de") } else { options.documents = .line }
                let format: CorpusFormat = isPaired ? .wmt : .text
                let plan = ShardingPlan(
                    reading: format, inputs: [isPaired ? "\(inputs)/train" : inputs], options: options, rules: format.profile.cleaning,
                    tokenizer: try SentencePieceTokenizer(modelBytes: testModel.get(), name: "test"), output: directory + "/corpus", shardSize: 4000)
                #expect(try CorpusSharder(plan, communicator: SingleProcess()).run().manifest.shards.count > 4)
                try body(inputs, directory + "/corpus")
            }
        }
    }

    @Test("shards that are gone, cut off or have a wrong byte come back, on any number of ranks", arguments: [1, 3])
    func repair(ranks: Int) throws {
        try withCorpora { _, corpus in
            let whole = try contents(of: corpus)
            #expect(try CorpusRepair(examining: corpus).damage.isEmpty)
            try FileManager.default.removeItem(atPath: "\(corpus)/shard-0.h5")
            #expect(truncate("\(corpus)/shard-2.h5", 500) == 0)
            var bytes = whole["shard-3.h5"]!
            bytes[bytes.count - 3] ^= 1
            try bytes.write(to: URL(fileURLWithPath: "\(corpus)/shard-3.h5"))
            let repair = try CorpusRepair(examining: corpus)
            #expect(repair.damage.map(\.file) == ["shard-0.h5", "shard-2.h5", "shard-3.h5"])
            #expect(repair.damage[0].what == "missing" && repair.damage[1].what.hasPrefix("has 500 bytes where corpus.json says "))
            _ = try LoopbackCommunicator.run(size: ranks) { try CorpusRepair(examining: corpus).restore(communicator: $0) }
            #expect(try contents(of: corpus) == whole)
        }
    }

    @Test("inputs that have changed, and a tokenizer that has, are refused; nothing is touched")
    func refusals() throws {
        try withCorpora { inputs, corpus in
            try FileManager.default.removeItem(atPath: "\(corpus)/shard-1.h5")
            let before = try contents(of: corpus)
            func message() throws -> String {
                let error = try #require(throws: UserError.self) { try CorpusRepair(examining: corpus).restore(communicator: SingleProcess()) }
                #expect(try contents(of: corpus) == before)
                return error.description.replacing(inputs, with: "").replacing(corpus, with: "")
            }
            let file = "\(inputs)/train.de"
            let text = try Data(contentsOf: URL(fileURLWithPath: file))
            try (text + Data("one line more\n".utf8)).write(to: URL(fileURLWithPath: file))
            #expect(try message().hasSuffix("is not as it was when the corpus was made; bring back the inputs as they were, or shard them into another directory"))
            try FileManager.default.removeItem(atPath: file)
            #expect(try !message().isEmpty)
            try text.write(to: URL(fileURLWithPath: file))
            try CorpusRepair(examining: corpus).restore(communicator: SingleProcess())
            #expect(try CorpusRepair(examining: corpus).damage.isEmpty)
        }
    }
}
