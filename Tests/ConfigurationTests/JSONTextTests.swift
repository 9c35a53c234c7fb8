// JSON text: order of members, names, numbers, escapes.

import Foundation
import Testing

import Diagnostics

@Suite struct JSONTextTests {
    private struct Report: Encodable {
        struct Part: Encodable {
            var worldSize = 2
            var missing: Int?
            var small: Float = 0.1
        }
        enum Kind: String, Encodable { case text }

        var zebra = "a \"b\" \\ \n\t\r\u{1} / é \u{1F600}"
        var apple = [1.5, .nan, .infinity, 1e-300]
        var isDone = true
        var parts = [Part(), Part(missing: 3)]
        var kind = Kind.text
        var byName: [String: Double] = ["taskTwo": 2, "a": 1]
        var big = UInt64.max
        var nothing: String?
        var listed: [Int?] = [nil, 1]
        var nested: [[Int]] = [[1, 2], []]
    }

    @Test("members stand in the order of their declaration, and the text is JSON")
    func report() throws {
        let text = try JSONText.line(Report())
        #expect(
            text == #"{"zebra":"a \"b\" \\ \n\t\r\u0001 / é 😀","apple":[1.5,null,null,1e-300],"is_done":true,"#
                + #""parts":[{"world_size":2,"small":0.1},{"world_size":2,"missing":3,"small":0.1}],"kind":"text","#
                + #""by_name":{"a":1.0,"taskTwo":2.0},"big":18446744073709551615,"listed":[null,1],"nested":[[1,2],[]]}"#)
        #expect((try JSONSerialization.jsonObject(with: Data(text.utf8)) as? [String: Any])?["zebra"] as? String == Report().zebra)
        #expect(try JSONText.line([Int]()) == "[]")
        #expect(try JSONText.line(Double.nan) == "null")
    }

    @Test("names become what Foundation's encoder makes of them", arguments: [
        "worldSize", "crc32", "f1", "hitsAt1", "bf16GFLOPs", "aURL", "already_snake", "x", "secondsPerStep", "oneDNNVersion", "a1B",
    ])
    func names(name: String) throws {
        struct Key: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(stringValue: String) { self.stringValue = stringValue }
            init?(intValue: Int) { nil }
        }
        struct One: Encodable {
            var name: String
            func encode(to encoder: any Encoder) throws {
                var container = encoder.container(keyedBy: Key.self)
                try container.encode(1, forKey: Key(stringValue: name))
            }
        }
        let encoder = JSONEncoder()
        encoder.keyEncodingStrategy = .convertToSnakeCase
        #expect(try JSONText.line(One(name: name)) == String(decoding: encoder.encode(One(name: name)), as: UTF8.self))
    }
}
