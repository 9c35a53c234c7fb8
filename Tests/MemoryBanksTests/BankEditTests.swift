// What a bank does with records, and what it refuses.

import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankEditTests {
    @Test("put, read, update, delete: each is a commit with a receipt, and a new session finds what the last one left")
    func life() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            var bank = try makeBank(path)
            var first = record("kismet", "William Dieterle", key: "Kismet directed by", source: "wiki:Kismet", parents: [])
            (first.validFrom, first.origin) = (1_000, .model)
            let put = try bank.put([first, record("gilda", "Charles Vidor")], edit(step: 7, "first facts"))
            #expect(put.commit == 1 && put.records == 2 && put.created == 2 && put.reason == "first facts" && put.step == 7)
            let read = try #require(bank.localRecord("kismet", namespace: "films"))
            #expect(
                read.version == 1 && read.commit == 1 && read.writtenStep == 7 && read.writtenTime == 1_700_000_000 && read.generation == 0)
            #expect(
                read.validFrom == 1_000 && read.validTo == nil && read.origin == .model && read.source == "wiki:Kismet"
                    && read.useCount == 0)
            #expect(read.key == HashedNGrams(width: 32).key("Kismet directed by"))

            let again = try bank.put([first], edit())
            #expect(again.unchanged == 1 && again.commit == 1 && bank.commit == 1, "the same is no edit")
            var patch = BankPatch()
            patch.value = .text("W. Dieterle")
            #expect(try bank.update(BankFilter(.one("films"), ids: ["kismet"]), patch, edit()).changed == 1)
            #expect(text(bank, "kismet") == "W. Dieterle" && bank.localRecord("kismet", namespace: "films")?.version == 2)
            try bank.recordUse(BankFilter(.one("films"), ids: ["kismet"]), step: 12)
            try bank.commitUses()
            bank.close()

            bank = try openBank(path)
            let back = try #require(bank.localRecord("kismet", namespace: "films"))
            #expect(back.useCount == 1 && back.lastUsedStep == 12 && back.version == 2 && back.source == "wiki:Kismet")
            let gone = try bank.delete(BankFilter(.one("films"), ids: ["gilda"]), edit())
            #expect(gone.deleted == 1 && text(bank, "gilda") == nil)
            #expect(bank.receipts.map(\.action) == [.put, .update, .delete] && bank.receipts.map(\.commit) == [1, 2, 4])
            bank.close()
            #expect(try MemoryBank(path).localRecords(BankFilter(.all)).map(\.id) == ["kismet"])
        }
    }

    @Test("without an id a record is called by what it holds: the same twice is one")
    func ownIds() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            let batch = [record("", "one", source: "a:1"), record("", "two", source: "a:2")]
            #expect(try bank.append(batch, edit()).created == 2)
            #expect(try bank.append(batch + [record("", "three", source: "a:3")], edit()).created == 1)
            #expect(try bank.recordCount() == 3)
        }
    }

    @Test("namespaces are partitions: nothing is seen without one, or in one that does not exist")
    func namespaces() throws {
        #expect(try #require(throws: UserError.self) { _ = try NamespaceScope(namespace: nil, all: false) }.exitCode == .usage)
        #expect(try #require(throws: UserError.self) { _ = try NamespaceScope(namespace: "a", all: true) }.exitCode == .usage)
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put((0..<50).map { record("r\($0)", "text \($0)", in: "user-\($0 % 5)") }, edit())
            #expect(try bank.namespaces().map(\.records) == [10, 10, 10, 10, 10])
            for hit in try bank.search(HashedNGrams(width: 32).key("text"), count: 20, in: BankFilter(.one("user-3"))) {
                #expect(hit.record.namespace == "user-3")
            }
            #expect(try bank.search(HashedNGrams(width: 32).key("text"), count: 20, in: BankFilter(.all)).count == 20)
            #expect(bank.localRecord("r1", namespace: "user-2") == nil)
            for body in [
                { _ = try bank.search(HashedNGrams(width: 32).key("x"), count: 1, in: BankFilter(.one("user-9"))) },
                { _ = try bank.delete(BankFilter(.one("user-9")), confirming: "0", edit()) }, { _ = try bank.statistics(.one("user-9")) },
                { _ = try bank.update(BankFilter(.one("user-9"), ids: ["r1"]), BankPatch(), edit()) }
            ] as [() throws -> Void] {
                let error = try #require(throws: UserError.self) { try body() }
                #expect(error.exitCode == .missingInput && error.what.contains("no namespace 'user-9'"), "\(error)")
            }
            // The same id in two namespaces is two records.
            _ = try bank.put([record("r1", "mine", in: "user-2")], edit())
            #expect(text(bank, "r1", in: "user-1") == "text 1" && text(bank, "r1", in: "user-2") == "mine")
        }
    }

    @Test("a version that has moved on is told, and nothing is lost")
    func versions() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put([record("a", "one")], expecting: 0, edit())
            _ = try bank.put([record("a", "two")], expecting: 1, edit())
            for body in [
                { _ = try bank.put([record("a", "three")], expecting: 1, edit()) },
                { _ = try bank.put([record("a", "three")], expecting: 0, edit()) },
                { _ = try bank.update(BankFilter(.one("films"), ids: ["a"]), BankPatch(), expecting: 1, edit()) },
                { _ = try bank.delete(BankFilter(.one("films"), ids: ["a"]), expecting: 1, edit()) }
            ] as [() throws -> Void] {
                let error = try #require(throws: UserError.self) { try body() }
                #expect(error.exitCode == .badData && error.what.contains("'a' has version 2, not"), "\(error)")
            }
            #expect(text(bank, "a") == "two" && bank.receipts.count == 2)
        }
    }

    @Test("records that cannot be are named, and nothing of their batch is written")
    func malformed() throws {
        try withScratchDirectory { directory in
            let generation = BankGeneration(model: "m", width: 3)
            let bank = try makeBank(
                "\(directory)/bank", BankConfiguration(keyWidth: 3, value: .vector, valueWidth: 2), generation: generation)
            func vectors(_ id: String, _ key: [Float], _ value: [Float]) -> BankRecord {
                var record = BankRecord(id: id, namespace: "n", value: .vector(value))
                record.key = key
                return record
            }
            let good = vectors("good", [1, 2, 3], [4, 5])
            for (bad, code, what) in [
                (vectors("bad", [1, 2], [4, 5]), .configuration, "a key of 2 elements; the bank's have 3"),
                (vectors("bad", [1, .nan, 3], [4, 5]), .badData, "a key that is not finite"),
                (vectors("bad", [1, 2, 3], [4, .infinity]), .badData, "a value that is not finite"),
                (vectors("bad", [1, 2, 3], [4]), .configuration, "a value of 1 element; the bank's have 2"),
                (record("bad", "text", in: "n"), .configuration, "a key of 0 elements"),
                (vectors("b\nd", [1, 2, 3], [4, 5]), .badData, "an impossible id"),
                (good, .badData, "'good' comes twice")
            ] as [(BankRecord, ExitCode, String)] {
                let error = try #require(throws: UserError.self, "\(what)") { _ = try bank.put([good, bad], edit()) }
                #expect(error.exitCode == code && error.what.contains(what), "\(error)")
            }
            #expect(try bank.recordCount() == 0 && bank.commit == 0 && bank.receipts.isEmpty)
            _ = try bank.put([good], generation: generation, edit())
            let foreign = BankGeneration(model: "m", layer: 2, width: 3)
            for body in [
                { _ = try bank.put([good], generation: foreign, edit()) }, { _ = try bank.append([good], generation: foreign, edit()) },
                { _ = try bank.search([1, 2, 3], count: 1, in: BankFilter(.all), generation: foreign) }
            ] as [() throws -> Void] {
                let error = try #require(throws: UserError.self) { try body() }
                #expect(
                    error.exitCode == .configuration
                        && error.what.contains("another generation: m, normalization none, width 3, not m, layer 2"), "\(error)")
            }
            #expect(
                try #require(throws: UserError.self) { _ = try bank.search([1, 2], count: 1, in: BankFilter(.all)) }.exitCode
                    == .configuration)
            #expect(
                try #require(throws: UserError.self) { _ = try bank.search([1, .nan, 2], count: 1, in: BankFilter(.all)) }.exitCode
                    == .badData)
        }
        for rules in [
            BankConfiguration(keyWidth: -1), BankConfiguration(keyWidth: 4, encoder: "none"), BankConfiguration(eviction: .oldest),
            BankConfiguration(capacity: 0),
            BankConfiguration(capacity: 3, eviction: .lowestNorm), BankConfiguration(shards: 3), BankConfiguration(value: .vector),
            BankConfiguration(admission: 0)
        ] { #expect(try #require(throws: UserError.self) { try rules.validate() }.exitCode == .configuration) }
    }

    @Test("a full bank lets the records of its order go, or refuses", arguments: BankConfiguration.Eviction.allCases)
    func capacity(_ order: BankConfiguration.Eviction) throws {
        try withScratchDirectory { directory in
            let bank = try makeBank(
                "\(directory)/bank", BankConfiguration(keyWidth: 1, capacity: 4, eviction: order),
                generation: BankGeneration(model: "m", width: 1))
            func keyed(_ id: String, _ key: Float) -> BankRecord {
                var record = BankRecord(id: id, namespace: "n", value: .text(id))
                record.key = [key]
                return record
            }
            for (step, (id, key)) in [("a", 3), ("b", 1), ("c", 2), ("d", 4)].enumerated() {
                _ = try bank.append([keyed(id, Float(key))], edit(step: step))
            }
            for (id, uses) in [("a", 2), ("b", 2), ("c", 1), ("d", 3)] {
                for use in 0..<uses { try bank.recordUse(BankFilter(.one("n"), ids: [id]), step: id == "b" ? 50 + use : 10 + use) }
            }
            let batch = [keyed("e", 9), keyed("f", 9)]
            if order == .none {
                let error = try #require(throws: UserError.self) { _ = try bank.append(batch, edit(step: 9)) }
                #expect(
                    error.exitCode == .configuration && error.what == "the bank is full: it has room for 4 records, and 2 too many came")
                #expect(bank.localRecords(BankFilter(.all)).map(\.id) == ["a", "b", "c", "d"])
                return
            }
            let receipt = try bank.append(batch, edit(step: 9))
            #expect(receipt.evicted == 2 && receipt.created == 2 && receipt.deleted == 0)
            let left = ["oldest": "cdef", "least-used": "bdef", "lowest-norm": "adef"][order.rawValue]
            #expect(bank.localRecords(BankFilter(.all)).map(\.id).joined() == left)
            // What made room was not deleted by anybody: it may come again.
            #expect(try bank.append([keyed(order == .lowestNorm ? "b" : "a", 5)], edit(step: 10)).created == 1)
            #expect(
                try #require(throws: UserError.self) { _ = try bank.append((0..<5).map { keyed("x\($0)", 1) }, edit()) }.what.contains(
                    "more records came at once"))
            #expect(try bank.recordCount() == 4)
        }
    }

    @Test("admission by count: a record is there from its third append on, over sessions; what was recalled never is")
    func admission() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            var bank = try makeBank(path, BankConfiguration(admission: 3))
            for appended in 1...3 {
                let receipt = try bank.append([record("a", "seen"), record("b\(appended)", "once")], edit())
                #expect(receipt.created == (appended == 3 ? 1 : 0) && receipt.waiting == (appended == 3 ? 1 : 2))
                #expect(
                    text(bank, "a") == (appended == 3 ? "seen" : nil)
                        && bank.localRecords(BankFilter(.all)).count == (appended == 3 ? 1 : 0))
                bank.close()
                bank = try openBank(path)
            }
            #expect(try bank.recordCount() == 1 && bank.statistics(.all).waiting == 3)
            #expect(try bank.put([record("b1", "once")], edit()).created == 1, "what is put is not asked how often it was seen")
            var recalled = record("c", "read before")
            recalled.origin = .recall
            let receipt = try bank.append([recalled, record("a", "seen")], edit())
            #expect(receipt.refusedRecall == 1 && receipt.unchanged == 1 && text(bank, "c") == nil)
            #expect(try #require(throws: UserError.self) { _ = try bank.put([recalled], edit()) }.what.contains("was read from a bank"))
            let other = try #require(throws: UserError.self) { _ = try bank.append([record("a", "something else")], edit()) }
            #expect(other.what.contains("'a' is there with another content"))
        }
    }

    @Test("no more records wait for their admission than the bank has room for: those that were seen first go")
    func waiting() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank", BankConfiguration(capacity: 3, eviction: .oldest, admission: 2))
            for (step, id) in ["a", "b", "c", "d", "e"].enumerated() {
                _ = try bank.append([record(id, "text of \(id)")], edit(step: step))
            }
            #expect(try bank.statistics(.all).waiting == 3)
            #expect(try bank.append([record("f", "waits alone", in: "user-1")], edit(step: 7)).waiting == 1)
            #expect(try bank.delete(BankFilter(.one("user-1"), ids: ["f"]), edit(step: 7)).deleted == 1, "what only waits can be forgotten too")
            #expect(try bank.append([record("b", "text of b")], edit(step: 8)).waiting == 1, "it was forgotten")
            #expect(try bank.append([record("e", "text of e"), record("c", "text of c")], edit(step: 9)).created == 1)
            #expect(bank.localRecords(BankFilter(.all)).map(\.id) == ["e"])
        }
    }

    @Test("two editors: the second one is refused by name; a reader follows the first")
    func editors() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path)
            let reader = try MemoryBank(path)
            let error = try #require(throws: UserError.self) { _ = try openBank(path) }
            #expect(
                error.exitCode == .unavailable && error.description.contains("another session edits this bank: process \(getpid()) on "),
                "\(error)")
            #expect(try !reader.refresh())
            for commit in 1...40 {
                _ = try bank.put([record("a\(commit % 7)", "text \(commit)"), record("b\(commit)", "other")], edit())
                if commit % 10 == 0 { _ = try bank.delete(BankFilter(.one("films"), ids: ["b\(commit)"]), edit()) }
                if commit == 25 { _ = try bank.compact(edit()) }
                #expect(try reader.isOutdated() && reader.refresh() && !reader.isOutdated())
                #expect(
                    reader.localRecords(BankFilter(.all)) == bank.localRecords(BankFilter(.all))
                        && reader.contentDigest == bank.contentDigest)
            }
            bank.close()
            _ = try openBank(path)
        }
    }

    @Test("an editor whose lock another has taken over refuses, and loses nothing")
    func takenOver() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path)
            _ = try bank.put([record("a", "one")], edit())
            try FileManager.default.removeItem(atPath: "\(path)/bank.lock")
            let other = try openBank(path)
            #expect(try #require(throws: UserError.self) { _ = try bank.put([record("a", "two")], edit()) }.exitCode == .unavailable)
            _ = try other.put([record("a", "three")], edit())
            #expect(try text(MemoryBank(path), "a") == "three")
        }
    }
}
