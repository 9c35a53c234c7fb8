// The files behind the inputs of a command: links, folders, pipes, and that what is hashed is what is read.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Sharding
import TestSupport
import Testing

@Suite struct InputFileTests {
    /// Shards what `inputs` name as plain text.
    private func shard(
        _ inputs: [String], to output: String, _ communicator: any Communicator = SingleProcess(), whileReading: @escaping () throws -> Void = {}
    ) throws -> ShardingOutcome {
        var plan = try ShardingPlan(
            reading: .text, inputs: inputs, options: ReaderOptions(), rules: CorpusFormat.text.profile.cleaning,
            tokenizer: SentencePieceTokenizer(modelBytes: testModel.get(), name: "test"), output: output)
        let makeReader = plan.makeReader
        plan.makeReader = { inputs in
            defer { try? whileReading() }
            return try makeReader(inputs)
        }
        return try CorpusSharder(plan, communicator: communicator).run()
    }

    private func link(_ path: String, to target: String) throws {
        try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: target)
    }

    @Test func linkedFilesAreHashedAsTheyAreRead() throws {
        let directory = try TemporaryDirectory()
        let blob = try directory.write("one text\n", to: "blobs/1")
        try directory.write("more text\n", to: "blobs/2")
        try FileManager.default.createDirectory(atPath: directory.path + "/view", withIntermediateDirectories: true)
        try link(directory.path + "/view/a.txt", to: "../blobs/1")
        try link(directory.path + "/view/b.txt", to: "../blobs/2")
        let output = directory.path + "/corpus"
        let first = try shard([directory.path + "/view"], to: output)
        #expect(first.manifest.counts.documents == 2 && first.manifest.inputs[0].bytes == 19 && first.manifest.inputs[0].xxh64.count == 16)
        #expect(try shard([directory.path + "/view"], to: output).wasComplete)
        try Data("two text\n".utf8).write(to: URL(fileURLWithPath: blob))
        let error = #expect(throws: UserError.self) { try shard([directory.path + "/view"], to: output) }
        #expect(error?.exitCode == .configuration)
    }

    @Test func aFolderThatLinksToItselfIsReadOnce() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text", to: "data/a.txt")
        try directory.write("other", to: "data/sub/b.txt")
        try link(directory.path + "/data/latest", to: ".")
        try link(directory.path + "/data/sub/up", to: "../..")
        try link(directory.path + "/data/same.txt", to: "a.txt")
        // From inside, "up" leads to the folder that holds everything: its other files are found there.
        try directory.write("outside", to: "c.txt")
        #expect(try Reading(.text, [directory.path + "/data"]).sources == ["text", "other", "outside"])
        // What is named twice is read twice.
        #expect(try Reading(.text, [directory.path + "/c.txt", directory.path + "/c.txt"]).sources == ["outside", "outside"])
    }

    @Test func slashesAndHiddenFilesMakeNoDifference() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text", to: "data/a.txt")
        let plain = try shard([directory.path + "/data"], to: directory.path + "/1").manifest
        try directory.write("hidden", to: "data/.b.txt")
        try #require(mkfifo(directory.path + "/data/pipe", 0o600) == 0)
        for (number, slashes) in [(2, ""), (3, "/"), (4, "//")] {
            let other = try shard([directory.path + "/data" + slashes], to: directory.path + "/\(number)").manifest
            #expect(other == plain)
        }
    }

    @Test func pipesAreRefusedAtOnce() throws {
        let directory = try TemporaryDirectory()
        try #require(mkfifo(directory.path + "/pipe", 0o600) == 0)
        let error = #expect(throws: UserError.self) { try shard([directory.path + "/pipe"], to: directory.path + "/corpus") }
        #expect(error?.exitCode == .badData && error?.description.contains("every rank reads it twice; write what comes through it into a file") == true)
    }

    @Test func aLinkToNothingIsNotPassedOver() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text", to: "data/a.txt")
        try link(directory.path + "/data/b.txt", to: "../annex/b")
        try link(directory.path + "/data/c.txt", to: "c.txt")
        let error = userError { _ = try Reading(.text, [directory.path + "/data"]) }
        #expect(error?.exitCode == .missingInput && error?.place == directory.path + "/data/b.txt")
        unlink(directory.path + "/data/b.txt")
        let loop = userError { _ = try Reading(.text, [directory.path + "/data"]) }
        #expect(loop?.place == directory.path + "/data/c.txt" && loop?.what.contains("symbolic links") == true, "\(loop?.description ?? "")")
    }

    @Test(arguments: [1, 2])
    func aFileThatChangesMeanwhileEndsTheRun(_ ranks: Int) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("text one\n", to: "data/a.txt")
        try directory.write("text two\n", to: "data/b.txt")
        let output = directory.path + "/corpus"
        let codes = try LoopbackCommunicator.run(size: ranks) { communicator -> ExitCode? in
            do {
                _ = try shard([directory.path + "/data"], to: output, communicator) {
                    if communicator.rank == 0 { try Data("text 1, longer\n".utf8).write(to: URL(fileURLWithPath: path)) }
                }
                return nil
            } catch let error as UserError {
                return error.isShared == (ranks > 1) && error.place?.hasSuffix(path) == true ? error.exitCode : nil
            }
        }
        #expect(codes == Array(repeating: .badData, count: ranks))
        #expect(try FileManager.default.contentsOfDirectory(atPath: output) == ["tokenizer.model"])
        #expect(try shard([directory.path + "/data"], to: output).manifest.counts.documents == 2)
    }
}
