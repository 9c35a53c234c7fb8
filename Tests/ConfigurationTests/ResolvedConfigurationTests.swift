import Configuration
import Testing

@Suite struct ResolvedConfigurationTests {
    /// Reads the same keys whatever the text, some of them absent from it.
    private func read(_ tree: ConfigurationTree) throws -> [String] {
        let optimizer = try tree.section("optimizer")
        let model = try tree.section("model")
        let checkpoint = try tree.section("checkpoint")
        let values: [Any] = [
            try tree.root.string("run"), try tree.root.int("seed", default: 1), try optimizer.string("kind"), try optimizer.double("learningRate"),
            try optimizer.double("epsilon", default: 1e-9), try optimizer.doubles("betas"), try optimizer.optionalDouble("decay") as Any,
            try model.double("dropout"), try model.strings("tags", default: ["a b", "true", "12", "", "x: y", "\u{1}é\"\\\n", "~", "plain-word"]),
            try checkpoint.interval("every"), try checkpoint.interval("often", default: .seconds(0.25)), try tree.root.bool("fast", default: true),
            try tree.section("empty").keys, try model.section("inner").double("limit", default: .infinity),
            try checkpoint.interval("off", default: .never),
        ]
        return values.map { "\($0)" }
    }

    @Test func holdsEveryValueAndReadsBackTheSame() throws {
        let first = try tree(exampleRun, "optimizer.learningRate=0.1234567890123456789", "seed=3")
        let values = try read(first)
        let resolved = first.resolvedYAML()
        let second = try tree(resolved)
        #expect(try read(second) == values)
        #expect(second.resolvedYAML() == resolved)
        try second.finish()
    }

    @Test func writesInTheOrderOfReading() throws {
        let tree = try tree("b: {y: 1, x: 7e-4}\na: 600 s\nc: {}\n")
        _ = try tree.root.interval("a")
        let b = try tree.section("b")
        _ = try b.double("x")
        _ = try tree.section("c")
        _ = try tree.section("absent")
        _ = try b.int("y")
        _ = try b.ints("z", default: [1, 2])
        _ = try b.section("deep").string("word", default: "no")
        _ = try b.optionalInt("w")
        #expect(tree.resolvedYAML() == """
            a: 600 s
            b:
              x: 0.0007
              y: 1
              z: [1, 2]
              deep:
                word: "no"
            c: {}

            """)
    }

    @Test(arguments: [0.1, 1 / 3.0, .leastNonzeroMagnitude, .greatestFiniteMagnitude, -0.0, 1e22, 123456789.125, -.infinity])
    func floatingPointNumbersKeepTheirBits(value: Double) throws {
        let written = try ConfigurationTree(yaml: "", file: "x.yaml")
        _ = try written.root.double("a", default: value)
        #expect(try tree(written.resolvedYAML()).root.double("a").bitPattern == value.bitPattern)
    }
}

@Suite struct SpellingTests {
    @Test(arguments: [
        ("", "", 0), ("abc", "", 3), ("learnrate", "learningrate", 3), ("lanse", "lanes", 1), ("ca", "abc", 3), ("kitten", "sitting", 3),
        ("same", "same", 0),
    ])
    func distance(first: String, second: String, expected: Int) {
        #expect(Spelling.distance(Array(first), Array(second)) == expected)
        #expect(Spelling.distance(Array(second), Array(first)) == expected)
    }

    @Test func nearestWordsComeFirst() {
        #expect(Spelling.ranked(["groups", "length", "lanes"], nearestTo: "lane") == ["lanes", "length", "groups"])
        #expect(Spelling.likelyMeaning(of: "LEARNRATE", among: ["clip", "learningRate"]) == "learningRate")
        #expect(Spelling.likelyMeaning(of: "zzzzzz", among: ["clip", "learningRate"]) == nil)
        #expect(Spelling.likelyMeaning(of: "x", among: []) == nil)
    }
}
