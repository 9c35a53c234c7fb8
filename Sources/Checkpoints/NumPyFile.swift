// Writing an item as a NumPy .npy file.

import Foundation

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
        let item = try reader.require(name)
        try ExportedFile.write(path) { append in
            try header(item.elementType, shape: item.shape).withUnsafeBytes { try append($0) }
            try reader.verify(item) { try append($0) }
        }
    }
}
