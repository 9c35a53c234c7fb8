// The seal on checkpoint.h5: a checksum of the whole file in its user block.

import Diagnostics
import Foundation
import HDF5
import Storage

/// Sealing `checkpoint.h5` and checking the seal.
///
/// The file holds no data, so reading all of it is cheap. HDF5 keeps texts and the places of virtual datasets where it has no checksums of its own,
/// and may crash on wrong bytes there; so the seal is checked before the library sees the file.
package enum JoinedFile {
    /// Bytes of the user block: what HDF5 leaves to others at the beginning of a file.
    package static let userBlockByteCount = 512
    private static let magic = "MNEME-CHECKPOINT"

    /// Writes the seal into the user block of a file that is otherwise complete, and waits until it is on the disk.
    ///
    /// - Throws: `UserError(.inputOutput)`.
    package static func seal(_ path: String) throws {
        let contents = Data(try DurableFile.read(path))
        let file = try DirectFile(path)
        // Less than a block: it goes the ordinary way, from wherever it lies.
        try Array(sealText(contents).utf8).withUnsafeBytes { try file.write($0, at: 0) }
        try file.synchronize()
    }

    /// Makes sure that the file is as it was sealed.
    ///
    /// - Throws: `UserError(.missingInput)` where it is absent; `UserError(.badData)` where it has no seal or differs from it.
    static func check(_ path: String) throws {
        let contents = Data(try DurableFile.read(path))
        guard contents.starts(with: Array(magic.utf8)) else { throw UserError(.badData, "it is not a Mneme checkpoint", at: path) }
        let text = sealText(contents).utf8
        let expected = Array(text) + [UInt8](repeating: 0, count: userBlockByteCount - text.count)
        guard contents.prefix(userBlockByteCount).elementsEqual(expected) else {
            throw UserError(.badData, "checksum mismatch: the file is damaged or was changed", at: path, advice: "use another checkpoint")
        }
    }

    /// What the user block of a file of these contents holds, before zeros.
    private static func sealText(_ contents: Data) -> String {
        var checksum = Checksum()
        contents.dropFirst(userBlockByteCount).withUnsafeBytes { checksum.update($0) }
        let digits = String(checksum.stored, radix: 16)
        let padded = String(repeating: "0", count: 8 - digits.count) + digits
        let byteCount = max(0, contents.count - userBlockByteCount)
        return "\(magic)\ncrc32 \(padded) of the \(byteCount) bytes from \(userBlockByteCount) on\n"
    }
}
