// Nothing that corpus.json or a shard says is believed: every wrong value ends in one line with a code, whoever put it there.

import Collectives
import Corpora
import Diagnostics
import Foundation
import HDF5
import Sharding
import TestSupport
import Testing

@Suite struct ManifestDamageTests {
    /// One wrong manifest: what is changed, whether the forger mended the fingerprint, and what the message says.
    struct Edit: Sendable {
        let name: String
        let kind: CorpusKind
        let says: String
        let mendsFingerprint: Bool
        let change: @Sendable (inout CorpusManifest) -> Void

        init(
            _ name: String, _ kind: CorpusKind = .text, says: String, mendsFingerprint: Bool = false,
            _ change: @escaping @Sendable (inout CorpusManifest) -> Void
        ) {
            (self.name, self.kind, self.says, self.mendsFingerprint, self.change) = (name, kind, says, mendsFingerprint, change)
        }
    }

    static let edits: [Edit] = [
        Edit("more tokens", says: "counts are not the sums") { $0.counts.tokens += 1000 },
        Edit("more tokens, in a shard too", says: "fingerprint") { $0.counts.tokens += 1000; $0.shards[0].counts.tokens += 1000 },
        Edit("more tokens, forged", says: "something else of itself", mendsFingerprint: true) {
            $0.counts.tokens += 1000; $0.shards[0].counts.tokens += 1000
        },
        Edit("tokens beyond all sums", says: "counts are not the sums") { $0.counts.tokens = 1 << 62 },
        Edit("tokens of a shard beyond all sums", says: "shards[0].counts.tokens is 4611686018427387904", mendsFingerprint: true) {
            $0.counts.tokens = 1 << 62; $0.shards[0].counts.tokens = 1 << 62
        },
        Edit("no tokens", says: "counts are not the sums") { $0.counts.tokens = 0 },
        Edit("negative tokens", says: "counts are not the sums") { $0.counts.tokens = -5 },
        Edit("negative tokens of a shard", says: "counts.tokens is -5", mendsFingerprint: true) { $0.shards[0].counts.tokens = -5 },
        Edit("no shards", says: "counts are not the sums", mendsFingerprint: true) { $0.shards = [] },
        Edit("nothing at all", says: "it holds no document", mendsFingerprint: true) {
            $0.shards = []; $0.counts = CorpusCounts(); $0.cleaning = CleaningCounts()
        },
        Edit("a shard fewer", says: "counts are not the sums", mendsFingerprint: true) { $0.shards.removeLast() },
        Edit("a shard twice", says: "shards[1].file is shard-0.h5, not shard-1.h5", mendsFingerprint: true) { $0.shards[1] = $0.shards[0] },
        Edit("shards exchanged", says: "shards[0].file is shard-1.h5", mendsFingerprint: true) { $0.shards.swapAt(0, 1) },
        Edit("more pairs", .pairs, says: "counts are not the sums") { $0.counts.documents += 500 },
        Edit("no pairs", .pairs, says: "counts are not the sums") { $0.counts.documents = 0 },
        Edit("no pairs, in shards too", .pairs, says: "it holds no document", mendsFingerprint: true) { manifest in
            manifest.counts.documents = 0
            for index in manifest.shards.indices { manifest.shards[index].counts.documents = 0 }
        },
        Edit("more pairs, forged", .pairs, says: "something else of itself", mendsFingerprint: true) {
            $0.counts.documents += 500; $0.shards[0].counts.documents += 500
        },
        Edit("sides that do not add up", .pairs, says: "tokens is", mendsFingerprint: true) {
            $0.counts.sourceTokens += 1; $0.shards[0].counts.sourceTokens += 1
        },
        Edit("more words", says: "counts are not the sums") { $0.counts.words += 1 },
        Edit("more words, in a shard too", says: "something else of itself") { $0.counts.words += 1; $0.shards[0].counts.words += 1 },
        Edit("a longer document", says: "counts are not the sums") { $0.counts.longestSource = .max },
        Edit("another directory's shard", says: "shards[0].file is ../other/shard-0.h5") { $0.shards[0].file = "../other/shard-0.h5" },
        Edit("an absolute name", says: "shards[0].file is /etc/passwd") { $0.shards[0].file = "/etc/passwd" },
        Edit("a tokenizer elsewhere", says: "tokenizer.file leads out") { $0.tokenizer.file = "../tokenizer.model" },
        Edit("a tokenizer that is the directory", says: "tokenizer.file leads out") { $0.tokenizer.file = ".." },
        Edit("an absent tokenizer", says: "none.model: cannot be opened") { $0.tokenizer.file = "none.model" },
        Edit("another tokenizer's digest", says: "its recipe is not that of", mendsFingerprint: true) {
            $0.tokenizer.sha256 = String(repeating: "0", count: 64)
        },
        Edit("a fingerprint of zeros", says: "fingerprint") { $0.fingerprint = String(repeating: "0", count: 64) },
        Edit("a recipe of zeros", says: "recipe") { $0.recipe = String(repeating: "0", count: 64) },
        Edit("no vocabulary", says: "tokenizer.vocabulary_size is 0") { $0.tokenizer.vocabularySize = 0 },
        Edit("a small vocabulary", says: "describes its tokenizer as another one") { $0.tokenizer.vocabularySize = 10 },
        Edit("a piece more", says: "describes its tokenizer as another one") { $0.tokenizer.vocabularySize += 1 },
        Edit("a huge vocabulary", says: "tokenizer.vocabulary_size is 1099511627776") { $0.tokenizer.vocabularySize = 1 << 40 },
        Edit("a large vocabulary", says: "token_type is uint16") { $0.tokenizer.vocabularySize = 70000 },
        Edit("an end piece beyond it", says: "tokenizer.end_id is 5000") { $0.tokenizer.endId = 5000 },
        Edit("a negative beginning piece", says: "tokenizer.beginning_id is -1") { $0.tokenizer.beginningId = -1 },
        Edit("another end piece", says: "describes its tokenizer as another one") { $0.tokenizer.endId = $0.tokenizer.beginningId },
        Edit("another kind", says: "are not those of the datasets of pairs", mendsFingerprint: true) { $0.kind = .pairs },
        Edit("another type of tokens", says: "token_type is int32") { $0.tokenType = "int32" },
        Edit("an unknown type of tokens", says: "token_type is uint12") { $0.tokenType = "uint12" },
        Edit("no checksums", says: "shards[0].checksums", mendsFingerprint: true) { $0.shards[0].checksums = [:] },
        Edit("another checksum", says: "something else of itself", mendsFingerprint: true) { $0.shards[0].checksums["tokens"] = "00000000" },
        Edit("another format of the inputs", says: "recipe") { $0.sourceFormat = .babi },
        Edit("another option", says: "recipe") { $0.options["shard-size"] = "1" },
        Edit("more wrong records than were counted", says: "bad_record_count") { $0.badRecordCount = -1 },
        Edit("more records kept", says: "cleaning is not the sum") { $0.cleaning.count(nil) },
        Edit("a longer shard", says: "bytes where corpus.json says") { $0.shards[0].bytes? += 1 },
        Edit("a shard of no bytes", says: "shards[0].bytes is 0") { $0.shards[0].bytes = 0 },
    ]

    /// What opening and checking a corpus ends with.
    private func failure(_ directory: String) throws -> UserError {
        let error = #expect(throws: UserError.self) { try Corpus(directory: directory).verify() }
        return try #require(error)
    }

    private func manifest(_ directory: String) throws -> CorpusManifest {
        try CorpusManifest.decoder().decode(CorpusManifest.self, from: Data(contentsOf: URL(fileURLWithPath: directory + "/corpus.json")))
    }

    private func write(_ manifest: CorpusManifest, _ directory: String) throws {
        try Data(manifest.encoded()).write(to: URL(fileURLWithPath: directory + "/corpus.json"))
    }

    private static let codes: [ExitCode] = [.badData, .missingInput, .configuration]

    @Test func everyEditIsOneLine() throws {
        try withScratchDirectory { directory in
            _ = try corpus(documents(60), output: directory + "/text")
            _ = try corpus(pairs(100), output: directory + "/pairs")
            for edit in Self.edits {
                let output = directory + "/" + edit.kind.rawValue
                let good = try manifest(output)
                var wrong = good
                edit.change(&wrong)
                #expect(wrong != good, "\(edit.name) changes nothing")
                if edit.mendsFingerprint { wrong.fingerprint = wrong.computedFingerprint }
                try write(wrong, output)
                let error = try failure(output)
                #expect(
                    error.description.contains(edit.says) && !error.description.contains("\n") && Self.codes.contains(error.exitCode),
                    "\(edit.name): \(error.exitCode) \(error)")
                try write(good, output)
            }
            try Corpus(directory: directory + "/text").verify()
            try Corpus(directory: directory + "/pairs").verify()
        }
    }

    @Test func aManifestWithoutSizesIsRead() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(pairs(100), output: output)
            var older = try manifest(output)
            #expect(older.shards.allSatisfy { ($0.bytes ?? 0) > 1000 })
            for index in older.shards.indices { older.shards[index].bytes = nil }
            try write(older, output)
            try Corpus(directory: output).verify()
            let outcome = try CorpusSharder(plan(pairs(100), output: output), communicator: SingleProcess()).run()
            #expect(outcome.wasComplete)
        }
    }

    @Test func aCopyThatWasCutOffIsFoundAtOpening() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            let count = try corpus(pairs(300), output: output).manifest.shards.count
            let last = output + "/shard-\(count - 1).h5"
            let bytes = try Data(contentsOf: URL(fileURLWithPath: last))
            try bytes.dropLast().write(to: URL(fileURLWithPath: last))
            let cut = #expect(throws: UserError.self) { try Corpus(directory: output) }
            #expect(cut?.exitCode == .badData && cut?.description.contains("shard-\(count - 1).h5: has \(bytes.count - 1) bytes") == true)
            try FileManager.default.removeItem(atPath: last)
            let absent = #expect(throws: UserError.self) { try Corpus(directory: output) }
            #expect(absent?.exitCode == .missingInput && absent?.description.contains("shard-\(count - 1).h5") == true)
        }
    }

    @Test(arguments: ["shard-0.h5", "corpus.json", "tokenizer.model"])
    func pipesAndFoldersAreRefusedAtOnce(_ name: String) throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(documents(20), output: output)
            try FileManager.default.removeItem(atPath: output + "/" + name)
            try #require(mkfifo(output + "/" + name, 0o600) == 0)
            let pipe = try failure(output)
            #expect(pipe.exitCode == .badData && pipe.description.hasSuffix("\(name): is a pipe, not a file"), "\(pipe)")
            unlink(output + "/" + name)
            try FileManager.default.createDirectory(atPath: output + "/" + name, withIntermediateDirectories: false)
            #expect(try failure(output).description.hasSuffix("\(name): is a directory, not a file"))
        }
    }

    /// A shard that agrees with its checksums, its summary and corpus.json, and is wrong.
    private func forge(_ output: String, _ dataset: String, _ change: (inout [UInt8]) -> Void) throws {
        let path = output + "/shard-0.h5"
        var forged = try manifest(output)
        let old = try HDF5File.openReadOnly(path)
        let new = try HDF5File.create(path + ".new")
        for name in forged.shards[0].checksums.keys.sorted() {
            let source = try old.dataset(name)
            var bytes = [UInt8](repeating: 0, count: source.byteCount)
            try bytes.withUnsafeMutableBytes { try source.read(into: $0) }
            if name == dataset { change(&bytes) }
            let copy = try new.createDataset(name, source.elementType, shape: [bytes.count / source.elementType.byteCount])
            try bytes.withUnsafeBytes { try copy.write($0) }
            forged.shards[0].checksums[name] = crc32(bytes)
        }
        forged.shards[0].bytes = nil
        let summary = try JSONSerialization.jsonObject(with: Data(forged.encoded())) as? [String: Any]
        let entry = try JSONSerialization.data(withJSONObject: (summary?["shards"] as? [Any])?[0] ?? [:])
        try new.setAttribute("summary", .string(String(decoding: entry, as: UTF8.self)))
        try new.setAttribute("recipe", .string(forged.recipe))
        try new.close()
        try old.close()
        try #require(rename(path + ".new", path) == 0)
        forged.fingerprint = forged.computedFingerprint
        try write(forged, output)
    }

    private func crc32(_ bytes: [UInt8]) -> String {
        var value = UInt32.max
        for byte in bytes {
            value ^= UInt32(byte)
            for _ in 0..<8 {
                let isOdd = value & 1 == 1
                value >>= 1
                if isOdd { value ^= 0xedb8_8320 }
            }
        }
        value = ~value
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 8 - digits.count) + digits
    }

    @Test(arguments: [
        ("tokens", 0, [UInt8(0x4b), 1], "beyond the vocabulary of 330"), ("document_offsets", 8, [255, 255, 0], "does not fit its tokens"),
        ("document_offsets", 7, [128], "does not fit its tokens"), ("document_words", 7, [128], "words"), ("document_words", 0, [99], "words"),
    ])
    func forgedShardsOfText(_ dataset: String, _ offset: Int, _ bytes: [UInt8], _ says: String) throws {
        try forged(.text, dataset, says) { $0.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
    }

    @Test(arguments: [
        ("target_tokens", 0, [UInt8(0xff), 0xff], "beyond the vocabulary of 330"), ("source_offsets", 9, [255], "does not fit its tokens"),
        ("labels", 0, [3], "holds a label beyond the 3"), ("labels", 0, [0xfe, 255, 255, 255], "holds a label"), ("words", 4, [1], "words"),
    ])
    func forgedShardsOfPairs(_ dataset: String, _ offset: Int, _ bytes: [UInt8], _ says: String) throws {
        try forged(.pairs, dataset, says) { $0.replaceSubrange(offset..<offset + bytes.count, with: bytes) }
    }

    @Test(arguments: ["tokens", "document_offsets", "document_words"])
    func datasetsOfAnotherLength(_ dataset: String) throws {
        try forged(.text, dataset, "elements where its counts say") { $0 += [UInt8](repeating: 0, count: 8) }
        try forged(.text, dataset, "elements where its counts say") { $0.removeLast(8) }
    }

    private func forged(_ kind: CorpusKind, _ dataset: String, _ says: String, _ change: (inout [UInt8]) -> Void) throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(kind == .text ? documents(30) : pairs(60), output: output)
            try forge(output, dataset) { _ in }
            try Corpus(directory: output).verify()
            try forge(output, dataset, change)
            let error = try failure(output)
            #expect(error.exitCode == .badData && error.description.contains(says) && error.description.contains("shard-0.h5"), "\(error)")
        }
    }
}
