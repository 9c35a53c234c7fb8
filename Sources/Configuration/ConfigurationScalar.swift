// How scalars of a configuration are read from text and written back.

/// How often something happens: counted in optimizer steps or on the clock.
public enum ConfigurationInterval: Hashable, Sendable {
    /// Every so many optimizer steps.
    case steps(Int)
    /// Every so many seconds of wall-clock time.
    case seconds(Double)
    /// Not at all.
    case never
}

/// Reading and writing of scalar texts.
enum ConfigurationScalar {
    /// A decimal integer; underscores may group digits (`20_000`).
    static func int(_ text: String) -> Int? {
        hasGroupedDigits(text) ? Int(text.filter { $0 != "_" }) : nil
    }

    /// Whether a text is a decimal integer, of however many digits, above `limit`.
    static func isAbove(_ text: String, _ limit: Int) -> Bool {
        guard hasGroupedDigits(text) else { return false }
        let digits = text.utf8.filter { $0 != UInt8(ascii: "_") && $0 != UInt8(ascii: "+") }
        guard !digits.isEmpty, digits.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }) else { return false }
        return int(text).map { $0 > limit } ?? true
    }

    /// A decimal number, with or without point and exponent, or `.inf`.
    static func double(_ text: String) -> Double? {
        switch text.lowercased() {
        case ".inf", "+.inf": return .infinity
        case "-.inf": return -.infinity
        default: break
        }
        guard hasGroupedDigits(text), let value = Double(text.filter { $0 != "_" }), value.isFinite else { return nil }
        return value
    }

    /// Whether `text` has only the characters of decimal numbers, and underscores only between digits.
    private static func hasGroupedDigits(_ text: String) -> Bool {
        guard text.utf8.allSatisfy({ "0123456789+-.eE_".utf8.contains($0) }) else { return false }
        let bytes = Array(text.utf8)
        func isDigit(_ index: Int) -> Bool { bytes.indices.contains(index) && (48...57).contains(bytes[index]) }
        return bytes.indices.allSatisfy { bytes[$0] != UInt8(ascii: "_") || (isDigit($0 - 1) && isDigit($0 + 1)) }
    }

    /// `true` or `false`, in lower case, upper case or with a capital.
    static func bool(_ text: String) -> Bool? {
        switch text {
        case "true", "True", "TRUE": true
        case "false", "False", "FALSE": false
        default: nil
        }
    }

    /// `500` or `500 steps`, `30 s`, `10 min`, `2 h`, `1 d`, `never`.
    static func interval(_ text: String) -> ConfigurationInterval? {
        if text == "never" { return .never }
        let numberEnd = text.firstIndex(of: " ") ?? text.firstIndex(where: \.isLetter) ?? text.endIndex
        let number = String(text[..<numberEnd])
        let unit = text[numberEnd...].drop { $0 == " " }
        switch unit {
        case "", "step", "steps":
            return int(number).flatMap { $0 > 0 ? .steps($0) : nil }
        default:
            guard let length = secondsByUnit[String(unit)], let count = double(number), count > 0 else { return nil }
            return .seconds(count * length)
        }
    }

    private static let secondsByUnit: [String: Double] = [
        "s": 1, "sec": 1, "second": 1, "seconds": 1, "min": 60, "minute": 60, "minutes": 60,
        "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
    ]

    /// The text that reads back to the same bits.
    static func yaml(_ value: Double) -> String {
        value.isInfinite ? (value < 0 ? "-.inf" : ".inf") : "\(value)"
    }

    /// The text that reads back to the same interval.
    static func yaml(_ value: ConfigurationInterval) -> String {
        switch value {
        case .steps(let count): return "\(count)"
        case .seconds(let seconds):
            return Int(exactly: seconds).map { "\($0) s" } ?? "\(seconds) s"
        case .never: return "never"
        }
    }

    /// The text, in double quotes unless every YAML reader takes it for a plain string.
    static func yaml(_ value: String) -> String {
        if isSafePlain(value) { return value }
        var quoted = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": quoted += "\\\""
            case "\\": quoted += "\\\\"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            case "\r": quoted += "\\r"
            case _ where scalar.properties.generalCategory == .control || scalar == "\u{2028}" || scalar == "\u{2029}" || scalar == "\u{FEFF}":
                let digits = String(scalar.value, radix: 16, uppercase: true)
                quoted += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }

    /// Words that some YAML reader takes for a truth value or for null.
    private static let reservedWords: Set<String> = ["true", "false", "null", "yes", "no", "on", "off"]

    private static func isSafePlain(_ text: String) -> Bool {
        guard let first = text.utf8.first, !reservedWords.contains(text.lowercased()) else { return false }
        func isLetter(_ byte: UInt8) -> Bool { (65...90).contains(byte) || (97...122).contains(byte) }
        return (isLetter(first) || first == UInt8(ascii: "/"))
            && text.utf8.allSatisfy { isLetter($0) || (48...57).contains($0) || "/_.-+".utf8.contains($0) }
    }
}
