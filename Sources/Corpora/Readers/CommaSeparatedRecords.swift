// Comma-separated values as RFC 4180 has them.

import Diagnostics
import Glibc
import Inputs

/// Reads the records of a CSV file as fields of bytes.
///
/// A field in quotes may hold commas, line ends and doubled quotes; a line ends at LF, CR or CRLF, and reads as LF; the last record
/// needs no line end; blank lines are passed over. Text behind a closing quote belongs to the field, as for Python's csv and pandas. Memory is bounded by the largest record allowed.
package final class CommaSeparatedRecords {
    package let path: String
    /// The fields of the current record, unquoted. Not checked to be UTF-8.
    package private(set) var fields: [[UInt8]] = []
    /// Where the current record began.
    package private(set) var place: RecordPlace
    /// What is wrong with the current record: too many bytes.
    package private(set) var fault: RecordError?

    private let source: ByteSource
    private let limit: Int
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 256 << 10, alignment: 64)
    private var start = 0
    private var end = 0
    private var line = 1
    private var byte = 0
    private var size = 0
    private var recordEnded = false

    /// - Throws: `UserError(.missingInput)` when the file cannot be opened.
    package init(path: String, maximumRecordBytes: Int = ReaderOptions.defaultMaximumLineBytes) throws {
        source = try ByteSource(path: path)
        self.path = source.path
        place = RecordPlace(file: source.path, line: 1, byte: 0)
        limit = maximumRecordBytes
    }

    deinit {
        buffer.deallocate()
    }

    /// Moves to the next record.
    /// - Returns: false at the end of the file.
    /// - Throws: `UserError(.badData)` for a quote that is not closed: nothing after it can be trusted.
    package func advance() throws -> Bool {
        while true {
            fault = nil
            size = 0
            place = RecordPlace(file: path, line: line, byte: byte)
            fields.removeAll(keepingCapacity: true)
            guard try current() != nil else { return false }
            if byte == 0 { try skipByteOrderMark() }
            recordEnded = false
            while !recordEnded {
                let field = try scanField()
                // Each field counts one byte more than it holds, so that a record of nothing but commas is bounded too.
                size += 1
                if size > limit { tooLong() }
                if fault == nil || fields.isEmpty { fields.append(field) }
            }
            if fields.count > 1 || !fields[0].isEmpty || fault != nil { return true }
        }
    }

    private func skipByteOrderMark() throws {
        while end - start < 3 {
            guard try fill() else { return }
        }
        if buffer[start] == 0xef, buffer[start + 1] == 0xbb, buffer[start + 2] == 0xbf { consume(3) }
    }

    /// Reads one field and the comma or line end after it.
    private func scanField() throws -> [UInt8] {
        var field: [UInt8] = []
        if try current() == UInt8(ascii: "\"") {
            let opened = line
            consume(1)
            try scanQuoted(into: &field, openedAt: opened)
            var rest: [UInt8] = []
            try scanPlain(into: &rest)
            return Self.withoutCarriageReturns(field) + rest
        }
        try scanPlain(into: &field)
        return field
    }

    private func scanQuoted(into field: inout [UInt8], openedAt opened: Int) throws {
        while true {
            guard try current() != nil else { throw unclosed(opened) }
            let window = buffer.baseAddress! + start
            let found = memchr(window, CInt(UInt8(ascii: "\"")), end - start).map { UnsafeRawPointer($0) - UnsafeRawPointer(window) }
            try append(found ?? (end - start), to: &field, quoteOpenedAt: opened)
            guard found != nil else { continue }
            consume(1)
            guard try current() == UInt8(ascii: "\"") else { return }
            field.append(UInt8(ascii: "\""))
            consume(1)
        }
    }

    private func scanPlain(into field: inout [UInt8]) throws {
        while try current() != nil {
            let bytes = buffer.bindMemory(to: UInt8.self)
            var stop = start
            while stop < end, bytes[stop] != UInt8(ascii: ","), bytes[stop] != 0x0a { stop += 1 }
            let found = stop < end
            try append(stop - start, to: &field, quoteOpenedAt: nil)
            guard found else { continue }
            if bytes[start] == 0x0a {
                recordEnded = true
                while field.last == 0x0d { field.removeLast() }
            }
            consume(1)
            return
        }
        recordEnded = true
        while field.last == 0x0d { field.removeLast() }
    }

    private func append(_ count: Int, to field: inout [UInt8], quoteOpenedAt opened: Int?) throws {
        size += count
        if size > limit {
            if let opened { throw unclosed(opened) }
            field.removeAll()
            tooLong()
        } else {
            field.append(contentsOf: UnsafeRawBufferPointer(rebasing: buffer[start..<(start + count)]))
        }
        consume(count)
    }

    private func tooLong() {
        if fault == nil { fault = RecordError("record longer than \(limit) bytes", at: place) }
    }

    private func unclosed(_ opened: Int) -> UserError {
        UserError(
            .badData, "a quote opens here and does not close within \(limit) bytes or the file", at: "\(path):\(opened)",
            advice: "look for a truncated file, or a quote that is not doubled")
    }

    private func consume(_ count: Int) {
        var from = start
        let stop = start + count
        while from < stop, let found = memchr(buffer.baseAddress! + from, 0x0a, stop - from) {
            line += 1
            from = UnsafeRawPointer(found) - UnsafeRawPointer(buffer.baseAddress!) + 1
        }
        start = stop
        byte += count
    }

    private func current() throws -> UInt8? {
        if start == end {
            guard try fill() else { return nil }
        }
        return buffer[start]
    }

    private func fill() throws -> Bool {
        memmove(buffer.baseAddress!, buffer.baseAddress! + start, end - start)
        end -= start
        start = 0
        let count = try source.read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[end...]))
        end += count
        return count > 0
    }

    private static func withoutCarriageReturns(_ field: [UInt8]) -> [UInt8] {
        // Those that are left stand before a line feed.
        field.contains(0x0d) ? field.filter { $0 != 0x0d } : field
    }
}
