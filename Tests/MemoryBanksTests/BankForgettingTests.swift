// A namespace is forgotten: nothing of it is left in the files, everything else is as it was.

import Diagnostics
import Foundation
import MemoryBanks
import Storage
import TestSupport
import Testing

@Suite struct BankForgettingTests {
    @Test("all of a user's records go, with what they held before, and are looked for; other users keep theirs, texts that both said too")
    func forgotten() throws {
        try withScratchDirectory { directory in
            let path = "\(directory)/bank"
            let bank = try makeBank(path)
            for round in 0..<5 {
                for user in ["ada", "bob"] {
                    _ = try bank.put([record("turn \(round)", "\(user) lives in town \(round)", in: user, source: "chat of \(user)")], edit())
                }
            }
            for user in ["ada", "bob"] { _ = try bank.put([record("both", "the weather is fine", in: user, key: user), record("short", "tea", in: user)], edit()) }
            var patch = BankPatch()
            patch.value = .text("ada moved to the seaside")
            _ = try bank.update(BankFilter(.one("ada"), ids: ["turn 1"]), patch, edit())
            patch.value = .text("ada moved to the mountains")
            _ = try bank.update(BankFilter(.one("ada"), ids: ["turn 1"]), patch, edit())
            _ = try bank.delete(BankFilter(.one("ada"), ids: ["turn 2"]), edit())
            #expect(try !filesHolding("ada moved to the seaside", in: path).isEmpty)
            let bobs = bank.localRecords(BankFilter(.one("bob")))

            let preview = try bank.deletion(of: BankFilter(.one("ada")))
            let wrong = try #require(throws: UserError.self) { _ = try bank.forget(namespace: "ada", confirming: "0123456789abcdef", edit()) }
            #expect(wrong.exitCode == .badData && bank.localRecords(BankFilter(.one("ada"))).count == 6)
            let forgotten = try bank.forget(namespace: "ada", confirming: preview.digest, edit("asked to be forgotten"))
            #expect(forgotten.deletion.deleted == 6 && forgotten.deletion.reason == "asked to be forgotten" && forgotten.purge.action == .compact)
            // Five towns, two moves, the source and six keys; what bob says too, with its key, and the short ones tell nothing.
            #expect(forgotten.sought == 14 && forgotten.notSought == 4, "\(forgotten)")
            for text in ["ada lives", "ada moved", "chat of ada"] { #expect(try filesHolding(text, in: path).isEmpty, "\(text)") }
            #expect(bank.localRecords(BankFilter(.one("bob"))) == bobs && bank.revertibleCommits.isEmpty)
            bank.close()
            let again = try openBank(path)
            #expect(again.localRecords(BankFilter(.all)) == bobs)
            #expect(try #require(throws: UserError.self) { _ = try again.forget(namespace: "ada", edit()) }.exitCode == .missingInput)

            // A file in which something is left is named.
            try "a copy: bob lives in town 3".write(toFile: "\(path)/notes.txt", atomically: true, encoding: .utf8)
            let left = try #require(throws: UserError.self) { _ = try again.forget(namespace: "bob", edit()) }
            #expect(left.exitCode == .badData && left.description.contains("\(path)/notes.txt"), "\(left)")
            again.close()
            #expect(try MemoryBank(path).recordCount() == 0)
        }
    }

    @Test("values that are vectors or tokens are looked for as they lie in the files")
    func otherValues() throws {
        try withScratchDirectory { directory in
            for kind in [BankConfiguration.ValueKind.tokens, .vector] {
                let bank = try makeBank("\(directory)/\(kind.rawValue)", BankConfiguration(value: kind, valueWidth: kind == .vector ? 3 : 0))
                for user in ["ada", "bob"] {
                    let number = user == "ada" ? 71 : 72
                    let value: BankValue = kind == .tokens ? .tokens([Int32(number), 5]) : .vector([Float(number), 0.1, 0.2])
                    _ = try bank.put([BankRecord(id: "x", namespace: user, value: value)], edit())
                }
                #expect(try bank.forget(namespace: "ada", edit()).sought == 1)
                #expect(try bank.recordCount() == 1)
                bank.close()
            }
        }
    }
}
