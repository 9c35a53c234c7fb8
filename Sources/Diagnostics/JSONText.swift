// JSON text from any Encodable value: members in the order of their declaration, one policy for numbers that JSON does not have.

/// Writes values as JSON, for files and for programs that read what a command prints.
///
/// Members keep the order in which a type encodes them, and their names become snake_case; the keys of a dictionary stay as they are, sorted. A
/// floating-point number is written with the fewest digits that read back to the same bits. JSON has no NaN and no infinity: they become `null`.
/// Absent members are left out.
public enum JSONText {
    /// The value as JSON on one line, without its end.
    /// - Throws: what the value's own `encode(to:)` throws.
    public static func line(_ value: some Encodable) throws -> String {
        var text = ""
        try JSONNode.of(value, path: []).write(to: &text)
        return text
    }

    /// A name in camelCase as JSON members are spelled: `worldSize` is `world_size`.
    static func snakeCase(_ name: String) -> String {
        let letters = Array(name)
        var result = ""
        for (index, letter) in letters.enumerated() {
            if letter.isUppercase, index > 0 {
                let startsWord = !letters[index - 1].isUppercase
                let endsRun = index + 1 < letters.count && letters[index + 1].isLowercase
                if letters[index - 1] != "_", startsWord || endsRun { result += "_" }
            }
            result += letter.lowercased()
        }
        return result
    }
}

/// A JSON value under construction.
private final class JSONNode {
    enum Content {
        case literal(String)
        case text(String)
        case array([JSONNode])
        case object([(key: String, value: JSONNode)])
    }

    var content: Content

    init(_ content: Content) { self.content = content }

    static func of(_ value: some Encodable, path: [any CodingKey]) throws -> JSONNode {
        switch value {
        case let value as Double: return number(value)
        case let value as Float: return number(value)
        case let value as String: return JSONNode(.text(value))
        case let value as Bool: return JSONNode(.literal(value.description))
        case let value as any FixedWidthInteger: return JSONNode(.literal("\(value)"))
        case let value as any StringKeyed:
            return JSONNode(.object(try value.sortedMembers(path)))
        default:
            let encoder = NodeEncoder(codingPath: path)
            try value.encode(to: encoder)
            return encoder.node
        }
    }

    static func number(_ value: some BinaryFloatingPoint & CustomStringConvertible) -> JSONNode {
        JSONNode(.literal(value.isFinite ? value.description : "null"))
    }

    func append(_ node: JSONNode) {
        guard case .array(var elements) = content else { return }
        content = .literal("")  // The array has one owner again and grows in place.
        elements.append(node)
        content = .array(elements)
    }

    func set(_ key: String, _ node: JSONNode) {
        guard case .object(var members) = content else { return }
        content = .literal("")  // The array has one owner again and grows in place.
        members.append((key, node))
        content = .object(members)
    }

    func write(to text: inout String) {
        switch content {
        case .literal(let literal): text += literal
        case .text(let string): Self.quote(string, to: &text)
        case .array(let elements):
            text += "["
            for (index, element) in elements.enumerated() {
                if index > 0 { text += "," }
                element.write(to: &text)
            }
            text += "]"
        case .object(let members):
            text += "{"
            for (index, member) in members.enumerated() {
                if index > 0 { text += "," }
                Self.quote(member.key, to: &text)
                text += ":"
                member.value.write(to: &text)
            }
            text += "}"
        }
    }

    private static func quote(_ string: String, to text: inout String) {
        text += "\""
        for scalar in string.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\r": text += "\\r"
            case "\t": text += "\\t"
            case "\u{0}"..<"\u{20}":
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        text += "\""
    }
}

/// Dictionaries whose keys are texts: their order is made, and their keys are data.
private protocol StringKeyed {
    func sortedMembers(_ path: [any CodingKey]) throws -> [(key: String, value: JSONNode)]
}

extension Dictionary: StringKeyed where Key == String, Value: Encodable {
    fileprivate func sortedMembers(_ path: [any CodingKey]) throws -> [(key: String, value: JSONNode)] {
        try sorted { $0.key < $1.key }.map { ($0.key, try JSONNode.of($0.value, path: path + [Name($0.key)])) }
    }
}

private struct Name: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }
    init(_ name: String) { stringValue = name }
    init?(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { stringValue = "\(intValue)" }
}

private final class NodeEncoder: Encoder {
    let codingPath: [any CodingKey]
    var node = JSONNode(.literal("null"))
    var userInfo: [CodingUserInfoKey: Any] { [:] }

    init(codingPath: [any CodingKey]) { self.codingPath = codingPath }

    func container<Name: CodingKey>(keyedBy: Name.Type) -> KeyedEncodingContainer<Name> {
        if case .object = node.content {} else { node.content = .object([]) }
        return KeyedEncodingContainer(Members<Name>(node: node, codingPath: codingPath))
    }

    func unkeyedContainer() -> any UnkeyedEncodingContainer {
        if case .array = node.content {} else { node.content = .array([]) }
        return Elements(node: node, codingPath: codingPath)
    }

    func singleValueContainer() -> any SingleValueEncodingContainer { Single(encoder: self) }
}

private struct Members<Key: CodingKey>: KeyedEncodingContainerProtocol {
    let node: JSONNode
    let codingPath: [any CodingKey]

    private func set(_ key: Key, _ value: JSONNode) { node.set(JSONText.snakeCase(key.stringValue), value) }

    func encodeNil(forKey key: Key) { set(key, JSONNode(.literal("null"))) }
    func encode<Value: Encodable>(_ value: Value, forKey key: Key) throws { set(key, try JSONNode.of(value, path: codingPath + [key])) }

    func nestedContainer<Nested: CodingKey>(keyedBy: Nested.Type, forKey key: Key) -> KeyedEncodingContainer<Nested> {
        let encoder = NodeEncoder(codingPath: codingPath + [key])
        set(key, encoder.node)
        return encoder.container(keyedBy: keyedBy)
    }

    func nestedUnkeyedContainer(forKey key: Key) -> any UnkeyedEncodingContainer {
        let encoder = NodeEncoder(codingPath: codingPath + [key])
        set(key, encoder.node)
        return encoder.unkeyedContainer()
    }

    func superEncoder() -> any Encoder { fatalError("reports have no superclasses") }
    func superEncoder(forKey key: Key) -> any Encoder { fatalError("reports have no superclasses") }
}

private struct Elements: UnkeyedEncodingContainer {
    let node: JSONNode
    let codingPath: [any CodingKey]
    var count: Int { if case .array(let elements) = node.content { elements.count } else { 0 } }

    func encodeNil() { node.append(JSONNode(.literal("null"))) }
    func encode<Value: Encodable>(_ value: Value) throws { node.append(try JSONNode.of(value, path: codingPath)) }

    func nestedContainer<Nested: CodingKey>(keyedBy: Nested.Type) -> KeyedEncodingContainer<Nested> {
        let encoder = NodeEncoder(codingPath: codingPath)
        node.append(encoder.node)
        return encoder.container(keyedBy: keyedBy)
    }

    func nestedUnkeyedContainer() -> any UnkeyedEncodingContainer {
        let encoder = NodeEncoder(codingPath: codingPath)
        node.append(encoder.node)
        return encoder.unkeyedContainer()
    }

    func superEncoder() -> any Encoder { fatalError("reports have no superclasses") }
}

private struct Single: SingleValueEncodingContainer {
    let encoder: NodeEncoder
    var codingPath: [any CodingKey] { encoder.codingPath }

    func encodeNil() { encoder.node = JSONNode(.literal("null")) }
    func encode<Value: Encodable>(_ value: Value) throws { encoder.node = try JSONNode.of(value, path: codingPath) }
}
