import Corpora
import Diagnostics
import TestSupport
import Testing

@Suite struct ReaderBabiTests {
    private let story = """
        1 Mary moved to the bathroom.
        2 John went to the hallway.
        3 Where is Mary? \tbathroom\t1
        4 Mary took the milk.
        5 What is Mary carrying?\tmilk,apple\t4 1
        1 Bill went home.
        2 Where is Bill?\thome\t1

        """

    @Test func questionsWithTheFactsBeforeThem() throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write(story, to: "qa8_lists-sets_train.txt")
        let reader = try CorpusFormat.babi.makeReader(inputs: [path])
        #expect(reader.labels == ["qa8_lists-sets"])
        #expect(reader.isPaired)
        let got = try Reading(reader)
        #expect(
            got.sources == [
                "Mary moved to the bathroom.\nJohn went to the hallway.\nWhere is Mary?",
                "Mary moved to the bathroom.\nJohn went to the hallway.\nMary took the milk.\nWhat is Mary carrying?",
                "Bill went home.\nWhere is Bill?",
            ])
        #expect(got.targets == ["bathroom", "milk,apple", "home"])
        #expect(got.records.map(\.label) == [0, 0, 0])
        #expect(got.records.map(\.place.line) == [3, 5, 7])
    }

    @Test func directoriesAndSplits() throws {
        let directory = try TemporaryDirectory()
        for name in ["qa10_indefinite-knowledge", "qa2_two-supporting-facts", "qa1"] {
            for split in ["train", "test", "valid"] { try directory.write("1 A \(split).\n2 \(name)?\ty\t1\n", to: "\(name)_\(split).txt") }
        }
        try directory.write("not a task", to: "notes.txt")
        let reader = try CorpusFormat.babi.makeReader(inputs: [directory.path])
        #expect(reader.labels == ["qa1_single-supporting-fact", "qa2_two-supporting-facts", "qa10_indefinite-knowledge"])
        let got = try Reading(reader)
        #expect(got.records.map(\.label) == [0, 1, 2])
        #expect(got.sources.first == "A train.\nqa1?")
        for split in ["test", "valid"] {
            #expect(try Reading(.babi, [directory.path]) { $0.split = split }.sources.allSatisfy { $0.hasPrefix("A \(split).") })
        }
        #expect(userError { _ = try Reading(.babi, [directory.path]) { $0.split = "dev" } }?.exitCode == .missingInput)
        let own = try directory.write("1 A.\n2 q?\ty\t1\n", to: "my-stories.txt")
        #expect(try CorpusFormat.babi.makeReader(inputs: [own]).labels == ["my-stories"])
    }

    @Test(arguments: [
        "Mary moved.", "x Mary moved.", "2 Out of order.", "9 Where?\t\t1", "9 Where?\there\t8", "9 Where?\there\t3", "9 Where?\there\tx", "0 Zero.",
        "9 ", "9", "9 Where?\t", "9 \there\t1",
    ])
    func aMalformedLineCostsTheRestOfItsStory(_ line: String) throws {
        let directory = try TemporaryDirectory()
        let path = try directory.write("1 A.\n2 B.\n3 q?\ty\t1\n\(line)\n10 C.\n11 r?\ty\t1\n1 D.\n2 s?\tz\t1\n", to: "qa1_train.txt")
        let got = try Reading(.babi, [path])
        #expect(got.sources == ["A.\nB.\nq?", "D.\ns?"])
        #expect(got.errors.map(\.place.line) == [4])
    }

    @Test func storiesThatEndInFactsAreCounted() throws {
        let directory = try TemporaryDirectory()
        let whole = "1 A.\n2 q?\ty\t1\n1 B.\n1 C.\n2 r?\tz\t1\n"
        for (text, count) in [(whole, 1), (String(whole.dropLast(6)), 2), ("1 A.\nbroken\n", 0), ("", 0)] {
            let reader = BabiReader(files: [try directory.write(text, to: "qa1_train.txt")])
            var errors = 0
            while true {
                do { if try reader.next() == nil { break } } catch is RecordError { errors += 1 }
            }
            #expect(reader.storiesEndingInFacts == count && errors == (text.hasSuffix("broken\n") ? 1 : 0), "\(text)")
        }
    }

    @Test func carriageReturnsAndBadBytes() throws {
        let directory = try TemporaryDirectory()
        let bytes = Array("1 A.\r\n2 q?\ty\t1\r\n1 B.\r\n2 ".utf8) + [0xff] + Array("\r\n3 q?\ty\t1\r\n\r\n1 C.\r\n2 r?\tz\t1".utf8)
        let got = try Reading(.babi, [try directory.write(bytes, to: "qa1_train.txt")])
        #expect(got.sources == ["A.\nq?", "C.\nr?"])
        #expect(got.errors.map(\.place.line) == [4])
    }
}
