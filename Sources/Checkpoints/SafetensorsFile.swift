// Writing items as one safetensors file.

import Diagnostics
import Foundation

/// The safetensors format: the number of bytes of a header as a 64-bit little-endian integer, the header as JSON, padded with spaces to a multiple of
/// 8 bytes, and the elements of all tensors in row-major, little-endian order without gaps.
///
/// - Source: "Safetensors", format description, huggingface/safetensors.
public enum SafetensorsFile {
    private struct Tensor: Encodable {
        let dtype: String
        let shape: [Int]
        let data_offsets: [Int]
    }

    private enum Entry: Encodable {
        case metadata([String: String])
        case tensor(Tensor)

        func encode(to encoder: any Encoder) throws {
            switch self {
            case .metadata(let values): try values.encode(to: encoder)
            case .tensor(let tensor): try tensor.encode(to: encoder)
            }
        }
    }

    /// Writes items of a checkpoint to `path`, replacing a file that is there. Names lose `parameters/`.
    ///
    /// - Throws: `UserError(.inputOutput)` where the file cannot be written; `UserError(.badData)` where there is no such item, or it is damaged.
    /// - Complexity: reads every item once; memory for one slice.
    public static func write(_ names: [String], of reader: CheckpointReader, to path: String) throws {
        let items = try names.map { try reader.require($0) }
        var entries: [String: Entry] = ["__metadata__": .metadata(["step": String(reader.step), "format": "mneme"])]
        var end = 0
        for item in items {
            let name = item.name.hasPrefix("parameters/") ? String(item.name.dropFirst("parameters/".count)) : item.name
            entries[name] = .tensor(Tensor(dtype: type(item.elementType), shape: item.shape, data_offsets: [end, end + item.byteCount]))
            end += item.byteCount
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var header = try encoder.encode(entries)
        header.append(contentsOf: repeatElement(UInt8(ascii: " "), count: (8 - header.count % 8) % 8))
        try ExportedFile.write(path) { append in
            try withUnsafeBytes(of: UInt64(header.count).littleEndian) { try append($0) }
            try header.withUnsafeBytes { try append($0) }
            for item in items { try reader.verify(item) { try append($0) } }
        }
    }

    private static func type(_ elementType: CheckpointElementType) -> String {
        switch elementType {
        case .float32: "F32"
        case .float64: "F64"
        case .uint8: "U8"
        case .uint16: "U16"
        case .uint32: "U32"
        case .uint64: "U64"
        case .int32: "I32"
        case .int64: "I64"
        }
    }
}
