// The files behind the inputs of a command: links, folders, pipes, and that what is hashed is what is read.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Inputs
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
        #expect(error?.exitCode == .missingInput)
        #expect(error?.what == "is a pipe, and every rank reads the inputs twice, for their hashes and for their text")
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

    @Test func whatCannotBeLookedAtIsAnError() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text", to: "data/a.txt")
        // Deeper than a path may be long.
        let script = "cd \"$0/data\"; for i in $(seq 20); do n=$(printf 'x%.0s' $(seq 240)); mkdir $n; cd $n; done; echo T > bottom.txt"
        #expect(try runProgram("/bin/bash", ["-c", script, directory.path]).status == 0)
        let deep = userError { _ = try Reading(.text, [directory.path + "/data"]) }
        #expect(deep?.exitCode == .missingInput && deep?.what == "cannot be looked at: File name too long", "\(deep?.description ?? "")")
        #expect(try runProgram("/bin/rm", ["-rf", directory.path + "/data"]).status == 0)
    }

    @Test func whatIsPassedOverIsCountedByReason() throws {
        let directory = try TemporaryDirectory()
        try directory.write("Text\n\n@highlight\n\nh\n", to: "data/a.story")
        try directory.write("read me", to: "data/README")
        try directory.write("hidden", to: "data/.b.story")
        try link(directory.path + "/data/c.story", to: "a.story")
        try link(directory.path + "/data/notes", to: "nowhere")
        try #require(mkfifo(directory.path + "/data/d.story", 0o600) == 0)
        let input = try #require(try CorpusFormat.cnnDailyMail.files(of: [directory.path + "/data"]).first)
        #expect(input.files == [directory.path + "/data/a.story"])
        let expected: [PassedOver.Reason] = [.hidden, .otherName, .repeatedLink, .pipe, .danglingLink]
        #expect(input.passedOver.map(\.reason) == expected && input.passedOver.allSatisfy { $0.count == 1 })
        unlink(directory.path + "/data/notes")
        let outcome = try shard([directory.path + "/data"], to: directory.path + "/corpus")
        #expect(outcome.passedOver.map(\.reason) == [.hidden, .repeatedLink, .pipe])
    }

    @Test func archivesAreHashedAsTheyAreRead() throws {
        let directory = try TemporaryDirectory()
        try directory.write("one text\n", to: "a.txt")
        try directory.write("two text\n", to: "b.txt")
        func pack(_ names: String) throws {
            let result = try runProgram("/bin/sh", ["-c", "cd \"$0\"; tar czf both.tgz \(names)", directory.path])
            try #require(result.status == 0)
        }
        try pack("a.txt b.txt")
        let archive = directory.path + "/both.tgz"
        let first = try shard([archive], to: directory.path + "/1")
        #expect(first.manifest.counts.documents == 2 && first.manifest.inputs.map(\.path) == [archive])
        #expect(try shard([archive], to: directory.path + "/1").wasComplete)
        #expect(try shard([archive + ":b.txt"], to: directory.path + "/2").manifest.counts.documents == 1)
        try pack("b.txt")
        #expect(userError { _ = try shard([archive], to: directory.path + "/1") }?.exitCode == .configuration)
    }

    @Test func anInputWithoutRecordsIsCalledWhatItSeemsToBe() throws {
        let directory = try TemporaryDirectory()
        let page = try directory.write("<!DOCTYPE html>\n<html><body>Not found</body></html>\n", to: "a.tmx")
        let plan = try ShardingPlan(
            reading: .wmt, inputs: [page], options: ReaderOptions(), rules: CorpusFormat.wmt.profile.cleaning,
            tokenizer: SentencePieceTokenizer(modelBytes: testModel.get(), name: "test"), output: directory.path + "/corpus")
        let error = userError { _ = try CorpusSharder(plan, communicator: SingleProcess()).run() }
        #expect(error?.exitCode == .badData && error?.what == "there is no record of --format wmt; it seems to be a web page", "\(error?.description ?? "")")
    }
}
