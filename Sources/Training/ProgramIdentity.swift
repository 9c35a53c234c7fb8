// Which program this is, so that ranks notice when they run different ones.

import Foundation

package enum ProgramIdentity {
    /// A hash of the executable file: differs when a node has an old binary.
    package static let fingerprint: String = {
        guard let file = FileHandle(forReadingAtPath: "/proc/self/exe") else { return "unknown" }
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        while let data = try? file.read(upToCount: 1 << 20), !data.isEmpty {
            data.withUnsafeBytes { bytes in
                for word in stride(from: 0, to: bytes.count & ~7, by: 8) {
                    hash = (hash ^ bytes.loadUnaligned(fromByteOffset: word, as: UInt64.self)) &* 0x100_0000_01B3
                }
                for index in (bytes.count & ~7)..<bytes.count { hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01B3 }
            }
        }
        return String(hash, radix: 16)
    }()
}
