import Corpora
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct ReaderArticleTests {
    private let url = "http://web.archive.org/web/2015/http://www.cnn.com/a/"
    private var identifier: String { SHA1Digest(of: url.utf8).hexadecimal }

    @Test func stories() throws {
        let directory = try TemporaryDirectory()
        try directory.write("First  line.\r\n\r\n Second\u{a0}line. \n\n@highlight\n\nOne\n\n@highlight\n\nTwo", to: "cnn/b.story")
        try directory.write("Only text", to: "dm/a.story")
        try directory.write("@highlight\n\nOnly highlight\n", to: "dm/c.story")
        try directory.write([0x41, 0x0a, 0xff], to: "dm/d.story")
        try directory.write("ignored", to: "dm/readme.txt")
        let got = try Reading(.cnnDailyMail, [directory.path])
        #expect(got.sources == ["First  line.\nSecond\u{a0}line.", "Only text", ""])
        #expect(got.targets == ["One\nTwo", "", "Only highlight"])
        #expect(got.records[0].place.file == directory.path + "/cnn/b.story")
        #expect(got.errors.map(\.place) == [RecordPlace(file: directory.path + "/dm/d.story", line: 2, byte: 2)])
        #expect(got.records.allSatisfy { $0.target != nil })
    }

    @Test func urlListsSelect() throws {
        let directory = try TemporaryDirectory()
        try directory.write("text\n\n@highlight\n\nsummary", to: "s/\(identifier).story")
        try directory.write("other\n\n@highlight\n\nsummary", to: "s/\(String(repeating: "0", count: 40)).story")
        let list = try directory.write("\(url)\r\n\nhttp://elsewhere\n", to: "urls.txt")
        #expect(try Reading(.cnnDailyMail, [directory.path + "/s"]).records.count == 2)
        #expect(try Reading(.cnnDailyMail, [directory.path + "/s"]) { $0.urlList = list }.sources == ["text"])
        let csv = try directory.write("id,article,highlights\n\(identifier),in,x\n0,out,y\n", to: "a.csv")
        #expect(try Reading(.cnnDailyMail, [csv]) { $0.urlList = list }.sources == ["in"])
        let json = try directory.write("{\"id\":\"\(identifier)\",\"article\":\"in\",\"highlights\":\"x\"}\n{\"id\":\"0\"}\n{}\n", to: "a.jsonl")
        let got = try Reading(.cnnDailyMail, [json]) { $0.urlList = list }
        #expect(got.sources == ["in"])
        #expect(got.errors.map(\.place.line) == [3])
        let empty = try directory.write("\n", to: "none.txt")
        #expect(userError { _ = try Reading(.cnnDailyMail, [csv]) { $0.urlList = empty } }?.exitCode == .badData)
        let noIdentifier = try directory.write("article,highlights\na,b\n", to: "noid.csv")
        #expect(userError { _ = try Reading(.cnnDailyMail, [noIdentifier]) { $0.urlList = list } }?.exitCode == .badData)
    }

    @Test func commaSeparated() throws {
        let directory = try TemporaryDirectory()
        let text =
            "\u{feff}id,article,highlights\r\n1,plain,\"a \"\"quoted\"\" word\"\r\n\n2,\"two\r\nlines, and a comma\n\",\"\"\n"
            + "3,a \"b\" c,\u{2028}\n4,\"x\",y\n5,\"q\"r,\"c\"d\"e\""
        for path in [try directory.write(text, to: "a.csv"), try directory.writeCompressed(Array(text.utf8), to: "a.csv.gz")] {
            let got = try Reading(.cnnDailyMail, [path])
            #expect(got.sources == ["plain", "two\nlines, and a comma\n", "a \"b\" c", "x", "qr"])
            #expect(got.targets == ["a \"quoted\" word", "", "\u{2028}", "y", "cd\"e\""])
            #expect(got.records.map(\.place.line) == [2, 4, 7, 8, 9])
        }
    }

    @Test func wrongRecordsAreSkipped() throws {
        let directory = try TemporaryDirectory()
        let long = String(repeating: "z", count: 5000)
        let bytes = Array("article,highlights\na,b\nonly one\na,b,c\n\"a\"x\n\(long),b\n".utf8) + [0xff] + Array(",b\nc,d\n".utf8)
        let path = try directory.write(bytes, to: "a.csv")
        let got = try Reading(.cnnDailyMail, [path]) { $0.maximumLineBytes = 1000 }
        #expect(got.sources == ["a", "c"])
        #expect(got.errors.map(\.place.line) == [3, 4, 5, 6, 7])
    }

    @Test func aRecordOfCommasIsBounded() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("article,highlights\n" + String(repeating: ",", count: 5000) + "\na,b\n", to: "a.csv")
        let got = try Reading(.cnnDailyMail, [path]) { $0.maximumLineBytes = 1000 }
        #expect(got.sources == ["a"] && got.errors.map(\.place.line) == [2])
        #expect(got.errors.first?.what == "record longer than 1000 bytes")
    }

    @Test func aQuoteThatIsNotClosed() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("article,highlights\na,b\nc,\"never\nclosed\n", to: "a.csv")
        let error = userError { _ = try Reading(.cnnDailyMail, [path]) }
        #expect(error?.exitCode == .badData)
        #expect(error?.place == "\(path):3")
        let wrongHeader = try directory.write("text,summary\na,b\n", to: "b.csv")
        #expect(userError { _ = try Reading(.cnnDailyMail, [wrongHeader]) }?.exitCode == .badData)
        let large = try directory.write("article,highlights\n\"" + String(repeating: "a\n", count: 3000), to: "c.csv")
        #expect(userError { _ = try Reading(.cnnDailyMail, [large]) { $0.maximumLineBytes = 1000 } }?.place == "\(large):2")
    }

    @Test func fieldsAcrossBuffers() throws {
        let directory = try TemporaryDirectory()
        var text = "article,highlights\n"
        var articles: [String] = []
        for index in 0..<40 {
            let article = String(repeating: "some \"quoted\", text\n", count: index * 97 % 1300)
            articles.append(article)
            text += "\"\(article.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\""))\",\(index)\n"
        }
        let got = try Reading(.cnnDailyMail, [try directory.write(text, to: "a.csv")])
        #expect(got.sources == articles)
        #expect(got.targets == (0..<40).map(String.init))
    }

    @Test func jsonLines() throws {
        let directory = try TemporaryDirectory()
        let lines = [
            #"{"article": "a \"b\" \\ \/ \n\t\r\b\f \u00e9\u20AC\ud834\udd1e", "highlights": "x\ny", "id": "1"}"#,
            #" { "n" : [1, -2.5e3, {"deep": [null, true, false]}, "s"], "highlights":"é", "article":"" } "#,
            "",
            #"{"article": "a"}"#,
            #"{"article": 3, "highlights": "x"}"#,
            #"{"article": "a", "highlights": "x""#,
            #"{"article": "a", "highlights": "x"} more"#,
            #"{"article": "\ud834", "highlights": "x"}"#,
            #"{"article": "\q", "highlights": "x"}"#,
            #"["article"]"#,
            #"{"article": "a", "highlights": "x", "z": nul}"#,
            #"{"article": "a", "highlights": "x", "z": "# + String(repeating: "[", count: 100_000) + "}",
            #"{"article": "last", "highlights": "z"}"#,
        ]
        let got = try Reading(.cnnDailyMail, [try directory.write(lines.joined(separator: "\n"), to: "a.jsonl")])
        #expect(got.sources == ["a \"b\" \\ / \n\t\n\u{8}\u{c} é€𝄞", "", "last"])
        #expect(got.targets == ["x\ny", "é", "z"])
        #expect(got.errors.map(\.place.line) == Array(4...12))
    }

    @Test func lineEndsInsideOfMembersAreOne() throws {
        let directory = try TemporaryDirectory()
        let text = #"{"article": "a\r\nb\r\r\nc\rd\n", "highlights": "x\r\ny"}"#
        let json = try Reading(.cnnDailyMail, [try directory.write(text, to: "a.jsonl")])
        let csv = try Reading(.cnnDailyMail, [try directory.write("article,highlights\n\"a\r\nb\nc\nd\n\",\"x\r\ny\"\n", to: "a.csv")])
        #expect(json.sources == ["a\nb\nc\nd\n"] && json.targets == ["x\ny"])
        #expect(csv.sources == json.sources && csv.targets == json.targets)
    }

    @Test(arguments: ["01", "+1", ".5", "1.", "-", "1e", "1e+", "0x1", "NaN", "-Infinity", "1.5.2", "--1"])
    func numbersThatAreNone(_ number: String) throws {
        let directory = try TemporaryDirectory()
        let got = try Reading(
            .cnnDailyMail, [try directory.write("{\"article\":\"a\",\"highlights\":\"h\",\"n\":[\(number)]}", to: "a.jsonl")])
        #expect(got.records.isEmpty && got.errors.count == 1 && got.errors[0].what.hasPrefix("not JSON"), "\(got.errors)")
        // One rule, whoever reads.
        #expect(throws: (any Error).self) { try JSONDecoder().decode([Double].self, from: Data("[\(number)]".utf8)) }
    }

    @Test(arguments: ["0", "-0", "1e5", "1E-05", "0.5e+3", "-12.25", "10"])
    func numbers(_ number: String) throws {
        let directory = try TemporaryDirectory()
        let got = try Reading(
            .cnnDailyMail, [try directory.write("{\"article\":\"a\",\"highlights\":\"h\",\"n\": \(number)}", to: "a.jsonl")])
        #expect(got.records.count == 1 && got.errors.isEmpty)
    }

    @Test func repeatedNames() throws {
        let directory = try TemporaryDirectory()
        let got = try Reading(
            .cnnDailyMail,
            [
                try directory.write(
                    #"{"article":"a","article":"b","highlights":"h"}"# + "\n" + #"{"article":"a","highlights":"h","highlights":3}"#, to: "a.jsonl")
            ])
        #expect(got.sources == ["b"] && got.errors.map(\.place.line) == [2])
        let csv = try directory.write("article,highlights,article\na,b,c\n", to: "a.csv")
        #expect(userError { _ = try Reading(.cnnDailyMail, [csv]) }?.description.contains("names article twice") == true)
    }

    /// As `line.strip().lower().startswith("@highlight")` of the reference preparation has it: nothing of a summary may get into its article.
    @Test(arguments: ["@highlight", " @highlight\t", "@highlight\u{a0} ", "@highlight:", "@Highlight The secret summary.", "@highlights"])
    func whateverFollowsTheHighlightMark(_ mark: String) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("\u{a0}First.\n\n\(mark)\n\nA summary.\n\n@highlight\n\nAnother.\u{3000}\n", to: "a.story")
        let got = try Reading(.cnnDailyMail, [path])
        #expect(got.sources == ["First."] && got.targets == ["A summary.\nAnother."])
        let text = StoryText(Array("First.\r\n\(mark)\rA summary.".utf8))
        #expect(text.article == Array("First.".utf8) && text.highlights == Array("A summary.".utf8))
    }

    @Test func aNameThatTellsNoForm() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("x", to: "a.parquet")
        #expect(userError { _ = try Reading(.cnnDailyMail, [path]) }?.exitCode == .usage)
    }
}
