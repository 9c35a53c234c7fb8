import Configuration
import Diagnostics
import Foundation
import Testing

@Suite struct ConfigurationErrorTests {
    @Test func unknownKeysNameLineAndNearestKey() throws {
        let tree = try tree("seed: 1\noptimizer:\n  kind: adamw\n  learnrate: 1e-3\n")
        _ = try tree.root.int("seed")
        let optimizer = try tree.section("optimizer")
        _ = try optimizer.string("kind")
        _ = try optimizer.double("learningRate", default: 1e-3)
        _ = try optimizer.doubles("betas", default: [0.9, 0.999])
        #expect(message { try tree.finish() } == "x.yaml:4: unknown key 'optimizer.learnrate'; did you mean 'learningRate'?")
        #expect(message { try optimizer.finish() } == "x.yaml:4: unknown key 'optimizer.learnrate'; did you mean 'learningRate'?")
    }

    @Test func unknownKeysOfAnotherSectionAreSentThere() throws {
        let tree = try tree("lanes: 4\nbatch: {length: 3}")
        let batch = try tree.section("batch")
        _ = try batch.int("lanes", default: 1)
        _ = try batch.int("length", default: 1)
        #expect(message { try tree.finish() } == "x.yaml:1: unknown key 'lanes'; did you mean 'batch.lanes'?")
    }

    @Test func unknownKeysLikeNoOtherListTheValidOnes() throws {
        let tree = try tree("\nqqqqqqqq: 4\n")
        _ = try tree.root.int("seed", default: 1)
        _ = try tree.section("batch")
        #expect(message { try tree.finish() } == "x.yaml:2: unknown key 'qqqqqqqq'; valid keys here, nearest first: seed, batch")
        let empty = try ConfigurationTree(yaml: "a: {b: 1}", file: "x.yaml")
        _ = try empty.section("a")
        #expect(message { try empty.finish() } == "x.yaml:1: unknown key 'a.b'; this section has no keys")
    }

    @Test func misspeltSectionsAreFound() throws {
        let unread = try tree("seed: 1\noptimzer: {kind: sgd}")
        _ = try unread.root.int("seed")
        _ = try unread.section("optimizer").string("kind", default: "adamw")
        #expect(message { try unread.finish() } == "x.yaml:2: unknown key 'optimzer'; did you mean 'optimizer'?")
        let required = try tree("seed: 1\noptimzer: {kind: sgd}")
        let text = message { _ = try required.section("optimizer").string("kind") }
        #expect(text == "x.yaml: missing key 'optimizer.kind'; is 'optimzer' on line 2 meant to be 'optimizer'?")
    }

    @Test func missingKeysNameTheSectionAndAPossibleSlip() throws {
        let tree = try tree("a: 1\ncorpus:\n  shard: x\n")
        let corpus = try tree.section("corpus")
        #expect(message { _ = try corpus.string("shards") }
            == "x.yaml:2: missing key 'corpus.shards'; is 'corpus.shard' on line 3 meant to be 'corpus.shards'?")
        #expect(message { _ = try corpus.string("tokenizer") }
            == "x.yaml:2: missing key 'corpus.tokenizer'; write it there or give --set corpus.tokenizer=VALUE")
        #expect(message { _ = try tree.section("absent").int("x") } == "x.yaml: missing key 'absent.x'; write it there or give --set absent.x=VALUE")
    }

    @Test func illTypedValuesNameKeyLineTypeAndText() throws {
        let tree = try tree("batch:\n  lanes: many\n  length: \"64\"\n  groups: 0\n  shape: [1, two]\n  on: 1\n  empty:\n  s: {a: 1}\nmodel: 5")
        let batch = try tree.section("batch")
        #expect(message { _ = try batch.int("lanes", in: 1...) } == "x.yaml:2: 'batch.lanes' must be an integer of at least 1, found 'many'")
        #expect(message { _ = try batch.int("length") } == "x.yaml:3: 'batch.length' must be an integer, found the quoted text '64'")
        #expect(message { _ = try batch.optionalInt("groups", in: 1...8) } == "x.yaml:4: 'batch.groups' must be an integer from 1 to 8, found '0'")
        #expect(message { _ = try batch.ints("shape") } == "x.yaml:5: 'batch.shape' must be a list of integers, found a list")
        #expect(message { _ = try batch.bool("on") } == "x.yaml:6: 'batch.on' must be true or false, found '1'")
        #expect(message { _ = try batch.int("empty", default: 3) } == "x.yaml:7: 'batch.empty' must be an integer, found no value")
        #expect(message { _ = try batch.string("s") } == "x.yaml:8: 'batch.s' must be a text, found a section")
        #expect(message { _ = try tree.section("model") } == "x.yaml:9: 'model' must be a section, found '5'")
    }

    @Test func rangesAreSaidInWords() throws {
        let root = try tree("a: 5\nb: [5]").root
        #expect(message { _ = try root.double("a", in: 0..<1) } == "x.yaml:1: 'a' must be a number from 0.0 up to but not 1.0, found '5'")
        #expect(message { _ = try root.double("a", in: ...1) } == "x.yaml:1: 'a' must be a number of at most 1.0, found '5'")
        #expect(message { _ = try root.int("a", in: ..<5) } == "x.yaml:1: 'a' must be an integer below 5, found '5'")
        #expect(message { _ = try tree("c: 0").root.double("c", in: Double.leastNonzeroMagnitude...) }
            == "x.yaml:1: 'c' must be a number greater than 0, found '0'")
        #expect(
            message { _ = try root.doubles("b", count: 2, in: 0...9) }
                == "x.yaml:2: 'b' must be a list of 2 numbers, each from 0.0 to 9.0, found a list")
    }

    @Test func duplicateKeysAreErrorsAtTheSecond() {
        #expect(message { _ = try tree("seed: 1\nbatch:\n  lanes: 1\n  length: 2\n  lanes: 3\n") }
            == "x.yaml:5: the key 'lanes' stands twice in its section; remove one of the two")
        #expect(message { _ = try tree("seed: 1\nbatch: {lanes: 1, lanes: 3}\n") }
            == "x.yaml:2: the key 'lanes' stands twice in its section; remove one of the two")
        #expect(message { _ = try tree("a: 1\n\"a\": 2") } == "x.yaml:2: the key 'a' stands twice in its section; remove one of the two")
    }

    @Test(arguments: [
        ("a: [1, 2\nb: 3", "x.yaml:2:2: not valid YAML: "), ("a: b: c", "x.yaml:1:5: not valid YAML: "),
        ("a:\n\t- b", "x.yaml:2:1: not valid YAML: "),
        ("a: \"open", "x.yaml:1:9: not valid YAML: "), ("a: *nobody", "x.yaml:1:4: not valid YAML: "),
        ("a: 1\n---\nb: 2\n", "x.yaml:2:1: not valid YAML: "),
        ("a: 1\nb: \u{1}\n", "x.yaml:2:4: not valid YAML: "), ("[1, 2]", "x.yaml:1: a configuration is a section of keys, found a list"),
        ("word", "x.yaml:1: a configuration is a section of keys, found 'word'"), ("? [a]\n: 1", "x.yaml:1: a key must be a word"),
    ])
    func brokenYAMLNamesItsPlace(yaml: String, start: String) {
        let text = message { _ = try tree(yaml) }
        #expect(text.hasPrefix(start), "\(text)")
        #expect(!text.contains("\n"))
    }

    @Test func textThatIsNestedWithoutEndIsAnError() {
        let text = message { _ = try tree("a: " + String(repeating: "[", count: 100_000)) }
        #expect(text.hasPrefix("x.yaml:1:5: not valid YAML: "))
    }

    @Test func bytesThatAreNotUTF8NameTheirPlace() {
        #expect(message { _ = try ConfigurationTree(utf8: Array("a: 1\nb: ".utf8) + [0xFF, 0x0A], file: "x.yaml") }
            == "x.yaml:2:4: not UTF-8: byte 0xff; save the file as UTF-8")
        #expect(message { _ = try ConfigurationTree(utf8: Array("é: ".utf8) + [0xC3], file: "x.yaml") }
            == "x.yaml:1:5: not UTF-8: byte 0xc3; save the file as UTF-8")
    }

    @Test func filesThatCannotBeReadSaySo() throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent(
            "mneme-configuration-\(ProcessInfo.processInfo.processIdentifier)")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        let missing = directory.appendingPathComponent("none.yaml").path
        #expect(
            message(exitCode: .missingInput) { _ = try ConfigurationTree(contentsOf: missing) } == "\(missing): there is no such file; check the path")
        #expect(message(exitCode: .missingInput) { _ = try ConfigurationTree(contentsOf: directory.path) }
            == "\(directory.path): is a directory where a file was expected; name a file")
        #expect(try ConfigurationTree(contentsOf: "/dev/null").root.keys.isEmpty)
        let file = directory.appendingPathComponent("run.yaml")
        try Data("seed: 5\n".utf8).write(to: file)
        #expect(try ConfigurationTree(contentsOf: file.path).root.int("seed") == 5)
    }

    @Test func readersCanReportErrorsOfTheirOwn() throws {
        let batch = try tree("batch:\n  lanes: 64", "batch.groups=3").section("batch")
        #expect(batch.error("lanes", "is 64, which 3 ranks do not divide", advice: "choose 63").description
            == "x.yaml:2: 'batch.lanes' is 64, which 3 ranks do not divide; choose 63")
        #expect(batch.error("groups", "is no power of two").description == "--set batch.groups: 'batch.groups' is no power of two")
    }
}
