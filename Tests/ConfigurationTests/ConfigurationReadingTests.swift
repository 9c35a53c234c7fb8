import Configuration
import Diagnostics
import Testing

@Suite struct ConfigurationReadingTests {
    @Test func readsEveryTypeFromBlockAndFlowSections() throws {
        let tree = try tree(exampleRun)
        #expect(try tree.root.string("run") == "wmt-en-de")
        #expect(try tree.root.int("steps", in: 1...) == 20_000)
        let optimizer = try tree.section("optimizer")
        #expect(try optimizer.double("learningRate") == 7e-4)
        #expect(try optimizer.doubles("betas", count: 2, in: 0..<1) == [0.9, 0.98])
        #expect(try optimizer.choice("kind", of: ["adam", "adamw"]) == "adamw")
        #expect(try tree.section("checkpoint").interval("every") == .seconds(600))
        #expect(try tree.section("evaluation").interval("every") == .steps(500))
        #expect(try tree.section("parallel").bool("reproducible", default: false) == false)
    }

    @Test(arguments: [
        ("7e-4", 7e-4), ("1", 1), ("-3", -3), ("+0.5", 0.5), (".5", 0.5), ("1e6", 1e6), ("1_000.25", 1000.25), ("6.02E23", 6.02e23),
        (".inf", .infinity),
    ])
    func acceptsNumbers(text: String, value: Double) throws {
        #expect(try tree("a: \(text)").root.double("a") == value)
    }

    @Test(arguments: ["nan", ".nan", "0x10", "1__0", "_1", "1_", "one", "true", "\"1.5\"", "[1]", "{b: 1}", "1,5", "1 2"])
    func refusesWhatIsNoNumber(text: String) throws {
        let root = try tree("a: \(text)").root
        #expect(throws: UserError.self) { try root.double("a") }
        #expect(throws: UserError.self) { try root.int("a") }
    }

    /// Sizes are multiplied: what no product of them could hold is refused where it is written, with the limit.
    @Test func numbersThatAreTooLargeNameTheLimit() throws {
        for text in ["2147483648", "9223372036854775807", "99999999999999999999999", "+3_000_000_000"] {
            let found = message { _ = try tree("b:\n  a: \(text)").section("b").int("a", in: 1...) }
            #expect(found == "x.yaml:2: 'b.a' must be an integer of at most 2147483647, found '\(text)'")
        }
        #expect(message { _ = try tree("a: 5000").root.int("a", in: 1...4096) } == "x.yaml:1: 'a' must be an integer of at most 4096, found '5000'")
        #expect(message { _ = try tree("a: 0").root.int("a", in: 1...4096) } == "x.yaml:1: 'a' must be an integer from 1 to 4096, found '0'")
        #expect(try tree("a: 2147483647").root.int("a", in: 0...) == 2_147_483_647)
        #expect(try tree("a: 9223372036854775807").root.int("a", in: 0...Int.max) == .max)
    }

    @Test func mergeKeysBringWhatTheSectionDoesNotSay() throws {
        let root = try tree("base: &b {x: 1, y: 2}\nother: &o\n  y: 3\n  z: 4\none:\n  <<: *b\n  y: 5\ntwo: {<<: [*b, *o], w: 6}\nthree:\n  \"<<\": 7\n").root
        let one = try root.section("one")
        #expect(try one.int("x") == 1 && one.int("y") == 5)
        let two = try root.section("two")
        #expect(try two.int("x") == 1 && two.int("y") == 2 && two.int("z") == 4 && two.int("w") == 6)
        // In quotes it is a key like any other.
        #expect(try root.section("three").int("<<") == 7)
        for (yaml, found) in [("a: {<<: 3}", "found '3'"), ("a: {<<: [1]}", "found a list"), ("a: {<<: }", "found no value")] {
            #expect(message { _ = try tree(yaml) } == "x.yaml:1: the merge key '<<' takes a section or a list of sections, \(found); write <<: *NAME, where &NAME stands before a section")
        }
        // What is merged is read like any other key, and an unknown one has its own line.
        let unknown = try tree("base: &b\n  q: 1\nuse: {<<: *b}")
        _ = try unknown.section("base").int("q")
        _ = try unknown.section("use").int("x", default: 1)
        #expect(message { try unknown.finish() }.hasPrefix("x.yaml:2: unknown key 'use.q'"))
    }

    @Test(arguments: ["1.0", "1e3", "9223372036854775808"])
    func refusesWhatIsNoInteger(text: String) throws {
        #expect(throws: UserError.self) { try tree("a: \(text)").root.int("a") }
    }

    @Test func takesTextAsItIsWritten() throws {
        let root = try tree("a: 1e3\nb: 007\nc: true\nd: \"x\\ty\"\ne: 'null'\nf: [1.0, yes, b c]").root
        #expect(try root.string("a") == "1e3")
        #expect(try root.string("b") == "007")
        #expect(try root.string("c") == "true")
        #expect(try root.string("d") == "x\ty")
        #expect(try root.string("e") == "null")
        #expect(try root.strings("f") == ["1.0", "yes", "b c"])
    }

    @Test func aSingleValueIsAListOfOne() throws {
        let root = try tree("a: 3\nb: word").root
        #expect(try root.ints("a") == [3])
        #expect(try root.doubles("a") == [3])
        #expect(try root.strings("b") == ["word"])
        #expect(try root.strings("c", default: ["x", "y"]) == ["x", "y"])
        #expect(try root.doubles("a", count: 1) == [3])
        #expect(throws: UserError.self) { try root.doubles("a", count: 2) }
    }

    @Test func optionalReadsGiveNilForAbsentAndNull() throws {
        let tree = try tree("a: ~\nb:\nc: null\nd: 4\nsection:\n")
        for key in ["a", "b", "c", "missing"] {
            #expect(try tree.root.optionalInt(key) == nil)
            #expect(try tree.root.optionalDouble(key) == nil)
            #expect(try tree.root.optionalString(key) == nil)
        }
        #expect(try tree.root.optionalInt("d") == 4)
        #expect(try tree.section("section").int("x", default: 7) == 7)
        try tree.finish()
    }

    @Test(arguments: [
        ("500", ConfigurationInterval.steps(500)), ("500 steps", .steps(500)), ("1 step", .steps(1)), ("30 s", .seconds(30)),
        ("10 min", .seconds(600)),
        ("10min", .seconds(600)), ("1.5 h", .seconds(5400)), ("2 hours", .seconds(7200)), ("1 d", .seconds(86400)), ("never", .never),
        ("\"10 min\"", .seconds(600)),
    ])
    func readsIntervals(text: String, interval: ConfigurationInterval) throws {
        #expect(try tree("every: \(text)").root.interval("every") == interval)
    }

    @Test(arguments: ["0", "-5", "1.5", "0 s", "5 weeks", "min", "10 10", "[5]"])
    func refusesOtherIntervals(text: String) throws {
        let text = message { _ = try tree("every: \(text)").root.interval("every") }
        #expect(text.hasPrefix("x.yaml:1: 'every' must be a number of steps (500), a time (30 s, 10 min, 2 h) or never, found "))
    }

    @Test func readsEnumerations() throws {
        enum Precision: String, CaseIterable { case float32, bfloat16 }
        let root = try tree("precision: bfloat16\nbad: bfloat61").root
        let precision: Precision = try root.choice("precision")
        #expect(precision == .bfloat16)
        #expect(try root.choice("absent", default: Precision.float32) == .float32)
        #expect(message { _ = try root.choice("bad", of: Precision.self) }
            == "x.yaml:2: 'bad' must be one of float32, bfloat16, found 'bfloat61'; did you mean 'bfloat16'?")
        #expect(message { _ = try root.choice("bad", of: ["x", "y"]) } == "x.yaml:2: 'bad' must be one of x, y, found 'bfloat61'")
    }

    @Test func sharesASectionAmongReaders() throws {
        let tree = try tree("a: {x: 1, y: 2}")
        let first = try tree.section("a")
        #expect(try first.int("x") == 1)
        let second = try tree.section("a")
        #expect(try second.int("y") == 2)
        #expect(first === second && first.isPresent && first.keys == ["x", "y"] && first.name(of: "x") == "a.x")
        try tree.finish()
    }

    @Test func readsAnchorsAndEmptyFiles() throws {
        let tree = try tree("base: &b {x: 1}\nother: *b")
        #expect(try tree.section("other").int("x") == 1)
        #expect(try ConfigurationTree(yaml: "", file: "x.yaml").root.keys.isEmpty)
        #expect(try ConfigurationTree(yaml: "# only a comment\n", file: "x.yaml").root.keys.isEmpty)
    }
}
