// Banks as people use them: a session of commands, and what they get wrong.

import Diagnostics
import Foundation
import MemoryBanks
import TestSupport
import Testing

@Suite struct BankCommandTests {
    @discardableResult
    private func memory(_ arguments: [String], expecting status: Int32 = 0) throws -> FinishedRun {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["memory"] + arguments)
        #expect(run.status == status, "mneme memory \(arguments.joined(separator: " ")): \(run.status) \(run.standardError)")
        return run
    }

    private func object(_ text: String) throws -> [String: Any] {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])
    }
    private func array(_ text: String) throws -> [[String: Any]] {
        try #require(JSONSerialization.jsonObject(with: Data(text.utf8)) as? [[String: Any]])
    }

    @Test("an index: made, visited, compared with all records, inspected, dropped")
    func index() throws {
        try withScratchDirectory { directory in
            let bank = "\(directory)/bank"
            try memory(["create", bank, "--encoder", "hashed-ngrams", "--key-width", "64"])
            let lines = (0..<60).map { #"{"namespace":"n","id":"r\#($0)","key_text":"text number \#($0)","text":"\#($0)"}"# }.joined(separator: "\n")
            try Data(lines.utf8).write(to: URL(fileURLWithPath: "\(directory)/lines.jsonl"))
            #expect(try memory(["index", bank], expecting: 66).standardError.contains("has no records to make an index of"))
            try memory(["import", bank, "\(directory)/lines.jsonl"])
            let query = ["search", bank, "--all", "--text", "text number 7", "--count", "5"]
            #expect(try memory(query + ["--probe", "2"], expecting: 78).standardError.contains("make one with mneme memory index"))
            #expect(try memory(["index", bank, "--lists", "6"]).standardOutput.hasSuffix("index: 6 lists of 60 records\n"))
            let exact = try memory(query).standardOutput
            #expect(exact.contains("n/r7 version 1") && exact.split(separator: "\n").count == 5)
            #expect(try memory(query + ["--exact"]).standardOutput == exact)
            #expect(try memory(query + ["--probe", "6", "--recall"]).standardOutput == exact + "recall 1.0\n")
            let found = try object(memory(query + ["--probe", "1", "--recall", "--json"]).standardOutput)
            #expect((0...1).contains(try #require(found["recall"] as? Double)) && (found["hits"] as? [Any])?.isEmpty == false)
            try memory(["put", bank, "new", "--namespace", "n", "--key-text", "another", "--text", "x"])
            #expect(try memory(["inspect", bank, "--all"]).standardOutput.contains("index: 6 lists, made of 60 records in commit 2; 1 record written since\n"))
            #expect(try memory(query + ["--probe", "1", "--exact"], expecting: 64).standardError.contains("--probe or --exact"))
            #expect(try memory(query + ["--probe", "0"], expecting: 64).standardError.contains("--probe must be at least 1"))
            #expect(try object(memory(["index", bank, "--drop", "--json"]).standardOutput)["lists"] as? Int == 0)
            try memory(["index", bank, "--drop"], expecting: 78)
        }
    }

    @Test("a session: put, search, update, delete, audit, revert, export, import, compact")
    func session() throws {
        try withScratchDirectory { directory in
            let bank = "\(directory)/bank"
            let films = ["--namespace", "films"]
            try memory(["create", bank, "--encoder", "hashed-ngrams", "--key-width", "256"])
            let put = try object(
                memory(
                    [
                        "put", bank, "kismet", "--key-text", "Kismet directed by", "--text", "William Dieterle", "--taken-from", "wiki",
                        "--valid-from", "1944-08-22", "--json"
                    ]
                        + films
                ).standardOutput)
            #expect(put["commit"] as? Int == 1 && put["created"] as? Int == 1 && (put["digest"] as? String)?.count == 16)
            try memory(["put", bank, "gilda", "--key-text", "Gilda directed by", "--text", "Charles Vidor", "--parent", "kismet"] + films)
            let hits = try array(memory(["search", bank, "--text", "who directed kismet", "--count", "2", "--json"] + films).standardOutput)
            #expect(hits.count == 2 && (hits[0]["record"] as? [String: Any])?["text"] as? String == "William Dieterle")
            #expect(
                try memory(["search", bank, "--text", "gilda", "--count", "1", "--all"]).standardOutput.hasSuffix(
                    "films/gilda version 1: Gilda directed by -> Charles Vidor\n"))
            try memory(["update", bank, "kismet", "--text", "W. Dieterle", "--expect-version", "1", "--reason", "short"] + films)
            let read = try array(memory(["get", bank, "kismet", "--count-use", "--step", "9", "--json"] + films).standardOutput)
            #expect(
                read[0]["valid_from"] as? Int == -800_323_200 && read[0]["version"] as? Int == 2 && read[0]["source"] as? String == "wiki")
            #expect(try array(memory(["get", bank, "kismet", "--json"] + films).standardOutput)[0]["use_count"] as? Int == 1)

            let preview = try object(memory(["delete", bank, "--source", "wiki", "--dry-run", "--json"] + films).standardOutput)
            #expect(preview["records"] as? Int == 2 && (preview["children"] as? [[String: String]])?.first?["id"] == "gilda")
            let digest = try #require(preview["digest"] as? String)
            #expect(try memory(["delete", bank, "--source", "wiki"] + films, expecting: 65).standardError.contains("--children cascade"))
            #expect(
                try memory(["delete", bank, "--source", "wiki", "--children", "cascade"] + films, expecting: 64).standardError.contains(
                    "confirm with --confirm \(digest)"))
            try memory(["delete", bank, "--source", "wiki", "--children", "cascade", "--confirm", digest, "--reason", "asked"] + films)
            let audit = try array(memory(["audit", bank, "--json"]).standardOutput)
            #expect(
                audit.map { $0["action"] as? String } == ["put", "put", "update", "delete"] && audit[3]["reason"] as? String == "asked"
                    && audit[3]["deleted"] as? Int == 2)
            #expect(try memory(["list", bank, "--all"]).standardError.contains("no such record"))
            try memory(["revert", bank, "\(try #require(audit[3]["commit"] as? Int))"])
            let lines = try memory(["export", bank, "--all"]).standardOutput
            #expect(lines.split(separator: "\n").count == 2)
            try lines.write(toFile: "\(directory)/all.jsonl", atomically: true, encoding: .utf8)
            let other = "\(directory)/other"
            try memory(["create", other, "--encoder", "hashed-ngrams", "--key-width", "256", "--shards", "2"])
            try memory(["import", other, "\(directory)/all.jsonl"])
            let exported = try memory(["export", other, "--all"]).standardOutput
            #expect(exported.split(separator: "\n").count == 2 && exported.contains(#""text":"W. Dieterle""#))
            try memory(["rekey", bank])
            try memory(["delete", bank, "kismet", "--children", "cascade"] + films)
            try memory(["compact", bank])
            #expect(try filesHolding("Dieterle", in: bank) == [])
            #expect(
                try memory(["import", bank, "\(directory)/all.jsonl"], expecting: 65).standardError.contains(
                    "all.jsonl:1: the record 'gilda' was deleted in commit"))
            #expect(try memory(["revert", bank, "1"], expecting: 65).standardError.contains("was purged by the compaction"))
            let statistics = try object(memory(["inspect", bank, "--all", "--json"]).standardOutput)
            #expect(statistics["records"] as? Int == 0 && statistics["deleted"] as? Int == 2)
            try memory(["export", other, "--namespace", "films", "--hdf5", "\(directory)/films.h5"])
            #expect(FileManager.default.fileExists(atPath: "\(directory)/films.h5"))
        }
    }

    @Test("what users get wrong: one line, an exit code, and nothing changed")
    func mistakes() throws {
        try withScratchDirectory { directory in
            let bank = "\(directory)/bank"
            try memory(["create", bank, "--key-width", "3", "--model", "m", "--layer", "2"])
            try "[1, 2, 3]".write(toFile: "\(directory)/key.json", atomically: true, encoding: .utf8)
            try "[1, 2]".write(toFile: "\(directory)/short.json", atomically: true, encoding: .utf8)
            try "nonsense".write(toFile: "\(directory)/no.json", atomically: true, encoding: .utf8)
            let put = ["put", bank, "a", "--namespace", "n", "--text", "x", "--key-file", "\(directory)/key.json"]
            try memory(put)
            for (arguments, status, what) in [
                (["create", bank], 78, "is not empty"),
                (["create", "\(directory)/new", "--key-width", "4"], 78, "nothing says what made them"),
                (["create", "\(directory)/new", "--eviction", "newest"], 64, "'newest' is none of none, oldest, least-used, lowest-norm"),
                (["list", bank], 64, "no namespace is given"),
                (["list", bank, "--namespace", "n", "--all"], 64, "a namespace and all of them"),
                (["list", bank, "--namespace", "m"], 66, "has no namespace 'm'"),
                (["get", bank, "a", "--namespace", "m"], 66, "has no namespace 'm'"),
                (["get", bank, "b", "--namespace", "n"], 66, "has no record 'b' in namespace n"),
                (["get", bank, "a"], 64, "no namespace is given"),
                (["put", bank, "a", "--text", "x"], 64, "no namespace is given"),
                (["put", bank, "a", "--namespace", "n"], 64, "the record has no value"),
                (["put", bank, "b", "--namespace", "n", "--text", "x"], 78, "a key of 0 elements"),
                (
                    ["put", bank, "b", "--namespace", "n", "--tokens", "1,x", "--key-file", "\(directory)/key.json"], 64,
                    "'x' is no token id"
                ),
                (
                    ["put", bank, "b", "--namespace", "n", "--tokens", "1", "--key-file", "\(directory)/key.json"], 78,
                    "of another kind than the bank's, text"
                ),
                (put + ["--expect-version", "4"], 65, "has version 1, not 4"),
                (put + ["--origin", "recall"], 64, "what was recalled is not stored again"),
                (put + ["--model", "other"], 78, "another generation"), (put + ["--replace"], 64, "--replace: means nothing to a bank"),
                (["search", bank, "--all", "--vector", "\(directory)/short.json"], 78, "the query has 2 elements, and the bank's keys 3"),
                (["search", bank, "--all", "--vector", "\(directory)/no.json"], 65, "is no vector"),
                (["search", bank, "--all", "--text", "x"], 78, "has no encoder of texts"),
                (["search", bank, "--vector", "\(directory)/key.json"], 64, "no namespace is given"),
                (["search", bank, "--all", "--vector", "\(directory)/key.json", "--model", "m", "--layer", "3"], 78, "another generation"),
                (["delete", bank, "--namespace", "n"], 64, "the filter means 1 record"),
                (["delete", bank, "--namespace", "n", "--confirm", "0123"], 65, "was of other records"),
                (["revert", bank, "9"], 64, "no commit 9"), (["rekey", bank], 78, "has no encoder"),
                (["audit", "\(directory)/none"], 66, "no such directory"),
                (["compact", directory], 66, "is no bank"),
                (["import", bank, "\(directory)/no.json"], 65, "no.json:1: is no record: it is not JSON"),
                (["update", bank, "a", "--namespace", "n"], 64, "nothing is to be changed"),
                (["put", bank, "a", "b", "--namespace", "n", "--text", "x"], 64, "one id, not 2"),
                (put.map { $0 == "x" ? "y" : $0 } + ["--valid-from", "yesterday"], 64, "'yesterday' is no time")
            ] as [([String], Int32, String)] {
                let error = try memory(arguments, expecting: status).standardError
                #expect(error.contains(what) && error.split(separator: "\n").count == 1, "\(arguments): \(error)")
            }
            #expect(try memory(["audit", bank]).standardOutput.split(separator: "\n").count == 1)
            #expect(
                try !FileManager.default.fileExists(atPath: "\(directory)/new")
                    || FileManager.default.contentsOfDirectory(atPath: "\(directory)/new").isEmpty)
            let held = try openBank(bank)
            #expect(try memory(put, expecting: 69).standardError.contains("another session edits this bank: process"))
            try memory(["get", bank, "a", "--namespace", "n"])
            held.close()
        }
    }
}
