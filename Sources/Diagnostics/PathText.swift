// Names of files, which are bytes, as text that loses none of them.

/// Paths as `String`s. Most names are UTF-8 and are their own text. A byte of a name that is no part of well-formed UTF-8 is written as one of the
/// last scalars of Unicode's private use: byte b as U+10FF00 + b. A name that holds such scalars itself has their bytes written so: every name has
/// one text, which is no other name's.
public enum PathText {
    private static let firstByte: UInt32 = 0x10ff80
    private static let offset: UInt32 = 0x10ff00

    /// The text of a path's bytes.
    public static func text(of bytes: some Sequence<UInt8>) -> String {
        let bytes = Array(bytes)
        if let text = String(validating: bytes, as: UTF8.self), !holdsBytes(text) { return text }
        var text = String.UnicodeScalarView()
        var iterator = bytes.makeIterator()
        var parser = Unicode.UTF8.ForwardParser()
        var position = 0
        func escape(_ count: Int) {
            for byte in bytes[position..<(position + count)] { text.append(Unicode.Scalar(offset + UInt32(byte)) ?? "\u{fffd}") }
        }
        while true {
            switch parser.parseScalar(from: &iterator) {
            case .valid(let encoded):
                let scalar = Unicode.UTF8.decode(encoded)
                if scalar.value >= firstByte { escape(encoded.count) } else { text.append(scalar) }
                position += encoded.count
            case .error(let length):
                escape(length)
                position += length
            case .emptyInput:
                return String(text)
            }
        }
    }

    /// The bytes of a path.
    public static func bytes(of text: String) -> [UInt8] {
        guard holdsBytes(text) else { return Array(text.utf8) }
        return text.unicodeScalars.flatMap { $0.value >= firstByte ? [UInt8(truncatingIfNeeded: $0.value)] : Array(String($0).utf8) }
    }

    /// The path as people see it: bytes that are not UTF-8 as `\xE9`.
    public static func shown(_ text: String) -> String {
        guard holdsBytes(text) else { return text }
        var shown = ""
        for scalar in text.unicodeScalars {
            if scalar.value >= firstByte {
                shown += "\\x" + String(scalar.value & 0xff, radix: 16, uppercase: true)
            } else {
                shown.unicodeScalars.append(scalar)
            }
        }
        return shown
    }

    fileprivate static func holdsBytes(_ text: String) -> Bool {
        // UTF-8 of these scalars begins with F4 8F BE or F4 8F BF.
        text.utf8.contains(0xf4) && text.unicodeScalars.contains { $0.value >= firstByte }
    }
}

/// Calls `body` with a path's bytes as the system wants them.
@discardableResult
public func withSystemPath<Result>(_ path: String, _ body: (UnsafePointer<CChar>) throws -> Result) rethrows -> Result {
    guard PathText.holdsBytes(path) else { return try path.withCString(body) }
    return try (PathText.bytes(of: path).map { CChar(bitPattern: $0) } + [0]).withUnsafeBufferPointer { try body($0.baseAddress!) }
}

/// The same for a call that takes two paths.
@discardableResult
public func withSystemPaths<Result>(
    _ first: String, _ second: String, _ body: (UnsafePointer<CChar>, UnsafePointer<CChar>) throws -> Result
) rethrows -> Result {
    try withSystemPath(first) { first in try withSystemPath(second) { try body(first, $0) } }
}
