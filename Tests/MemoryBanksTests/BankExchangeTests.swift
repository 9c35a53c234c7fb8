// Lines of JSON and HDF5: what goes out, what comes in, and what is no record.

import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankExchangeTests {
    private func lines(_ text: String) -> [ArraySlice<UInt8>] {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { Array($0.utf8)[...] }
    }

    @Test("what is exported is imported, with the same bits of vectors", arguments: BankConfiguration.ValueKind.allCases)
    func roundTrip(_ kind: BankConfiguration.ValueKind) throws {
        try withScratchDirectory { directory in
            let generation = BankGeneration(model: "m", layer: 2, width: 4)
            let rules = BankConfiguration(keyWidth: 4, value: kind, valueWidth: kind == .vector ? 3 : 0)
            let bank = try makeBank("\(directory)/one", rules, generation: generation)
            var random = Randomness(state: 3)
            let records = (0..<60).map { index -> BankRecord in
                func floats(_ count: Int, upTo bits: UInt32 = 0x7f00_0000) -> [Float] {
                    (0..<count).map { _ in Float(bitPattern: UInt32.random(in: 0..<bits, using: &random)) * (index % 2 == 0 ? 1 : -1) }
                }
                let value: BankValue =
                    switch kind {
                    case .text: .text("line one\nline \"two\" \\ \u{1}\u{e9}\u{1f600} \(index)")
                    case .tokens: .tokens((0..<(index % 5)).map { _ in Int32.random(in: .min ... .max, using: &random) })
                    case .vector: .vector(floats(3))
                    }
                var record = BankRecord(id: "id \(index) \u{e4}", namespace: "n\(index % 3)", value: value)
                (record.key, record.keyText, record.source, record.origin) = (
                    // A key is no longer than 2^60.
                    floats(4, upTo: 0x5c00_0000), "key \(index)", "source:\(index)", index % 2 == 0 ? .data : .model
                )
                (record.parents, record.validFrom, record.validTo) = (
                    index > 3 ? ["id \(index - 3) \u{e4}"] : [], index % 4 == 0 ? -5 : nil, index % 4 == 1 ? 7 : nil
                )
                return record
            }
            // Rows are given in the order in which records come, and the digest is over rows.
            _ = try bank.put(records.sorted { ($0.namespace, $0.id) < ($1.namespace, $1.id) }, edit(step: 4))
            let text = try bank.localRecords(BankFilter(.all)).map { try JSONText.line(BankRecordLine($0)) }.joined(separator: "\n")
            let other = try makeBank("\(directory)/two", rules, generation: generation)
            let receipt = try other.importLines(lines(text + "\n\n"), named: "x", namespace: nil, generation: generation, edit(step: 4))
            #expect(receipt.created == 60 && receipt.filter == "x: 60 records" && receipt.action == .import)
            #expect(
                other.localRecords(BankFilter(.all)) == bank.localRecords(BankFilter(.all)) && other.contentDigest == bank.contentDigest)
        }
    }

    @Test("a line that is no record is named by its number, and nothing is imported")
    func malformed() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            let good = #"{"namespace":"n","id":"a","text":"x","key_text":"x"}"#
            for (bad, what) in [
                ("{", "is no record: it is not JSON"), ("[1]", "is no record"), (#"{"id":"b","text":"x"}"#, "it names no namespace"),
                (#"{"namespace":"n","id":"b"}"#, "it needs one of 'text', 'tokens' and 'vector'"),
                (#"{"namespace":"n","id":"b","text":"x","tokens":[1]}"#, "it needs one of"),
                (#"{"namespace":"n","id":3,"text":"x"}"#, "'id' is of another type"),
                (#"{"namespace":"n","id":"b","text":"x","sorce":"y"}"#, "a member 'sorce', which no record has"),
                (#"{"namespace":"n","id":"b","text":"x","key":[1,2]}"#, "a key of 2 elements; the bank's have 32"),
                (#"{"namespace":"n","id":"b","text":"x"}"#, "a key of 0 elements"),
                (#"{"namespace":"n","id":"b","tokens":[1],"key_text":"x"}"#, "a value of another kind"),
                (#"{"namespace":"n","id":"b","text":"x","key_text":"x","origin":"recall"}"#, "was read from a bank"),
                (#"{"namespace":"n","id":"b","text":"x","key_text":"x","origin":"me"}"#, "its origin 'me' is none of data, model, recall"),
                (good, "'a' comes twice, in line 1 too"),
                (#"{"namespace":"n","id":"b\u0000","text":"x","key_text":"x"}"#, "an impossible id")
            ] {
                let error = try #require(throws: UserError.self, "\(bad)") {
                    _ = try bank.importLines(lines("\(good)\n\n\(bad)\n\(good)"), named: "facts.jsonl", namespace: nil, edit())
                }
                #expect(
                    [.badData, .configuration].contains(error.exitCode) && error.place == "facts.jsonl:3" && error.what.contains(what),
                    "\(bad): \(error)")
            }
            #expect(try bank.recordCount() == 0 && bank.commit == 0 && bank.receipts.isEmpty)
            let foreign = try #require(throws: UserError.self) { _ = try bank.importLines(lines(good), named: "x", namespace: "m", edit()) }
            #expect(foreign.what.contains("it is of the namespace 'n'"))
            #expect(try bank.importLines(lines(#"{"text":"x","key_text":"x"}"#), named: "x", namespace: "m", edit()).created == 1)
            // An older version of a record that has moved on; one that was read here and changed; one that brings its version.
            for text in ["one", "two", "three"] { _ = try bank.put([record("v", text, in: "n", key: "k")], edit()) }
            func version(_ number: Int, _ text: String, _ id: String = "v") -> String {
                #"{"namespace":"n","id":"\#(id)","text":"\#(text)","key_text":"k","version":\#(number)}"#
            }
            let stale = try #require(throws: UserError.self) {
                _ = try bank.importLines(lines(version(2, "two")), named: "x", namespace: nil, edit())
            }
            #expect(stale.exitCode == .badData && stale.what.contains("'v' has version 3 here and 2 there: it has moved on"))
            #expect(try bank.importLines(lines(version(3, "edited") + "\n" + version(7, "new", "w")), named: "x", namespace: nil, edit()).changed == 1)
            #expect(text(bank, "v", in: "n") == "edited" && bank.localRecord("v", namespace: "n")?.version == 4)
            #expect(bank.localRecord("w", namespace: "n")?.version == 7)
        }
    }

    @Test("what looks wrong is found, and counted")
    func doctor() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank(
                "\(directory)/bank", BankConfiguration(keyWidth: 2, metric: .dot), generation: BankGeneration(model: "m", width: 2))
            func keyed(_ id: String, _ text: String, _ key: [Float]) -> BankRecord {
                var record = BankRecord(id: id, namespace: "n", value: .text(text))
                record.key = key
                return record
            }
            var records = (0..<20).map { keyed("r\($0)", "text \($0)", [1 + Float($0) / 100, 0]) }
            records += [keyed("twin", "text 3", [1.03, 0]), keyed("giant", "big", [1e6, 0])]
            var orphan = keyed("orphan", "alone", [1, 0])
            (orphan.parents, orphan.validTo) = (["nobody"], 5)
            _ = try bank.put(records + [orphan], edit())
            try bank.recordUse(BankFilter(.one("n"), ids: (0..<20).map { "r\($0)" }), step: 3)
            try bank.commitUses()
            let findings = try bank.findings(.all, time: 100).map { "\($0.kind.rawValue) \($0.id)" }
            #expect(
                findings.sorted() == [
                    "duplicate twin", "never-used giant", "never-used orphan", "never-used twin", "norm-outlier giant", "orphan orphan",
                    "out-of-time orphan"
                ])
            let statistics = try bank.statistics(.one("n"))
            #expect(
                statistics.records == 23 && statistics.duplicates == 1 && statistics.neverUsed == 3 && statistics.norm?.maximum == 1e6
                    && statistics.age?.maximum == 3)
            let segments = "\(directory)/bank/segments"
            let victim = try #require(FileManager.default.contentsOfDirectory(atPath: segments).first)
            var bytes = try Data(contentsOf: URL(fileURLWithPath: "\(segments)/\(victim)"))
            bytes[bytes.count / 2] ^= 4
            try bytes.write(to: URL(fileURLWithPath: "\(segments)/\(victim)"))
            #expect(try #require(throws: UserError.self) { _ = try bank.findings(.all, time: 0) }.what.contains("checksum mismatch"))
        }
    }

    @Test("h5py reads the joined table", .enabled(if: Python.withH5py != nil, "no python3 with h5py; MNEME_PYTHON may name one"))
    func h5py() throws {
        try withScratchDirectory { directory in
            let bank = try makeBank("\(directory)/bank")
            _ = try bank.put((0..<40).map { record("r\($0)", "text \($0)", source: "s") }, edit(step: 3))
            _ = try bank.delete(BankFilter(.one("films"), ids: ["r7"]), edit())
            _ = try bank.put([record("r8", "another text")], edit(step: 4))
            try bank.writeJoined("\(directory)/table.h5", .one("films"))
            let run = try Python.run(
                """
                import h5py, sys
                with h5py.File(sys.argv[1]) as table:
                    def text(name):
                        values, offsets = table[name + "/values"][...], table[name + "/offsets"][...]
                        return [values[a:b].tobytes().decode() for a, b in zip(offsets, offsets[1:])]
                    ids, values = text("id"), text("value")
                    assert table["key"].shape == (39, 32) and table["key"].dtype == "float32" and abs((table["key"][...] ** 2).sum(1) - 1).max() < 1e-5
                    assert ids == sorted(f"r{i}" for i in range(40) if i != 7), ids
                    assert dict(zip(ids, values)) == {f"r{i}": "another text" if i == 8 else f"text {i}" for i in range(40) if i != 7}
                    assert dict(zip(ids, table["version"][...]))["r8"] == 2 and set(table["written_step"][...]) == {3, 4}
                    print(table.attrs["commit"], table.attrs["content_digest"])
                """, ["\(directory)/table.h5"])
            #expect(run.status == 0, "\(run.standardError)")
            #expect(run.standardOutput == "3 \(bank.contentDigest)\n")
        }
    }

    @Test("the manifest, the logs: cut, changed or shortened, they are refused by name; an unfinished line is passed over")
    func damagedFiles() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path)
            for index in 0..<4 { _ = try bank.put([record("r\(index)", "text \(index)")], edit()) }
            _ = try bank.delete(BankFilter(.one("films"), ids: ["r0"]), edit())
            _ = try bank.delete(BankFilter(.one("films"), ids: ["r1"]), edit())
            bank.close()
            func expectRefusal(_ name: String, _ what: String, _ change: (inout Data) -> Void) throws {
                let file = URL(fileURLWithPath: "\(path)/\(name)")
                let whole = try Data(contentsOf: file)
                var changed = whole
                change(&changed)
                try changed.write(to: file)
                let error = try #require(throws: UserError.self, "\(name): \(what)") { _ = try MemoryBank(path) }
                #expect(
                    error.exitCode == .badData && error.description.contains("\(path)/\(name)") && error.what.contains(what), "\(error)")
                try whole.write(to: file)
            }
            try expectRefusal("bank.json", "is cut off") { $0.removeLast(7) }
            try expectRefusal("bank.json", "is cut off") { $0 = Data() }
            try expectRefusal("bank.json", "the manifest is damaged") { $0[$0.count / 2] ^= 1 }
            for name in ["audit.jsonl", "deleted.jsonl"] {
                try expectRefusal(name, "the line is damaged, or a line before it was lost") { $0[4] ^= 1 }
                try expectRefusal(name, "the line is damaged, or a line before it was lost") {
                    $0.removeSubrange(0...$0.firstIndex(of: 10)!)
                }
                try expectRefusal(name, "the line is damaged, or a line before it was lost") { $0 = $0 + $0 }
            }
            // A crash in the middle of a line.
            let audit = URL(fileURLWithPath: "\(path)/audit.jsonl")
            try (try Data(contentsOf: audit) + Data(#"{"commit":7,"act"#.utf8)).write(to: audit)
            let again = try openBank(path)
            #expect(again.receipts.count == 6)
            _ = try again.put([record("r9", "text")], edit())
            again.close()
            #expect(try MemoryBank(path).receipts.map(\.commit) == [1, 2, 3, 4, 5, 6, 7])
        }
    }
}
