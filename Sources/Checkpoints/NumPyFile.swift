// Writing an item as a NumPy .npy file.

import Diagnostics
import Foundation
import Storage

/// The .npy format, version 1.0: a magic string, a header that is a Python dictionary padded to 64 bytes, and the elements in row-major order.
///
/// - Source: "The .npy format", numpy.lib.format.
public enum NumPyFile {
    /// The bytes before the elements.
    static func header(_ elementType: CheckpointElementType, shape: [Int]) -> Data {
        let kind = switch elementType {
        case .float32, .float64: "<f"
        case .uint8: "|u"
        case .uint16, .uint32, .uint64: "<u"
        case .int32, .int64: "<i"
        }
        // A tuple of one takes a comma in Python.
        let tuple = shape.count == 1 ? "(\(shape[0]),)" : "(" + shape.map(String.init).joined(separator: ", ") + ")"
        var text = "{'descr': '\(kind)\(elementType.byteCount)', 'fortran_order': False, 'shape': \(tuple), }"
        let unpadded = 10 + text.utf8.count + 1
        text += String(repeating: " ", count: (64 - unpadded % 64) % 64) + "\n"
        let count = UInt16(text.utf8.count)
        return Data([0x93] + Array("NUMPY".utf8) + [1, 0, UInt8(count & 0xFF), UInt8(count >> 8)] + Array(text.utf8))
    }

    /// Writes an item of a checkpoint to `path`, replacing a file that is there.
    ///
    /// - Throws: `UserError(.inputOutput)` where the file cannot be written; `UserError(.badData)` where there is no such item or a shard is damaged.
    /// - Complexity: memory for one slice.
    public static func write(_ name: String, of reader: CheckpointReader, to path: String) throws {
        guard let item = reader.item(name) else {
            throw UserError(.badData, "it has no item '\(name)'", at: reader.directory, advice: "mneme checkpoint inspect lists its items")
        }
        try Directory.make(Directory.parent(of: path))
        // Opened as it is, never replaced: the path may name a device or a pipe.
        let descriptor = withSystemPath(path) { open($0, O_WRONLY | O_CREAT | O_TRUNC, 0o666) }
        guard descriptor >= 0 else {
            throw UserError(.inputOutput, "cannot create the file: \(String(cString: strerror(errno)))", at: path, advice: "check the permissions")
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
            try checked { try file.write(contentsOf: header(item.elementType, shape: item.shape)) }
            try reader.forEachSlice(of: item) { bytes in
                try checked { try file.write(contentsOf: Data(bytes)) }
            }
            try checked { try file.close() }
        } catch {
            // A part of an array does not stay behind under the name of the whole.
            if Directory.exists(path) == .file { withSystemPath(path, unlink) }
            throw error
        }
    }
}
