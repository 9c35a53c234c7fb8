// Sharding: the same bytes on any number of ranks and after any interruption, and damage that is told.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Sharding
import TestSupport
import Testing

@Suite struct ShardingTests {
    @Test func textComesBackDocumentByDocument() throws {
        try withScratchDirectory { directory in
            let records = documents(200)
            let corpus = try corpus(records, output: directory + "/corpus")
            let tokenizer = try corpus.tokenizer()
            #expect(corpus.kind == .text && corpus.count == 200 && corpus.manifest.shards.count > 3)
            #expect(corpus.vocabularySize == 330 && corpus.tokenizerFingerprint == tokenizer.fingerprint)
            var words = 0
            var tokens = 0
            for index in 0..<200 {
                let document = try corpus.document(index)
                #expect(document.last == corpus.endID)
                #expect(tokenizer.decode(document) == String(decoding: records[index].source, as: UTF8.self))
                #expect(try corpus.documentRange(index) == tokens..<tokens + document.count)
                #expect(try corpus.document(atToken: tokens) == index && corpus.document(atToken: tokens + document.count - 1) == index)
                tokens += document.count
                let expected = String(decoding: records[index].source, as: UTF8.self).split { $0 == " " || $0 == "\n" }.count + 1 + index % 5
                #expect(try corpus.documentWords(index) == expected)
                words += expected
            }
            #expect(tokens == corpus.tokenCount && words == corpus.manifest.counts.words)
            #expect(corpus.manifest.counts.textBytes == records.reduce(0) { $0 + $1.source.count })
            #expect(corpus.manifest.counts.textCharacters == records.reduce(0) { $0 + String(decoding: $1.source, as: UTF8.self).unicodeScalars.count })
            try corpus.verify()
        }
    }

    @Test func pairsComeBackWithLabels() throws {
        try withScratchDirectory { directory in
            let records = pairs(300)
            let corpus = try corpus(records, output: directory + "/corpus")
            let tokenizer = try corpus.tokenizer()
            let kept = records.filter { $0.target != [UInt8(ascii: " ")] }
            #expect(corpus.kind == .pairs && corpus.count == kept.count && corpus.labels == ["first", "second", "third"])
            #expect(corpus.manifest.cleaning[.emptyTarget] == 30 && corpus.manifest.cleaning.kept == 270)
            for (index, record) in kept.enumerated() {
                let (source, target) = try corpus.pair(index)
                #expect(tokenizer.decode(source) == String(decoding: record.source, as: UTF8.self))
                #expect(tokenizer.decode(target) == String(decoding: record.target ?? [], as: UTF8.self))
                let sizes = try corpus.pairSizes(index)
                #expect(sizes.label == record.label && sizes.source == source.count && sizes.target == target.count)
                #expect(sizes.words == String(decoding: record.target ?? [], as: UTF8.self).split(separator: " ").count + 1)
            }
        }
    }

    @Test(arguments: [1, 2, 3, 4])
    func outputDoesNotDependOnRanks(_ ranks: Int) throws {
        try withScratchDirectory { directory in
            for (name, records) in [("text", documents(150)), ("pairs", pairs(250))] {
                _ = try corpus(records, output: directory + "/alone-" + name)
                let outcomes = try LoopbackCommunicator.run(size: ranks) {
                    try CorpusSharder(plan(records, output: directory + "/ranks-" + name), communicator: $0).run().manifest
                }
                #expect(outcomes.allSatisfy { $0 == outcomes[0] })
                #expect(try contents(of: directory + "/alone-" + name) == contents(of: directory + "/ranks-" + name))
            }
        }
    }

    @Test func anInterruptedRunGoesOn() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            let records = pairs(250)
            _ = try corpus(records, output: output)
            let expected = try contents(of: output)
            // As a kill leaves it: no manifest, a shard missing, one half written, one of another recipe, one damaged, one too many.
            let files = FileManager.default
            try files.removeItem(atPath: output + "/corpus.json")
            try files.removeItem(atPath: output + "/shard-1.h5")
            try Data("half".utf8).write(to: URL(fileURLWithPath: output + "/.shard-1.h5.partial"))
            try files.copyItem(atPath: output + "/shard-0.h5", toPath: output + "/shard-77.h5")
            let other = directory + "/other"
            _ = try corpus(documents(100), output: other)
            try files.removeItem(atPath: output + "/shard-2.h5")
            try files.copyItem(atPath: other + "/shard-0.h5", toPath: output + "/shard-2.h5")
            try flipBit(in: output + "/shard-3.h5", dataset: "source_tokens")
            let outcome = try CorpusSharder(plan(records, output: output), communicator: SingleProcess()).run()
            #expect(outcome.shardsKept == outcome.manifest.shards.count - 3 && !outcome.wasComplete)
            #expect(try contents(of: output) == expected)
            #expect(try CorpusSharder(plan(records, output: output), communicator: SingleProcess()).run().wasComplete)
        }
    }

    @Test func aDirectoryWithAnotherCorpusIsLeftAlone() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(pairs(50), output: output)
            let before = try contents(of: output)
            let error = #expect(throws: UserError.self) {
                try CorpusSharder(plan(pairs(50), output: output, shardSize: 1 << 20), communicator: SingleProcess()).run()
            }
            #expect(error?.exitCode == .configuration)
            #expect(try contents(of: output) == before)
        }
    }

    @Test func wrongRecordsAreCountedUpToALimit() throws {
        try withScratchDirectory { directory in
            var records = documents(60)
            for index in [3, 20, 40] { records[index].source = Array("BAD".utf8) }
            let error = #expect(throws: UserError.self) { try corpus(records, output: directory + "/none") }
            #expect(
                error?.exitCode == .badData && error?.description.contains("list.txt, line 4, byte 40: a wrong record") == true,
                "\(error?.description ?? "")")
            #expect(throws: UserError.self) {
                try CorpusSharder(plan(records, output: directory + "/two", badRecordLimit: 2), communicator: SingleProcess()).run()
            }
            let outcome = try CorpusSharder(plan(records, output: directory + "/three", badRecordLimit: 3), communicator: SingleProcess()).run()
            #expect(
                outcome.manifest.badRecordCount == 3 && outcome.manifest.badRecords.map(\.line) == [4, 21, 41]
                    && outcome.manifest.counts.documents == 57)
        }
    }

    @Test func anEmptyCorpusIsRefusedAndLeavesNoShards() throws {
        try withScratchDirectory { directory in
            for (name, records) in [("none", []), ("blank", [CorpusRecord(source: Array(" \n ".utf8), place: place(1))])] {
                let error = #expect(throws: UserError.self) { try corpus(records, output: directory + "/" + name) }
                #expect(error?.exitCode == .badData)
                let left = try FileManager.default.contentsOfDirectory(atPath: directory + "/" + name)
                #expect(left == ["tokenizer.model"])
            }
        }
    }

    @Test func longDocumentsAreCutBetweenShards() throws {
        try withScratchDirectory { directory in
            let lines = syntheticLines(400).map { $0 + "\n" }
            var records: [CorpusRecord] = [CorpusRecord(source: Array("A short one.".utf8), place: place(1))]
            // A document in pieces, then one that cleaning drops by its first piece, across shards as well.
            records += lines.enumerated().map { CorpusRecord(source: Array($1.utf8), startsDocument: $0 == 0, place: place($0 + 2)) }
            let dropped = (["  \n"] + lines).enumerated().map {
                CorpusRecord(source: Array($1.utf8), startsDocument: $0 == 0, place: place($0 + 500))
            }
            records += dropped + [CorpusRecord(source: Array("The last one.".utf8), place: place(1000))]
            let corpus = try corpus(records, output: directory + "/alone")
            let tokenizer = try corpus.tokenizer()
            let texts = try (0..<corpus.count).map { try corpus.document($0) }
            #expect(texts.filter { $0.last == corpus.endID }.count == 3)
            #expect(texts.map { tokenizer.decode($0) }.joined(separator: "|").hasPrefix("A short one.|"))
            let pieces = texts.dropFirst().dropLast()
            #expect(tokenizer.decode(pieces.flatMap { $0 }) == lines.joined())
            #expect(pieces.count > 2 && corpus.manifest.shards.filter(\.continuesDocument).count == pieces.count - 1)
            #expect(tokenizer.decode(texts[texts.count - 1]) == "The last one.")
            let sent = records
            _ = try LoopbackCommunicator.run(size: 3) {
                try CorpusSharder(plan(sent, output: directory + "/ranks"), communicator: $0).run().shardsKept
            }
            #expect(try contents(of: directory + "/alone") == contents(of: directory + "/ranks"))
        }
    }

    @Test func aFlippedBitIsFound() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(pairs(100), output: output)
            for dataset in ["source_tokens", "target_tokens", "source_offsets", "target_offsets", "labels", "words"] {
                let before = try Data(contentsOf: URL(fileURLWithPath: output + "/shard-0.h5"))
                try flipBit(in: output + "/shard-0.h5", dataset: dataset)
                let error = #expect(throws: UserError.self) { try Corpus(directory: output).pair(0) }
                #expect(error?.exitCode == .badData)
                #expect(
                    error?.description.contains("shard-0.h5") == true && error?.description.contains(dataset) == true, "\(error?.description ?? "")")
                #expect(throws: UserError.self) { try Corpus(directory: output).verify() }
                try before.write(to: URL(fileURLWithPath: output + "/shard-0.h5"))
            }
            _ = try Corpus(directory: output).pair(0)
        }
    }

    @Test func damagedDirectoriesAreToldInOneLine() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            #expect(throws: UserError.self) { try Corpus(directory: output) }
            _ = try corpus(pairs(100), output: output)
            let manifest = URL(fileURLWithPath: output + "/corpus.json")
            let json = try String(contentsOf: manifest, encoding: .utf8)
            for (wrong, code) in [
                ("{}", ExitCode.badData), (json.replacingOccurrences(of: "\"format_version\" : 1", with: "\"format_version\" : 2"), .badData),
                (json.replacingOccurrences(of: "\"token_type\" : \"uint16\"", with: "\"token_type\" : \"uint12\""), .badData),
                (String(json.prefix(300)), .badData), (json.replacingOccurrences(of: "\"recipe\"", with: "\"receipt\""), .badData),
            ] {
                try Data(wrong.utf8).write(to: manifest)
                let error = #expect(throws: UserError.self) { try Corpus(directory: output) }
                #expect(error?.exitCode == code && error?.description.contains("\n") == false)
            }
            try Data(json.utf8).write(to: manifest)
            let shard = URL(fileURLWithPath: output + "/shard-0.h5")
            let bytes = try Data(contentsOf: shard)
            try bytes.prefix(bytes.count / 2).write(to: shard)
            let truncated = #expect(throws: UserError.self) { try Corpus(directory: output).pair(0) }
            #expect(truncated?.exitCode == .badData && truncated?.description.contains("shard-0.h5") == true)
            try FileManager.default.removeItem(at: shard)
            let missing = #expect(throws: UserError.self) { try Corpus(directory: output).pair(0) }
            #expect(missing?.exitCode == .missingInput)
            try Data("x".utf8).write(to: URL(fileURLWithPath: output + "/tokenizer.model"))
            #expect(throws: UserError.self) { try Corpus(directory: output).tokenizer() }
        }
    }

    @Test func oneRanksErrorIsEveryRanks() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            try FileManager.default.createDirectory(atPath: output + "/.shard-1.h5.partial", withIntermediateDirectories: true)
            let codes = try LoopbackCommunicator.run(size: 2) { communicator -> ExitCode? in
                do {
                    _ = try CorpusSharder(plan(pairs(200), output: output), communicator: communicator).run()
                    return nil
                } catch let error as UserError {
                    return error.isShared ? error.exitCode : nil
                }
            }
            #expect(codes == [.inputOutput, .inputOutput])
            #expect(!FileManager.default.fileExists(atPath: output + "/corpus.json"))
        }
    }

    @Test(.enabled(if: dataFolder != nil, "needs MNEME_DATA"), arguments: [1, 2])
    func realCorporaAreSharded(_ ranks: Int) throws {
        try withScratchDirectory { directory in
            let data = try #require(dataFolder)
            let cases: [(CorpusFormat, [String], Int)] = [
                (.wmt, ["wmt-ende-opennmt/src-val.txt", "wmt-ende-opennmt/tgt-val.txt"], 3000), (.cnnDailyMail, ["cnn_dailymail/stories"], 16),
                (.babi, ["babi/tasks_1-20_v1-2/en/qa1_single-supporting-fact_train.txt"], 1000), (.text, ["lm/botchan.txt"], 1),
            ]
            for (format, inputs, count) in cases {
                let output = directory + "/" + format.rawValue
                _ = try LoopbackCommunicator.run(size: ranks) { communicator in
                    let tokenizer = try SentencePieceTokenizer(modelBytes: testModel.get(), name: "test")
                    var rules = format.profile.cleaning
                    rules.maximumLength = nil
                    rules.maximumRatio = nil
                    let plan = try ShardingPlan(
                        reading: format, inputs: inputs.map { data + "/" + $0 }, options: ReaderOptions(), rules: rules, tokenizer: tokenizer,
                        output: output, shardSize: 100_000)
                    return try CorpusSharder(plan, communicator: communicator).run().manifest.counts.documents
                }
                let corpus = try Corpus(directory: output)
                #expect(corpus.count - corpus.manifest.shards.filter(\.continuesDocument).count == count, "\(format)")
                try corpus.verify()
            }
            let book = try Corpus(directory: directory + "/text")
            let stream = try (0..<book.count).flatMap { try book.document($0) }
            let text = try Data(contentsOf: URL(fileURLWithPath: data + "/lm/botchan.txt"))
            let tokenizer = try book.tokenizer()
            // Readers give CRLF as LF and leave a byte order mark out.
            let expected = String(decoding: text, as: UTF8.self).replacingOccurrences(of: "\r\n", with: "\n").replacingOccurrences(
                of: "\u{feff}", with: "")
            #expect(tokenizer.decode(stream) == expected)
        }
    }

    @Test(.enabled(if: TinyDisk.isPermitted, "may not mount a file system"))
    func aFullDiskLeavesNoCorpus() throws {
        try withTinyDisk(kilobytes: 64) { directory in
            let error = #expect(throws: UserError.self) { try corpus(pairs(20_000), output: directory + "/corpus", shardSize: 100_000) }
            #expect(error?.exitCode == .inputOutput)
            #expect(!FileManager.default.fileExists(atPath: directory + "/corpus/corpus.json"))
        }
    }
}
