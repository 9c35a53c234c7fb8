// Line ends inside of texts that are no lines of a file themselves: fields, members, documents.

import Glibc

/// Lines of a text in memory.
public enum TextLines {
    /// The text with every line end as one line feed: LF, CR LF, CR CR LF (a CR LF that was written as text once more), and CR alone.
    public static func unified(_ text: [UInt8]) -> [UInt8] {
        guard text.contains(0x0d) else { return text }
        return [UInt8](unsafeUninitializedCapacity: text.count) { output, count in
            var i = 0
            while i < text.count {
                guard text[i] == 0x0d else {
                    output[count] = text[i]
                    (count, i) = (count + 1, i + 1)
                    continue
                }
                var next = i
                while next < text.count, text[next] == 0x0d { next += 1 }
                // Carriage returns before a line feed are part of it; others are line ends of their own.
                let ends = next < text.count && text[next] == 0x0a ? 0 : next - i
                for _ in 0..<ends {
                    output[count] = 0x0a
                    count += 1
                }
                i = next
            }
        }
    }

    /// The lines of a text, without their ends; the last one needs none. A line ends at a line feed, with the carriage returns before it; in a text without
    /// any line feed at a carriage return.
    public static func split(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
        let end: UInt8 = text.contains(0x0a) ? 0x0a : 0x0d
        var lines = text.split(separator: end, omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines.map { line in line[..<(line.lastIndex { $0 != 0x0d }.map { $0 + 1 } ?? line.startIndex)] }
    }

    /// A text on one line: line feeds and carriage returns become spaces.
    public static func joined(_ text: String) -> String {
        String(String.UnicodeScalarView(text.unicodeScalars.map { $0 == "\n" || $0 == "\r" ? " " : $0 }))
    }
}
