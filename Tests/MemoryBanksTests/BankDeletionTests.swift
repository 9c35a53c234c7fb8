// Deletion is real and stays real, and what was not purged comes back by a revert.

import Checkpoints
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankDeletionTests {
    private func only(_ ids: String...) -> BankFilter { BankFilter(.one("films"), ids: ids) }

    @Test("after a compaction no file holds a byte of what was deleted or replaced; before it, a revert brings it back")
    func purge() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path, BankConfiguration(keyWidth: 16, encoder: "hashed-ngrams", blockRows: 32))
            _ = try bank.put((0..<200).map { record("id-\($0)", "value number \($0) of the bank", source: "source-\($0)") }, edit())
            let secrets = ["Wachovia-4711", "the-name-of-a-person", "a-key-text-nobody-else-has", "from-a-private-letter"]
            _ = try bank.put([record(secrets[1], secrets[0], key: secrets[2], source: secrets[3])], edit())
            _ = try bank.put([record("changing", "an old-fashioned value")], edit())
            _ = try bank.put([record("changing", "a new value")], edit())
            for secret in secrets { #expect(try !filesHolding(secret, in: path).isEmpty) }

            let deleted = try bank.delete(only(secrets[1]), edit("asked to be forgotten"))
            #expect(try !filesHolding(secrets[0], in: path).isEmpty, "a deletion can be reverted until it is purged")
            _ = try bank.revert(deleted.commit, edit())
            let back = try #require(bank.localRecord(secrets[1], namespace: "films"))
            #expect(back.value == .text(secrets[0]) && back.source == secrets[3] && back.version == 2)
            let again = try bank.delete(only(secrets[1]), edit())
            let compacted = try bank.compact(edit())
            for text in secrets + ["an old-fashioned value"] { #expect(try filesHolding(text, in: path) == [], "\(text)") }
            #expect(try !filesHolding("value number 7 of", in: path).isEmpty && text(bank, "changing") == "a new value")
            let error = try #require(throws: UserError.self) { _ = try bank.revert(again.commit, edit()) }
            #expect(error.exitCode == .badData && error.what.contains("was purged by the compaction in commit \(compacted.commit)"))
            bank.close()
            let reopened = try openBank(path)
            #expect(try reopened.recordCount() == 201 && reopened.statistics(.all).deleted == 1)
            for text in secrets { #expect(try filesHolding(text, in: path) == [], "\(text)") }
        }
    }

    @Test("what was deleted is refused by put, append and import until it is asked for, and then as a later version")
    func resurrection() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path)
            _ = try bank.put([record("a", "one"), record("b", "two"), record("", "without an id")], edit())
            let exported = try bank.localRecords(BankFilter(.all)).map { Array(try JSONText.line(BankRecordLine($0)).utf8)[...] }
            let unnamed = try #require(bank.localRecords(BankFilter(.all)).first { $0.value == .text("without an id") })
            _ = try bank.delete(only("a", unnamed.id), edit())
            let refused = try #require(throws: UserError.self) { _ = try bank.put([record("a", "one")], edit()) }
            #expect(refused.exitCode == .badData && refused.what.contains("'a' was deleted in commit 2"))
            #expect(try bank.append([record("a", "one"), record("", "without an id"), record("c", "three")], edit()).refusedDeleted == 2)
            let imported = try #require(throws: UserError.self) {
                _ = try bank.importLines(exported, named: "old.jsonl", namespace: nil, edit())
            }
            let dead = try #require(
                exported.firstIndex { line in
                    let line = String(decoding: line, as: UTF8.self)
                    return line.contains(#""id":"a""#) || line.contains(unnamed.id)
                })
            #expect(imported.exitCode == .badData && imported.description.contains("old.jsonl:\(dead + 1): "), "\(imported)")
            #expect(try bank.recordCount() == 2)
            _ = try bank.compact(edit())
            #expect(throws: UserError.self) { _ = try bank.put([record("a", "one")], edit()) }
            _ = try bank.put([record("a", "one again")], resurrecting: true, edit())
            #expect(bank.localRecord("a", namespace: "films")?.version == 2)
            // An export of the later version is no resurrection.
            let later = try bank.localRecords(only("a")).map { Array(try JSONText.line(BankRecordLine($0)).utf8)[...] }
            #expect(try bank.importLines(later, named: "new.jsonl", namespace: nil, edit()).unchanged == 1)
        }
    }

    @Test("a bank that is restored from a copy does not bring back what was deleted since")
    func restoredCopy() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            var bank = try makeBank(path)
            _ = try bank.put([record("a", "one"), record("b", "two")], edit())
            let copy = try files(path)
            _ = try bank.delete(only("a"), edit())
            bank.close()
            for (name, bytes) in copy where name != "audit.jsonl" { try Data(bytes).write(to: URL(fileURLWithPath: "\(path)/\(name)")) }
            let reader = try MemoryBank(path)
            #expect(text(reader, "a") == nil && text(reader, "b") == "two" && reader.notes.count == 1, "\(reader.notes)")
            bank = try openBank(path)
            #expect(text(bank, "a") == nil)
            _ = try bank.put([record("c", "three")], edit())
            bank.close()
            bank = try openBank(path)
            #expect(
                bank.notes == [] && bank.localRecords(BankFilter(.all)).map(\.id) == ["b", "c"],
                "it has left the files with the next commit")
        }
    }

    @Test("deleting by a filter takes the digest of a dry run, and only while it is the same records")
    func confirmation() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put((0..<20).map { record("r\($0)", "text \($0)", source: $0 < 5 ? "spam.txt" : "good.txt") }, edit())
            var filter = BankFilter(.one("films"))
            filter.source = "spam.txt"
            let preview = try bank.deletion(of: filter)
            #expect(preview.records == 5 && preview.filter == "namespace films, source spam.txt" && bank.commit == 1)
            #expect(
                try #require(throws: UserError.self) { _ = try bank.delete(filter, edit()) }.advice
                    == "confirm with --confirm \(preview.digest)")
            _ = try bank.put([record("r3", "another text", source: "spam.txt")], edit())
            let moved = try #require(throws: UserError.self) { _ = try bank.delete(filter, confirming: preview.digest, edit()) }
            #expect(moved.exitCode == .badData && moved.what.contains("was of other records: now 5 records would go"))
            let receipt = try bank.delete(filter, confirming: try bank.deletion(of: filter).digest, edit())
            #expect(receipt.deleted == 5 && receipt.digest == bank.receipts.last?.digest && receipt.filter == preview.filter)
            #expect(try bank.recordCount() == 15)
            #expect(try #require(throws: UserError.self) { _ = try bank.deletion(of: filter) }.exitCode == .missingInput)
        }
    }

    @Test("records derived from a deleted one are listed, and go or keep it from going")
    func children() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put(
                [
                    record("source", "a letter"), record("summary", "its gist", parents: ["source"]),
                    record("title", "its title", parents: ["summary", "other"]),
                    record("other", "unrelated"), record("summary", "elsewhere", in: "books", parents: ["source"])
                ], edit())
            #expect(try bank.deletion(of: only("source")).children.map(\.id) == ["summary", "title"])
            let refused = try #require(throws: UserError.self) { _ = try bank.delete(only("source"), edit()) }
            #expect(
                refused.exitCode == .badData
                    && refused.what.contains("2 records were derived from what is to be deleted, such as 'summary'"))
            #expect(try bank.delete(only("source"), children: .cascade, edit()).deleted == 3)
            #expect(bank.localRecords(BankFilter(.all)).map { "\($0.namespace)/\($0.id)" } == ["books/summary", "films/other"])
        }
    }

    @Test("revert: of what was made, changed and deleted, in one commit; refused where a record has been changed since")
    func reverting() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put([record("a", "one"), record("b", "two")], edit())
            let second = try bank.put([record("a", "one, changed"), record("c", "three")], edit())
            let third = try bank.put([record("c", "three, changed")], edit())
            let conflict = try #require(throws: UserError.self) { _ = try bank.revert(second.commit, edit()) }
            #expect(conflict.exitCode == .badData && conflict.what.contains("'c' has been changed since, in commit \(third.commit)"))
            let undone = try bank.revert(third.commit, edit())
            #expect(undone.reverts == third.commit && text(bank, "c") == "three" && bank.localRecord("c", namespace: "films")?.version == 3)
            _ = try bank.revert(undone.commit, edit())
            #expect(text(bank, "c") == "three, changed", "a revert is an edit that can be reverted")
            let deletion = try bank.delete(only("a", "b"), edit())
            #expect(try #require(throws: UserError.self) { _ = try bank.revert(1, edit()) }.what.contains("has been changed since"))
            _ = try bank.revert(deletion.commit, edit())
            #expect(text(bank, "a") == "one, changed" && text(bank, "b") == "two")
            #expect(try #require(throws: UserError.self) { _ = try bank.revert(99, edit()) }.exitCode == .usage)

            // What made room comes back too, where there is room again.
            let small = try makeBank("\(directory)/small", BankConfiguration(capacity: 2, eviction: .oldest))
            _ = try small.put([record("x", "1"), record("y", "2")], edit(step: 1))
            let evicting = try small.put([record("z", "3")], edit(step: 2))
            #expect(evicting.evicted == 1)
            _ = try small.revert(evicting.commit, edit())
            #expect(small.localRecords(BankFilter(.all)).map(\.id) == ["x", "y"])
        }
    }

    @Test("rekey: all keys at once from the texts that made them; keys of the old encoder are refused from then on")
    func rekey() throws {
        try withScratchDirectory { directory in
            let old = BankGeneration(model: "old", layer: 3, width: 2)
            let bank = try makeBank("\(directory)/bank", BankConfiguration(keyWidth: 2, metric: .euclidean), generation: old)
            func encode(_ text: String, _ scale: Float) -> [Float] { [Float(text.utf8.count) * scale, Float(text.utf8.first ?? 0)] }
            let records = ["cat", "horse", "elephant"].map { word in
                var record = record(word, word)
                record.key = encode(word, 1)
                return record
            }
            _ = try bank.put(records, generation: old, edit())
            let new = BankGeneration(model: "new", layer: 3, width: 2)
            #expect(
                try #require(throws: UserError.self) { _ = try bank.rekey(new, edit()) { $0.map { $0.id == "cat" ? nil : encode($0.keyText, 2) } } }
                    .what.contains("'cat' gets no key"))
            #expect(bank.generation == old && bank.commit == 1)
            #expect(
                try #require(throws: UserError.self) { _ = try bank.rekey(BankGeneration(model: "new", width: 5), edit()) { $0.map { _ in nil } } }
                    .exitCode == .configuration)
            #expect(try bank.rekey(new, edit()) { $0.map { encode($0.keyText, 2) } }.changed == 3)
            #expect(bank.generation == new && bank.localRecord("horse", namespace: "films")?.key == [10, 104])
            #expect(throws: UserError.self) { _ = try bank.search([5, 104], count: 1, in: BankFilter(.all), generation: old) }
            #expect(try bank.search([10, 104], count: 1, in: BankFilter(.all), generation: new).map(\.record.id) == ["horse"])
            #expect(
                try #require(throws: UserError.self) { _ = try bank.revert(1, edit()) }.what.contains("got new keys since, in commit 2"))
        }
    }
}
