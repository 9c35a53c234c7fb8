// A file that a command writes for other programs, slice by slice.

import Diagnostics
import Foundation
import Storage

enum ExportedFile {
    /// Writes a file, replacing one that is there. Opened as it is, never renamed: the path may name a device or a pipe.
    ///
    /// - Parameter body: is given what appends bytes.
    /// - Throws: `UserError(.inputOutput)` where the file cannot be written, and what `body` throws. What was written is removed then: a part does not
    ///   stay behind under the name of the whole.
    static func write(_ path: String, _ body: (_ append: (UnsafeRawBufferPointer) throws -> Void) throws -> Void) throws {
        try Directory.make(Directory.parent(of: path))
        let descriptor = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_TRUNC, 0o666) }
        guard descriptor >= 0 else {
            throw UserError(.inputOutput, "cannot create the file: \(systemReason())", at: path, advice: "check the permissions")
        }
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        func checked(_ body: () throws -> Void) throws {
            do { try body() } catch {
                throw UserError(
                    .inputOutput, "cannot write the file: \(systemReason(of: error))", at: path,
                    advice: "check the path, its permissions and the free space")
            }
        }
        do {
            try body { bytes in try checked { try file.write(contentsOf: Data(bytes)) } }
            try checked { try file.close() }
        } catch {
            if Directory.exists(path) == .file { withSystemPath(path, unlink) }
            throw error
        }
    }
}

extension CheckpointReader {
    /// The item of a name that a user gave.
    /// - Throws: `UserError(.badData)`.
    func require(_ name: String) throws -> CheckpointItemDescription {
        guard let item = item(name) else {
            throw UserError(.badData, "it has no item '\(name)'", at: directory, advice: "mneme checkpoint inspect lists its items")
        }
        return item
    }
}
