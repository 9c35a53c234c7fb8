// The facts of a run as Mneme kept them before its runs had banks: the file facts.memory, which is read and never written.

import CZlib
import Corpora
import Diagnostics
import Storage

/// The facts of a file `facts.memory`, which became a bank (see ``KnowledgeBank``).
///
/// The file is a log. The first line names the format, its version, the rule for cases, the rule for duplicates and, in version 2, a random number.
/// Each further line is a change: a checksum, a word and its fields, separated by tabs. A checksum is the CRC-32 of its line that starts from the
/// checksum of the line before, so that a line that was changed, lost or moved does not fit. A last line that is not whole is what a crash has left.
package struct FormerFacts {
    /// The file's name in the run directory.
    package static let fileName = "facts.memory"
    /// Its name when a bank has what it held.
    package static let convertedName = "facts.memory.converted"

    /// What was dropped from the end of the file; `nil` where nothing was.
    package private(set) var repair: String?
    private let foldsCase: Bool
    /// Keys (subject, and relation behind an ASCII unit separator) with their objects, in the order of their first put; a deleted one has none.
    private var entries: [(key: String, objects: [String])] = []
    private var places: [String: Int] = [:]

    /// All facts; those of one subject and relation stand together, in the order in which they were put.
    package var facts: [KnowledgeFact] {
        entries.flatMap { entry in
            let names = entry.key.split(separator: "\u{1f}", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            return entry.objects.map { KnowledgeFact(names[0], names.count == 2 ? names[1] : nil, $0) }
        }
    }

    /// The facts without repetitions, as the file would hold them: those of one subject and relation together, in the order of their first occurrence.
    package static func distinct(_ facts: [KnowledgeFact], foldsCase: Bool) -> [KnowledgeFact] {
        var file = FormerFacts(foldsCase: foldsCase)
        for fact in facts { file.apply(["put", fact.relation.map { "\(fact.subject)\u{1f}\($0)" } ?? fact.subject, fact.object]) }
        return file.facts
    }

    private init(foldsCase: Bool) { self.foldsCase = foldsCase }

    /// Reads a file.
    /// - Throws: `UserError`: (.missingInput) where there is none, (.badData) where it is another file or is damaged before its last change.
    package init(path: String) throws {
        let lines = try DurableFile.read(path).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
        let header = String(decoding: lines[0], as: UTF8.self).split(separator: " ").map(String.init)
        guard lines.count > 1, header.count == 4 || header.count == 5, header[0] == "mneme-dictionary", header[1] == (header.count == 4 ? "1" : "2"),
            ["exact", "folded"].contains(header[2]), header[3] == "collect"
        else { throw UserError(.badData, "is no file of facts of version 1 or 2", at: path, advice: "restore the file from a copy") }
        self.init(foldsCase: header[2] == "folded")
        var checksum = Self.checksum(0, lines[0] + [UInt8(ascii: "\n")])
        for (place, line) in lines.enumerated().dropFirst() where place < lines.count - 1 || !line.isEmpty {
            if place < lines.count - 1, let fields = Self.fields(line, &checksum), apply(fields) { continue }
            guard place >= lines.count - 2, lines[place...].dropFirst().allSatisfy(\.isEmpty) else {
                throw UserError(
                    .badData, "change \(place) does not fit its checksum, and changes follow it", at: "\(path): byte \(line.startIndex)",
                    advice: "restore the file from a copy")
            }
            repair = "\(path): the last change (\(line.count) bytes at byte \(line.startIndex)) was cut off and is dropped"
            return
        }
    }

    private static func checksum(_ previous: UInt, _ bytes: ArraySlice<UInt8>) -> UInt {
        bytes.withUnsafeBufferPointer { crc32_z(previous, $0.baseAddress, $0.count) }
    }

    /// The word and the fields of a line without its end, which moves the checksum on; `nil` where it does not fit.
    private static func fields(_ line: ArraySlice<UInt8>, _ checksum: inout UInt) -> [String]? {
        let text = line.dropFirst(9)
        guard line.count > 9, line[line.startIndex + 8] == UInt8(ascii: "\t"),
            let stored = UInt(String(decoding: line.prefix(8), as: UTF8.self), radix: 16), Self.checksum(checksum, text) == stored
        else { return nil }
        checksum = stored
        return text.split(separator: UInt8(ascii: "\t"), omittingEmptySubsequences: false).map(unescaped)
    }

    /// In fields a tab is `\t`, a line feed `\n`, a carriage return `\r`, a backslash `\\`.
    private static func unescaped(_ bytes: ArraySlice<UInt8>) -> String {
        var (result, escapes) = ([UInt8](), false)
        for byte in bytes {
            if escapes {
                result.append([UInt8(ascii: "t"): 0x09, UInt8(ascii: "n"): 0x0a, UInt8(ascii: "r"): 0x0d][byte] ?? byte)
                escapes = false
            } else if byte == UInt8(ascii: "\\") {
                escapes = true
            } else {
                result.append(byte)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    /// Makes a change.
    /// - Returns: false for one that there is not.
    @discardableResult
    private mutating func apply(_ fields: [String]) -> Bool {
        guard fields.count >= 2 else { return false }
        let compared = foldsCase ? fields[1].lowercased() : fields[1]
        let place = places[compared]
        var objects = place.map { entries[$0].objects } ?? []
        switch (fields[0], fields.count) {
        case ("put", 3):
            if objects.contains(fields[2]) { return true }
            objects.append(fields[2])
        case ("set", 3): if !objects.isEmpty { objects = [fields[2]] }
        case ("update", 4):
            guard let old = objects.firstIndex(of: fields[2]) else { return true }
            objects[old] = fields[3]
            if let other = objects.indices.first(where: { $0 != old && objects[$0] == fields[3] }) { objects.remove(at: max(other, old)) }
        case ("remove", 3): objects.removeAll { $0 == fields[2] }
        case ("delete", 2): objects = []
        default: return false
        }
        if let place { entries[place].objects = objects }
        // A key that was deleted and comes back stands at the end.
        if objects.isEmpty {
            places[compared] = nil
        } else if place == nil {
            places[compared] = entries.count
            entries.append((fields[1], objects))
        }
        return true
    }
}
