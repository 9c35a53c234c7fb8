// CRC-32 by whichever library there is.

import Foundation
import Storage
import Testing

@Suite struct ChecksumTests {
    @Test func knownValues() {
        func checksum(_ text: String) -> UInt {
            var sum = Checksum()
            Array(text.utf8).withUnsafeBytes { sum.update($0) }
            return sum.value
        }
        // The check value of the catalogue of CRCs, and what Python's zlib.crc32 says.
        #expect(checksum("123456789") == 0xCBF4_3926)
        #expect(checksum("") == 0)
        #expect(checksum("mneme") == 0xDFEE_4D27)
    }

    @Test("both libraries, in one piece or several, from any address")
    func librariesAgree() {
        var state: UInt64 = 7
        let bytes = (0..<70_000).map { _ -> UInt8 in
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return UInt8(state >> 56)
        }
        bytes.withUnsafeBytes { bytes in
            for (begin, count) in [(0, 1), (1, 2), (3, 15), (5, 16), (7, 63), (8, 64), (9, 65), (2, 255), (0, 4096), (11, 4099), (0, 70_000), (13, 69_987)] {
                let whole = UnsafeRawBufferPointer(rebasing: bytes[begin..<begin + count])
                var (one, other, parts, joined) = (Checksum(), Checksum(), Checksum(), Checksum())
                one.update(whole)
                other.update(byZlib: whole)
                let cut = count / 3
                let pieces = [whole[..<cut], whole[cut...]].map { UnsafeRawBufferPointer(rebasing: $0) }
                for piece in pieces {
                    parts.update(piece)
                    var own = Checksum()
                    own.update(piece)
                    joined.append(own, byteCount: piece.count)
                }
                #expect(one == other && parts == other && joined == other, "\(count) bytes from \(begin) on")
            }
        }
    }
}
