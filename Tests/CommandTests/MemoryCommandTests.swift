// What a memory did, and what lanes remember, as users see it: evaluate, answer --explain, memory show, memory inspect.

import Foundation
import TestSupport
import Testing

@Suite struct MemoryCommandTests {
    private func trained(_ directory: String, _ name: String, task: String, model: String, steps: Int, more: String = "") throws -> String {
        let path = "\(directory)/\(name).yaml"
        let text = """
            run: \(directory)/\(name)
            seed: 3
            steps: \(steps)
            task: \(task)
            model: \(model)
            batch: {lanes: 8}
            optimizer: {kind: adamw, learningRate: 5e-3, weightDecay: 0, clip: 5.0}
            evaluation: {every: never}
            parallel: {threads: 1}
            \(more)
            """
        try text.write(toFile: path, atomically: true, encoding: .utf8)
        try mneme(["train", path])
        return "\(directory)/\(name)"
    }

    @Test(
        "what was recalled is shown, by layers with a memory and by attention without",
        arguments: [
            (
                "gated-deltanet, layers: 2, width: 12, heads: 3", ["strengths of writing, layer 1"],
                "core.1.memory: 12 keys x 4 values, lifetime sequence, initially 0\n"
            ),
            (
                "sparse-delta, layers: 2, width: 12, heads: 3, rows: 25, start: learned", ["strengths of writing, layer 1", "rows written so far, layer 1"],
                "core.1.memory: 75 rows x 4 columns, lifetime sequence, initially core.1.start\n"
            ),
            (
                "memformer, layers: 1, width: 8, heads: 2, segment: 6, slots: 3", ["what slots take up"],
                "core.slots: 3 slots x 8 units, lifetime sequence, initially core.slotBias, rows of length 1\n"
            ),
            ("decoder-only, layers: 1, width: 8, heads: 2, context: 40", [], nil),
        ] as [(String, [String], String?)])
    func recalled(kind: String, pictures: [String], memory: String?) throws {
        try withScratchDirectory { directory in
            let run = try trained(
                directory, "recall", task: "{kind: mqar, vocabulary: 20, pairs: 3, rewrites: 2, length: 24, examples: 20, testLengths: [4]}",
                model: "{kind: \(kind)}", steps: 3)
            let drawn = try mneme(["memory", "show", run, "--example", "1"]).standardOutput
            #expect(drawn.contains("\nanswer: ") && drawn.contains("\nexpected: "), "\(drawn)")
            #expect(pictures.allSatisfy { drawn.contains($0) } && (!pictures.isEmpty || !drawn.contains("what is read")), "\(drawn)")
            #expect(drawn.contains("rows written so far") == kind.hasPrefix("sparse-delta"), "\(drawn)")
            let inspected = try mneme(["memory", "inspect", run]).standardOutput
            #expect(memory.map { inspected.contains($0) } ?? !inspected.contains("lifetime sequence"), "\(inspected)")
            #expect(try jsonObject(mneme(["evaluate", run, "--json"]).standardOutput)["accuracy_length_4"] is Double)
        }
    }

    @Test("heads over time are drawn, written as SVG and as JSON", arguments: ["ntm", "dnc"])
    func heads(kind: String) throws {
        try withScratchDirectory { directory in
            let run = try trained(
                directory, kind, task: "{kind: copy, bits: 3, lengths: [2, 5], examples: 20, testLengths: [7]}",
                model: "{kind: \(kind), rows: 9, width: 5, readHeads: 2, controller: {width: 12}}", steps: 3)
            let drawn = try mneme(["memory", "show", run]).standardOutput
            #expect(drawn.contains("read weights") && drawn.contains("write weights") && drawn.contains("│"))
            #expect(drawn.contains("\nanswer: ") && drawn.contains("\nexpected: "), "three steps teach nothing")
            let json = try jsonObject(mneme(["memory", "show", run, "--example", "2", "--json"]).standardOutput)
            let pictures = try #require(json["pictures"] as? [[String: Any]])
            #expect(pictures.count >= 2)
            for picture in pictures {
                let count = try #require(picture["values"] as? [Any]).count
                #expect(try count == #require(picture["rows"] as? Int) * #require(picture["columns"] as? Int))
            }
            let svg = "\(directory)/memory.svg"
            #expect(try mneme(["memory", "show", run, "--svg", svg]).standardOutput.isEmpty)
            #expect(try String(contentsOfFile: svg, encoding: .utf8).hasSuffix("</svg>\n"))
            try mneme(["memory", "show", run, "--example=-1"], expecting: 64)
            let unwritable = try mneme(["memory", "show", run, "--svg", "\(directory)/none/memory.svg"], expecting: 74)
            #expect(unwritable.standardError.contains("cannot be written: No such file or directory"), "\(unwritable.standardError)")

            let inspected = try mneme(["memory", "inspect", run]).standardOutput
            #expect(inspected.contains("9 rows x 5 columns, lifetime sequence"))
            let links = "core.links: 9 later rows x 9 earlier rows, lifetime sequence, initially 0\n"
            #expect(kind == "dnc" ? inspected.contains(links) : inspected.contains("core.writeWeights: 1 head x 9 rows"), "\(inspected)")
            let rows = try JSONSerialization.jsonObject(with: Data(mneme(["memory", "inspect", run, "--json"]).standardOutput.utf8))
            #expect((rows as? [[String: Any]])?.count == inspected.split(separator: "\n").count)
            try mneme(["memory", "show", run, "--step", "99"], expecting: 66)
            for (path, what) in [("\(directory)/none", "no such directory"), ("\(run)/run.yaml", "is a file, not a run directory")] {
                for command in [["show", path], ["inspect", path], ["list", path]] {
                    #expect(try mneme(["memory"] + command, expecting: 66).standardError.contains("\(path): \(what)"))
                }
            }
            #expect(try mneme(["memory", "show", directory], expecting: 66).standardError.contains("holds no checkpoint"))
            let scores = try jsonObject(mneme(["evaluate", run, "--json"]).standardOutput)
            #expect(scores["part"] as? String == "test" && scores["bit_errors_per_sequence_length_7"] is Double)
            let validation = try jsonObject(mneme(["evaluate", run, "--part", "validation", "--json"]).standardOutput)
            #expect(validation["examples"] as? Int == 20 && validation["bit_errors_per_sequence_length_7"] == nil)
            #expect(try mneme(["evaluate", run]).standardOutput.contains("bit errors per sequence"))
            for option in ["--corpus", "--beam", "--limit", "--length-penalty", "--maximum-tokens", "--batch"] {
                let refused = try mneme(["evaluate", run, option, "3"], expecting: 64).standardError
                #expect(refused.hasPrefix("mneme: error: \(option): means nothing to a run whose data is in its own task section"), "\(refused)")
            }
            try mneme(["generate", run], expecting: 64)
            try mneme(["answer", run, "--explain"], expecting: 64)
            try mneme(["memory", "show", run, "--prompt", svg], expecting: 64)
        }
    }

    @Test("a language model shows its memory while it reads the validation corpus", arguments: ["dnc", "ntm", "erase-add", "lstm"])
    func languageModel(kind: String) throws {
        try withScratchDirectory { directory in
            let text = "\(directory)/text.txt"
            try String(repeating: "a small cat sat on a mat and saw a hat\n", count: 40).write(toFile: text, atomically: true, encoding: .utf8)
            try mneme(["tokenizer", "train", "--kind", "char", "--vocabulary", "17", "--output", "\(directory)/char.model", text])
            try mneme(["corpus", "shard", "--format", "text", "--tokenizer", "\(directory)/char.model", "--output", "\(directory)/text", text])
            let core = kind == "lstm" ? "layers: 1, width: 14" : "rows: 9, width: 5, controller: {width: 14}"
            let path = "\(directory)/run.yaml"
            try """
            run: \(directory)/run
            steps: 20
            model: {kind: \(kind), \(core), carry: true}
            corpus: {shards: \(directory)/text, validation: \(directory)/text, order: streams}
            batch: {lanes: 4, length: 11}
            optimizer: {learningRate: 1e-2}
            parallel: {threads: 1}
            """.write(toFile: path, atomically: true, encoding: .utf8)
            try mneme(["train", path])
            let run = "\(directory)/run"
            func shown(_ example: Int) throws -> [String: Any] {
                try jsonObject(mneme(["memory", "show", run, "--example", "\(example)", "--json"]).standardOutput)
            }
            let (first, second) = (try shown(0), try shown(1))
            let pictures = try #require(second["pictures"] as? [[String: Any]])
            #expect(!pictures.isEmpty && (second["input"] as? [String])?.joined().isEmpty == false && second["expected"] as? String != nil)
            for picture in pictures {
                let (rows, columns) = (try #require(picture["rows"] as? Int), try #require(picture["columns"] as? Int))
                #expect(try #require(picture["values"] as? [Any]).count == rows * columns)
                for (axis, labels, count) in [("rowAxis", "rowLabels", rows), ("columnAxis", "columnLabels", columns)]
                where picture[axis] as? String == "step" {
                    #expect(count == 11 && (picture[labels] as? [String])?.count == 11, "every step is labelled with what was read")
                }
            }
            #expect(first["input"] as? [String] != second["input"] as? [String])
            let drawn = try mneme(["memory", "show", run, "--example", "2"]).standardOutput
            #expect(drawn.contains(kind == "lstm" ? "hidden state" : "weights"))
            let svg = "\(directory)/memory.svg"
            try mneme(["memory", "show", run, "--svg", svg])
            #expect(try String(contentsOfFile: svg, encoding: .utf8).hasSuffix("</svg>\n"))
            let beyond = try mneme(["memory", "show", run, "--example", "100000"], expecting: 64).standardError
            #expect(beyond.contains("pieces, numbered from 0"), "\(beyond)")
            #expect(try mneme(["memory", "inspect", run]).standardOutput.contains("lifetime lane"))
            try "a small".write(toFile: "\(directory)/prompt.txt", atomically: true, encoding: .utf8)
            let generated = try mneme(["generate", run, "\(directory)/prompt.txt", "--maximum-tokens", "9", "--temperature", "0"]).standardOutput
            #expect(generated.hasPrefix("a small") && generated.count > 10)
            let report = try jsonObject(mneme(["evaluate", run, "--json"]).standardOutput)
            #expect(try #require(report["perplexity"] as? Double) < 17)
            let bits = try #require(report["nats"] as? Double) / log(2)
            let bytes = try FileManager.default.attributesOfItem(atPath: text)[.size] as? Int
            #expect(try abs(#require(report["bits_per_byte"] as? Double) - bits / Double(#require(bytes))) < 1e-9)
            for (option, value, what) in [("--part", "test", "a language model"), ("--beam", "2", "running text"), ("--limit", "1", "running text")] {
                let refused = try mneme(["evaluate", run, option, value], expecting: 64).standardError
                #expect(refused.hasPrefix("mneme: error: \(option): means nothing to \(what)"), "\(refused)")
            }
            try FileManager.default.moveItem(atPath: "\(directory)/text", toPath: "\(directory)/elsewhere")
            #expect(try mneme(["memory", "show", run], expecting: 66).standardError.contains("\(directory)/text"))
        }
    }

    @Test("hops over sentences are shown beside the answer")
    func hops() throws {
        try withScratchDirectory { directory in
            try mneme(["corpus", "simulate", "babi", "--stories", "60", "--tasks", "1", "--seed", "2", "--output", "\(directory)/stories"])
            let run = try trained(
                directory, "stories-run", task: "{kind: babi, data: \(directory)/stories, tasks: [1], memory: 10}",
                model: "{kind: memory-network, hops: 2, width: 12}", steps: 50)
            let story = "\(directory)/story.txt"
            let text = try String(contentsOfFile: "\(directory)/stories/\(firstTest(directory))", encoding: .utf8)
            let sentence = try #require(text.split(separator: "\n").first { !$0.contains("\t") }).split(separator: " ").dropFirst().joined(
                separator: " ")
            let asked = try #require(text.split(separator: "\n").first { $0.contains("\t") }).split(separator: "\t")[0].split(separator: " ")
                .dropFirst().joined(separator: " ")
            try "\(sentence)\n\(asked)\n".write(toFile: story, atomically: true, encoding: .utf8)
            let explained = try mneme(["answer", run, "--plain", "--explain", story]).standardOutput
            #expect(explained.contains("hop 1") && explained.contains("hop 2") && explained.contains("1.00"))
            let json = try mneme(["answer", run, "--plain", "--json", story]).standardOutput
            #expect(json.contains("\"answer\"") && json.contains("\"pictures\":[]"))
            #expect(try mneme(["answer", run, "--plain", "--explain", "--json", story]).standardOutput.contains("\"values\":["))
            let svg = "\(directory)/answer.svg"
            try mneme(["answer", run, "--plain", "--svg", svg, story])
            #expect(try String(contentsOfFile: svg, encoding: .utf8).contains("hop 1"))
            try "Where is nobody?\n".write(toFile: story, atomically: true, encoding: .utf8)
            _ = try mneme(["answer", run, "--plain", story], expecting: 65)
        }
    }

    @Test("hops over the words of a prompt are shown, and a text is continued, by a memory network that is a language model")
    func languageModel() throws {
        try withScratchDirectory { directory in
            let (text, tokenizer, prompt) = ("\(directory)/text.txt", "\(directory)/word.model", "\(directory)/prompt.txt")
            let lines = (0..<400).map { "the \(["small", "old", "green"][$0 % 3]) house stands by a \(["river", "tree"][$0 % 2])" }
            try (lines.joined(separator: "\n") + "\n").write(toFile: text, atomically: true, encoding: .utf8)
            try mneme(["tokenizer", "train", "--kind", "word", "--output", tokenizer, text])
            try mneme(["corpus", "shard", "--format", "text", "--document", "line", "--tokenizer", tokenizer, "--output", "\(directory)/text", text])
            func train(_ name: String, _ model: String) throws -> String {
                let path = "\(directory)/\(name).yaml"
                let yaml = """
                    run: \(directory)/\(name)
                    steps: 150
                    model: \(model)
                    corpus: {shards: \(directory)/text, validation: \(directory)/text, order: streams}
                    batch: {lanes: 8, length: 16}
                    optimizer: {learningRate: 1e-2}
                    evaluation: {every: 150}
                    parallel: {threads: 1}
                    """
                try yaml.write(toFile: path, atomically: true, encoding: .utf8)
                try mneme(["train", path])
                return "\(directory)/\(name)"
            }
            let run = try train("words", "{kind: memory-network, hops: 2, width: 16, memory: 5, carry: true, deviation: 0.1}")
            try "the green house stands by a".write(toFile: prompt, atomically: true, encoding: .utf8)
            let drawn = try mneme(["memory", "show", run, "--prompt", prompt]).standardOutput
            // Five words are remembered: the first of the six is not.
            #expect(drawn.contains("hop 2") && drawn.contains("▁stands\n") && drawn.contains("▁green\n") && !drawn.contains("▁the\n"), "\(drawn)")
            let json = try jsonObject(mneme(["memory", "show", run, "--prompt", prompt, "--json"]).standardOutput)
            #expect(["▁river", "▁tree"].contains(json["answer"] as? String), "\(json)")
            let picture = try #require((json["pictures"] as? [[String: Any]])?.first)
            #expect(picture["rows"] as? Int == 2 && picture["columns"] as? Int == 5 && (picture["column_labels"] as? [String])?.count == 5)
            #expect(try mneme(["memory", "inspect", run]).standardOutput.contains("words: 5 slots, lifetime lane, initially -1; 8 lanes hold"))
            let continued = try mneme(["generate", run, prompt, "--maximum-tokens", "1", "--temperature", "0"]).standardOutput
            #expect(continued.hasSuffix("river\n") || continued.hasSuffix("tree\n"), "\(continued)")
            #expect(try #require(jsonObject(mneme(["evaluate", run, "--json"]).standardOutput)["perplexity"] as? Double) < 3)
            #expect(try mneme(["memory", "show", run]).standardOutput.contains("hop 2"), "a piece of the validation corpus")
            try "\n".write(toFile: prompt, atomically: true, encoding: .utf8)
            try mneme(["memory", "show", run, "--prompt", prompt], expecting: 65)
            try mneme(["memory", "show", run, "--prompt", "\(directory)/none.txt"], expecting: 66)
            try mneme(["memory", "show", run, "--prompt", prompt, "--example", "1"], expecting: 64)
            try "the green".write(toFile: prompt, atomically: true, encoding: .utf8)
            // The units of a recurrent network over the words; a Transformer draws nothing.
            #expect(
                try mneme(["memory", "show", train("lstm", "{kind: lstm, layers: 1, width: 8}"), "--prompt", prompt]).standardOutput.contains("│"))
            let transformer = try train("transformer", "{kind: decoder-only, layers: 1, width: 8, heads: 1, context: 16}")
            try mneme(["memory", "show", transformer, "--prompt", prompt], expecting: 64)
        }
    }

    private func firstTest(_ directory: String) throws -> String {
        try #require(FileManager.default.contentsOfDirectory(atPath: "\(directory)/stories").sorted().first { $0.hasSuffix("_test.txt") })
    }
}
