// The exact dictionary: its rules, its file, what crashes leave, and that it is the limit of soft addressing.

import Diagnostics
import Foundation
import Memory
import Tensors
import TestSupport
import Testing
import Training

@Suite struct DictionaryMemoryTests {
    @Test("put, get, update and delete")
    func changes() throws {
        let memory = DictionaryMemory()
        #expect(try memory.put("Kismet", "1944"))
        #expect(try memory.put("Kismet", "1955"))
        #expect(try !memory.put("Kismet", "1944"))
        #expect(memory.get("Kismet") == ["1944", "1955"])
        #expect(memory.get("kismet").isEmpty && memory.get("").isEmpty)
        #expect(try memory.update("Kismet", from: "1955", to: "1956"))
        #expect(try !memory.update("Kismet", from: "1955", to: "1957"))
        #expect(memory.get("Kismet") == ["1944", "1956"])
        #expect(try memory.update("Kismet", from: "1956", to: "1944"))
        #expect(memory.get("Kismet") == ["1944"])
        #expect(try memory.update("Kismet", to: "2000"))
        #expect(try memory.delete("Kismet", "1944") == 0)
        #expect(try memory.delete("Kismet", "2000") == 1)
        #expect(memory.count == 0 && memory.entries.isEmpty)
        #expect(try !memory.update("Kismet", to: "1944"))
        #expect(try memory.delete("Kismet") == 0)
    }

    @Test("the case rule decides whether The and the are one key; the rule for duplicates, whether a key has one value")
    func rules() throws {
        let exact = DictionaryMemory(keyCase: .exact)
        try exact.put("The", "a")
        try exact.put("the", "b")
        #expect(exact.get("The") == ["a"] && exact.get("the") == ["b"] && exact.get("THE").isEmpty)
        let folded = DictionaryMemory(keyCase: .folded, duplicates: .replace)
        try folded.put("The", "a")
        try folded.put("the", "b")
        #expect(folded.get("THE") == ["b"] && folded.count == 1)
        #expect(folded.entries.map(\.key) == ["The"])
        #expect(try folded.delete("tHe") == 1)
    }

    @Test("a random history gives what a plain dictionary gives, in memory and from its file")
    func history() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            try DictionaryMemory().save(to: path)
            let stored = try DictionaryMemory(path: path)
            let transient = DictionaryMemory()
            var plain: [String: [String]] = [:]
            var random = RandomStream(seed: 5, name: "history")
            for _ in 0..<700 {
                let key = ["a", "b\tc", "d\ne", "\\f\\n", "", "schön", "\r\n", "\\\u{301}"][Int(random.next() % 8)]
                let value = "v\(random.next() % 4)"
                switch random.next() % 5 {
                case 0, 1:
                    if !(plain[key] ?? []).contains(value) { plain[key, default: []].append(value) }
                    try stored.put(key, value)
                    try transient.put(key, value)
                case 2:
                    if let at = plain[key]?.firstIndex(of: value) {
                        let isThere = plain[key]?.contains("new") == true
                        plain[key]?[at] = "new"
                        if isThere, let twice = plain[key]?.lastIndex(of: "new") { plain[key]?.remove(at: twice) }
                    }
                    try stored.update(key, from: value, to: "new")
                    try transient.update(key, from: value, to: "new")
                case 3:
                    plain[key]?.removeAll { $0 == value }
                    if plain[key]?.isEmpty == true { plain[key] = nil }
                    try stored.delete(key, value)
                    try transient.delete(key, value)
                default:
                    plain[key] = nil
                    try stored.delete(key)
                    try transient.delete(key)
                }
            }
            let reopened = try DictionaryMemory(path: path)
            for memory in [stored, transient, reopened] {
                #expect(Dictionary(uniqueKeysWithValues: memory.entries.map { ($0.key, $0.values) }) == plain)
                for (key, values) in plain { #expect(memory.get(key) == values) }
            }
            #expect(reopened.entries.map(\.key) == transient.entries.map(\.key))
            #expect(reopened.repair == nil)
            // The log was written anew on the way, or it would hold every change.
            let lines = try String(contentsOfFile: path, encoding: .utf8).utf8.count { $0 == 0x0a }
            #expect(lines < 400)
        }
    }

    @Test("wherever the end of the file is cut off, every whole change before it is there and the next change is kept")
    func tornEnd() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            let memory = DictionaryMemory()
            for i in 0..<3 { try memory.put("key \(i)", "value") }
            // Bytes as a run is given them, and a file as an owner writes it: one has no generation, the other one has.
            try memory.save(to: path)
            for whole in [memory.bytes, [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))] {
            let header = try #require(whole.firstIndex(of: 0x0a)) + 1
            let ends = whole.indices.filter { whole[$0] == 0x0a }.map { $0 + 1 }
            for length in header...whole.count {
                try Data(whole[..<length]).write(to: URL(fileURLWithPath: path))
                let read = try DictionaryMemory(path: path)
                let expected = ends.count { $0 <= length } - 1
                #expect(read.count == expected, "\(length) bytes")
                #expect((read.repair == nil) == ends.contains(length))
                try read.put("after", "the crash")
                let again = try DictionaryMemory(path: path)
                #expect(again.count == expected + 1 && again.get("after") == ["the crash"] && again.repair == nil)
            }
            for length in 0..<header {
                try Data(whole[..<length]).write(to: URL(fileURLWithPath: path))
                #expect(throws: UserError.self) { try DictionaryMemory(path: path) }
            }
            }
        }
    }

    @Test("damage before the last change is an error that says where: a changed byte, a missing, a repeated and an exchanged line")
    func damage() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            let memory = DictionaryMemory()
            for i in 0..<4 { try memory.put("key \(i)", "value") }
            var lines = String(decoding: memory.bytes, as: UTF8.self).split(separator: "\n").map(String.init)
            func expectDamage(_ lines: [String]) throws {
                try (lines.joined(separator: "\n") + "\n").write(toFile: path, atomically: true, encoding: .utf8)
                let error = #expect(throws: UserError.self) { try DictionaryMemory(path: path) }
                #expect(error?.exitCode == .badData)
                #expect(error?.description.contains(path) == true)
            }
            var changed = lines
            changed[2] = changed[2].replacing("value", with: "valve")
            try expectDamage(changed)
            try expectDamage(lines.indices.filter { $0 != 2 }.map { lines[$0] })
            try expectDamage(lines[0...2] + [lines[2]] + lines[3...])
            lines.swapAt(2, 3)
            try expectDamage(lines)
            try expectDamage(["mneme-dictionary 2 exact collect"] + lines)
            try expectDamage(["mneme-dictionary 1 loose collect"] + lines)
        }
        let missing = #expect(throws: UserError.self) { try DictionaryMemory(path: "/nowhere/facts.memory") }
        #expect(missing?.exitCode == .missingInput)
    }

    @Test("two owners of one file take in each other's changes, before and after it is written anew")
    func twoOwners() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            try DictionaryMemory().save(to: path)
            let (a, b) = (try DictionaryMemory(path: path), try DictionaryMemory(path: path))
            try a.put("k", "of a")
            try b.put("k", "of b")
            #expect(b.get("k") == ["of a", "of b"])
            // What b has read is no beginning of the file that is written anew: t is gone by then.
            try b.put("t", "1")
            try b.delete("t", "1")
            for i in 0..<300 {
                try a.put("x", "\(i)")
                try a.delete("x", "\(i)")
            }
            try b.put("k", "again")
            for memory in [b, try DictionaryMemory(path: path)] {
                #expect(memory.entries.map(\.key) == ["k"] && memory.get("k") == ["of a", "of b", "again"])
            }
        }
    }

    @Test("an owner never takes a file that was written anew for the one it has read, even where the disk gives it the same number again")
    func writtenAnewOften() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            try DictionaryMemory().save(to: path)
            let owner = try DictionaryMemory(path: path)
            for round in 0..<100 {
                try owner.put("t", "\(round)")
                // Two files in the place of the one that the owner has read: the second often gets the number of the one that is gone.
                let other = DictionaryMemory()
                for i in 0...round % 7 { try other.put("x\(i)", String(repeating: "y", count: 1 + round)) }
                try other.save(to: path)
                try other.save(to: path)
                try owner.put("k", "\(round)")
                let expected = other.entries.map(\.key) + ["k"]
                for memory in [owner, try DictionaryMemory(path: path)] {
                    #expect(memory.entries.map(\.key) == expected && memory.get("k") == ["\(round)"] && memory.repair == nil, "round \(round)")
                }
            }
        }
    }

    @Test("a file of version 1, which names no generation, is read, and the first change gives it one")
    func versionOne() throws {
        try withScratchDirectory { directory in
            let path = directory + "/facts.memory"
            let memory = DictionaryMemory(keyCase: .folded, duplicates: .replace)
            try memory.put("Kismet", "1944")
            #expect(String(decoding: memory.bytes, as: UTF8.self).hasPrefix("mneme-dictionary 1 folded replace\n"))
            try Data(memory.bytes).write(to: URL(fileURLWithPath: path))
            let (a, b) = (try DictionaryMemory(path: path), try DictionaryMemory(path: path))
            try a.put("kismet", "1955")
            try b.put("Gigi", "1958")
            for memory in [b, try DictionaryMemory(path: path)] {
                #expect(memory.get("KISMET") == ["1955"] && memory.get("gigi") == ["1958"] && memory.keyCase == .folded)
            }
            #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("mneme-dictionary 2 folded replace "))
        }
    }

    @Test("a full disk is an error, and what was there stays", .enabled(if: TinyDisk.isPermitted))
    func fullDisk() throws {
        try withTinyDisk(kilobytes: 16) { directory in
            let path = directory + "/facts.memory"
            try DictionaryMemory().save(to: path)
            let memory = try DictionaryMemory(path: path)
            try memory.put("first", "value")
            let error = #expect(throws: UserError.self) { for i in 0..<100 { try memory.put("key \(i)", String(repeating: "x", count: 500)) } }
            #expect(error?.exitCode == .inputOutput)
            let read = try DictionaryMemory(path: path)
            #expect(read.get("first") == ["value"] && read.repair == nil)
            #expect(read.entries.map(\.key) == memory.entries.map(\.key))
        }
    }

    @Test("soft addressing tends to the dictionary as its strength rises")
    func limit() throws {
        // Keys are one-hot, as exact keys are: the score of a key is 1 where it is the query and 0 elsewhere.
        let count = 6
        let dictionary = DictionaryMemory()
        for i in 0..<count { try dictionary.put("key \(i)", "\(10 * i)") }
        let keys = Tensor((0..<count * count).map { Float($0 / count == $0 % count ? 1 : 0) }, [count, count])
        // The number that a key leads to, in the first column.
        let values = Tensor((0..<count * count).map { $0 % count == 0 ? Float(10 * ($0 / count)) : 0 }, [count, count])
        for wanted in 0..<count {
            let query = Tensor((0..<count).map { Float($0 == wanted ? 1 : 0) }, [1, count])
            let exact = try #require(dictionary.get("key \(wanted)").first.flatMap(Float.init))
            var (last, distances): (Float, [Float]) = (.infinity, [])
            for strength: Float in [0, 2, 4, 8, 16, 32] {
                let reading = readKeyValues(query, keys: keys, values: values, facts: Segments(starts: [0, Int32(count)]), strength: strength)
                // A softmax gives every other key e^-strength times as much: never exactly 0.
                let expected = (exact + (25 * 6 - exact) * exp(-strength)) / (1 + Float(count - 1) * exp(-strength))
                #expect(abs(reading.values.floats[0] - expected) < 1e-3)
                distances.append(abs(reading.values.floats[0] - exact))
                #expect(distances[distances.count - 1] <= last)
                last = distances[distances.count - 1]
            }
            #expect(last < 1e-6 * max(exact, 1) + 1e-6)
        }
    }
}
