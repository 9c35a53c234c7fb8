// Names of files as text that loses no byte.

import Corpora
import Diagnostics
import Testing

@Suite struct PathTextTests {
    @Test func everyNameComesBack() {
        // The bytes by which sequences begin, go on and are cut, those of the private scalars among them.
        let borders: [UInt8] = [0x41, 0x7f, 0x80, 0x8f, 0xbe, 0xbf, 0xc2, 0xe0, 0xe9, 0xed, 0xf0, 0xf4, 0xff]
        var state: UInt64 = 7
        func random(_ bound: Int) -> Int {
            state = mixedBits(state)
            return Int(state % UInt64(bound))
        }
        for _ in 0..<20_000 {
            let bytes = (0..<random(12)).map { _ in borders[random(borders.count)] }
            let text = PathText.text(of: bytes)
            #expect(PathText.bytes(of: text) == bytes)
            let terminated = withSystemPath(text) { pointer in (0...bytes.count).map { UInt8(bitPattern: pointer[$0]) } }
            #expect(terminated == bytes + [0])
            #expect(PathText.shown(text).unicodeScalars.allSatisfy { $0.value < 0x10ff80 })
        }
    }

    @Test func bytesThatAreNoTextAreShownByNumber() {
        #expect(PathText.shown(PathText.text(of: [0x63, 0x61, 0x66, 0xe9])) == "caf\\xE9")
        #expect(PathText.shown("café") == "café" && PathText.text(of: "café".utf8) == "café")
        #expect(PathText.shown(PathText.text(of: "\u{10ffe9}".utf8)) == "\\xF4\\x8F\\xBF\\xA9")
        #expect(UserError(.missingInput, "is absent", at: PathText.text(of: [0xff])).description == "\\xFF: is absent")
    }
}
