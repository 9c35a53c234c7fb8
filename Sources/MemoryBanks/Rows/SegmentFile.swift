// Segments that are HDF5 files: how they are written and opened, whatever is in them.

import Checkpoints
import Diagnostics
import HDF5
import Storage

/// A segment of a store, opened to be read.
struct SegmentFile {
    let path: String
    let file: HDF5File

    /// Opens a segment, checked against its name.
    /// - Throws: `UserError` (.badData) where it is damaged or of another format, (.missingInput) where it is gone.
    init(_ segment: SegmentReference, in store: SegmentStore, format: String, version: Int) throws {
        path = store.path(of: segment)
        guard Directory.exists(path) == .file else {
            throw UserError(.missingInput, "the segment is gone", at: path, advice: "restore the file from a copy")
        }
        try store.verify(segment)
        file = try HDF5File.openReadOnly(path)
        guard try text("format") == format, try integer("format_version") == version else {
            throw refused("is no segment of the format \(format), version \(version)")
        }
    }

    func refused(_ what: String) -> UserError { UserError(.badData, what, at: path, advice: "restore the bank from a copy") }

    func text(_ name: String) throws -> String {
        guard case .string(let text) = try file.attribute(name) else { throw refused("attribute '\(name)' is no text") }
        return text
    }

    func integer(_ name: String) throws -> Int {
        guard case .integer(let value) = try file.attribute(name) else { throw refused("attribute '\(name)' is no whole number") }
        return Int(value)
    }

    /// Writes an HDF5 file of a format and takes it into the store.
    /// - Parameter part: tells the files of one process apart.
    /// - Throws: `UserError` (.inputOutput).
    static func write(
        to store: SegmentStore, part: String, format: String, version: Int, _ attributes: [(String, HDF5AttributeValue)],
        _ datasets: (HDF5File) throws -> Void
    ) throws -> SegmentReference {
        let path = try store.unfinishedPath(part)
        do {
            try Failpoint.segmentWrite.pass(path)
            let file = try HDF5File.create(path)
            try file.setAttribute("format", .string(format))
            try file.setAttribute("format_version", .integer(Int64(version)))
            for (name, value) in attributes { try file.setAttribute(name, value) }
            try datasets(file)
            try file.close()
        } catch {
            try? Directory.remove(path)
            throw error
        }
        return try store.adopt(path)
    }
}

extension HDF5File {
    /// Writes a list of numbers.
    func write<Element: BitwiseCopyable>(_ values: [Element], _ name: String, _ type: HDF5ElementType) throws {
        try createDataset(name, type, shape: [values.count]).write(values)
    }
}
