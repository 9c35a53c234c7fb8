// Ends of lines: LF, CR LF, CR, and their mixtures.

import Corpora
import Diagnostics
import Foundation
import Inputs
import TestSupport
import Testing

@Suite struct LineEndTests {
    /// Lines of a text by the definition: carriage returns before a line feed belong to it, others end a line each.
    private func lines(_ text: [UInt8]) -> [[UInt8]] {
        var lines: [[UInt8]] = [[]]
        var index = 0
        while index < text.count {
            guard text[index] == 0x0a || text[index] == 0x0d else {
                lines[lines.count - 1].append(text[index])
                index += 1
                continue
            }
            let returns = text[index...].prefix { $0 == 0x0d }.count
            if index + returns < text.count, text[index + returns] == 0x0a {
                lines.append([])
                index += returns + 1
            } else {
                lines += Array(repeating: [], count: returns)
                index += returns
            }
        }
        if lines.last == [] { lines.removeLast() }
        return lines
    }

    @Test func anyMixtureReadsTheSameThroughAnyBuffer() throws {
        let directory = try TemporaryDirectory()
        var state: UInt64 = 5
        func random(_ bound: Int) -> Int {
            state = mixedBits(state)
            return Int(state % UInt64(bound))
        }
        for _ in 0..<400 {
            let text = (0..<random(40)).map { _ in [0x61, 0x62, 0x0a, 0x0d, 0x0d][random(5)] as UInt8 }
            let path = try directory.write(text, to: "a.txt")
            let expected = lines(text)
            let reader = try LineReader(path: path)
            var found: [[UInt8]] = []
            while try reader.advance() { found.append(Array(reader.line)) }
            #expect(found == expected, "\(text)")
            for size in [1, 2, 3, 7] {
                let source = try ByteSource(path: path)
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 1)
                defer { buffer.deallocate() }
                var bytes: [UInt8] = []
                while true {
                    let count = try source.read(into: buffer)
                    if count == 0 { break }
                    bytes += buffer[..<count]
                }
                #expect(bytes.count == text.count && lines(bytes) == expected, "\(text) by \(size)")
            }
            // As a whole document every end is a line feed.
            let whole = try Reading(.text, [path])
            let joined = whole.records.flatMap(\.source)
            #expect(joined.split(separator: 0x0a, omittingEmptySubsequences: false).map(Array.init).prefix(expected.count).elementsEqual(expected))
            #expect(!joined.contains(0x0d))
        }
    }

    @Test func aCarriageReturnWithinALineDoesNotMovePairs() throws {
        let directory = try TemporaryDirectory()
        let source = try directory.write("one\rstill one\ntwo\r\n", to: "a.en")
        let target = try directory.write("eins\nzwei\r\r\n", to: "a.de")
        let read = try Reading(.wmt, [source, target])
        #expect(read.sources == ["one\rstill one", "two"] && read.targets == ["eins", "zwei"])
        // Files of an old Macintosh.
        let old = try directory.write("one\rtwo\r", to: "b.en")
        let other = try directory.write("eins\rzwei", to: "b.de")
        #expect(try Reading(.wmt, [old, other]).targets == ["eins", "zwei"])
    }

    @Test(arguments: ["\r", "\r\n", "\n", "\r\r\n"])
    func tablesEndTheirRecordsAnyWay(_ end: String) throws {
        let directory = try TemporaryDirectory()
        let rows = ["id,article,highlights", "1,first,one", "2,\"sec\(end)ond\",two"]
        let path = try directory.write(rows.joined(separator: end) + end, to: "a.csv")
        let read = try Reading(.cnnDailyMail, [path])
        #expect(read.sources == ["first", "sec\nond"] && read.targets == ["one", "two"] && read.errors.isEmpty)
        #expect(read.records.map(\.place.line) == [2, 3])
    }
}
