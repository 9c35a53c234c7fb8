import Corpora
import Foundation
import TestSupport
import Testing

@Suite struct ReaderCleaningTests {
    private func record(_ source: String, _ target: String? = nil, starts: Bool = true) -> CorpusRecord {
        CorpusRecord(
            source: Array(source.utf8), target: target.map { Array($0.utf8) }, startsDocument: starts, place: RecordPlace(file: "f", line: 1, byte: 0)
        )
    }

    private func words(_ count: Int) -> String { Array(repeating: "w", count: count).joined(separator: " ") }

    @Test func defaultsOfTranslation() {
        let rules = CorpusFormat.wmt.profile.cleaning
        let cases: [(String, String, DropReason?)] = [
            ("a", "b", nil), ("", "b", .emptySource), ("a", " \t", .emptyTarget), (words(250), words(250), nil), (words(251), words(250), .tooLong),
            (words(250), words(251), .tooLong), (words(9), "b", nil), (words(10), "b", .lengthRatio), ("b", words(10), .lengthRatio), ("a", "a", nil),
        ]
        for (source, target, expected) in cases {
            var pair = record(source, target)
            #expect(rules.apply(to: &pair) == expected, "\(source.prefix(20)) | \(target.prefix(20))")
        }
        var spaced = record("  a \t b\u{a0}c\r\n", "x")
        #expect(rules.apply(to: &spaced) == nil)
        #expect(String(decoding: spaced.source, as: UTF8.self) == "a b c")
        var blank = record("\u{3000}\u{a0}", "x")
        #expect(rules.apply(to: &blank) == .emptySource)
        var separated = record(Array(repeating: "w", count: 251).joined(separator: "\u{2003}"), words(250))
        #expect(rules.apply(to: &separated) == .tooLong)
    }

    @Test func recordedRulesSayWhatWhiteSpaceWas() throws {
        var rules = CorpusFormat.wmt.profile.cleaning
        let recorded = try JSONEncoder().encode(rules)
        #expect(try JSONDecoder().decode(CleaningRules.self, from: recorded) == rules)
        // As it was recorded before there was a choice.
        let old = #"{"unit":"words","minimumLength":1,"maximumLength":250,"maximumRatio":9,"dropsEmpty":true,"dropsIdenticalPairs":false,"#
            + #""normalizesWhitespace":true}"#
        rules.whiteSpace = .ascii
        #expect(try JSONDecoder().decode(CleaningRules.self, from: Data(old.utf8)) == rules)
        func cleaned(_ text: String) -> String { String(decoding: rules.cleaned(Array(text.utf8)), as: UTF8.self) }
        #expect(cleaned(" a\u{a0} b ") == "a\u{a0} b" && !rules.isBlank(Array("\u{a0}".utf8)))
        rules.whiteSpace = .unicode
        #expect(cleaned(" a\u{a0} b \u{2028}\u{85}") == "a b" && cleaned("\u{feff}\u{200b}") == "\u{feff}\u{200b}")
        #expect(rules.isBlank(Array("\u{a0}\t".utf8)) && rules.isBlank([]) && !rules.isBlank(Array("\u{200b}".utf8)))
    }

    @Test func otherRules() {
        var rules = CleaningRules()
        rules.unit = .bytes
        rules.minimumLength = 2
        rules.maximumLength = 4
        rules.dropsIdenticalPairs = true
        for (source, target, expected) in [
            ("ä", "xyz", nil), ("a", "xy", DropReason.tooShort), ("ab", "x", .tooShort), ("äöü", "xy", .tooLong), ("ab", "ab", .identicalPair),
        ] {
            var pair = record(source, target)
            #expect(rules.apply(to: &pair) == expected)
        }
        for format in [CorpusFormat.text, .babi, .cnnDailyMail] {
            let defaults = format.profile.cleaning
            var long = record(words(1000), "x")
            #expect(defaults.apply(to: &long) == nil)
            var text = record(" a\n\nb ")
            #expect(defaults.apply(to: &text) == nil)
            #expect(text.source == Array(" a\n\nb ".utf8))
            var empty = record("\n")
            #expect(defaults.apply(to: &empty) == .emptySource)
            var piece = record("\n", starts: false)
            #expect(defaults.apply(to: &piece) == nil)
        }
    }

    /// The fast count and the normaliser against the obvious ones, over texts of all lengths around the block size and beyond the lanes' range.
    @Test func whitespaceAgreesWithItsNaiveTwin() {
        var choices = SeededChoices(seed: 9)
        let alphabet: [[UInt8]] = [Array("ab é€\u{a0}".utf8), Array(" \t\n\u{b}\u{c}\r".utf8), [0x08, 0x0e, 0x1b, 0x21, 0x7f, 0x80, 0xff]]
        for length in Array(0...100) + [4095, 4096, 4097, 9000] {
            for density in [1, 3, 12] {
                let text = (0..<length).map { _ in
                    choices.pick(choices.chance(1, in: density + 1) ? alphabet[1] : choices.pick([alphabet[0], alphabet[2]]))
                }
                let words = text.split { $0 == 0x20 || (0x09...0x0d).contains($0) }
                let normal = Array(words.joined(separator: [0x20]))
                let scan = WhitespaceScan(text, .ascii)
                #expect(scan.words == words.count)
                #expect(scan.bytes == text.count)
                #expect(scan.isNormal == (normal == text))
                var normalized = text
                normalizeWhitespace(&normalized, .ascii)
                #expect(normalized == normal)
            }
        }
        let wide = [0x1680, 0x2000, 0x2005, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000, 0x85, 0xa0, 0x1c, 0x1f, 0x20, 0x09]
        let spaces = wide.map { String(Unicode.Scalar($0)!) }
        let others = ["a", "é", "\u{200b}", "\u{2027}", "\u{2030}", "\u{3001}", "\u{1681}", "\u{a1}", "€", "𝄞", "\u{1b}", "\u{feff}"]
        for length in Array(0...60) + [1000] {
            let pieces = (0..<length).map { _ in choices.chance(1, in: 3) ? choices.pick(spaces) : choices.pick(others) }
            let words = pieces.split { spaces.contains($0) }.map { $0.joined() }
            let text = Array(pieces.joined().utf8)
            let normal = Array(words.joined(separator: " ").utf8)
            let scan = WhitespaceScan(text)
            #expect(scan.words == words.count && scan.isNormal == (normal == text), "\(pieces)")
            var normalized = text
            normalizeWhitespace(&normalized)
            #expect(normalized == normal)
            text.withUnsafeBufferPointer {
                #expect(WhiteSpace.unicode.isBlank($0) == words.isEmpty && WordCount.words(in: $0).words == words.count)
                let first = pieces.firstIndex { !spaces.contains($0) } ?? 0, last = pieces.lastIndex { !spaces.contains($0) }.map { $0 + 1 } ?? 0
                #expect(Array($0.trimmed) == Array(pieces[min(first, last)..<last].joined().utf8), "\(pieces)")
            }
        }
        let alternating = Array(repeating: Array("a ".utf8), count: 5000).flatMap(\.self)
        #expect(WhitespaceScan(alternating).words == 5000)
    }

    @Test func countsAddUpAndReadBack() throws {
        var first = CleaningCounts()
        first.count(nil)
        first.count(.tooLong)
        var second = CleaningCounts()
        for reason in DropReason.allCases { second.count(reason) }
        first.add(second)
        #expect(first.kept == 1)
        #expect(first[.tooLong] == 2)
        #expect(first.droppedTotal == 7)
        #expect(first.dropped.map(\.reason) == DropReason.allCases)
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        let data = try encoder.encode(first)
        #expect(try JSONDecoder().decode(CleaningCounts.self, from: data) == first)
        #expect(String(decoding: data, as: UTF8.self).hasPrefix(#"{"dropped":{"empty-source":1,"#))
    }
}
