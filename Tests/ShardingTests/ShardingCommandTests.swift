// The commands `tokenizer` and `corpus shard|inspect`: every flag, alone and under mpirun, and what wrong input prints.

import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct ShardingCommandTests {
    private func mneme(_ arguments: String...) throws -> FinishedRun {
        try MPIRun.runAlone(executable: "mneme", arguments: arguments)
    }

    private func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
    }

    /// Line-aligned files train.en and train.de, and a tokenizer en.model.
    private func prepare(_ directory: String) throws {
        let lines = syntheticLines(600)
        try write(lines[..<300].joined(separator: "\n") + "\n", to: directory + "/train.en")
        try write(lines[300...].joined(separator: "\n") + "\n", to: directory + "/train.de")
        let run = try mneme(
            "tokenizer", "train", "--kind", "bpe", "--vocabulary", "330", "--output", directory + "/en.model", directory + "/train.en")
        try #require(run.status == 0, "\(run.standardError)")
    }

    private func json(_ run: FinishedRun) throws -> [String: Any] {
        try #require(
            try JSONSerialization.jsonObject(with: Data(run.standardOutput.utf8)) as? [String: Any], "\(run.standardOutput) \(run.standardError)")
    }

    @Test func tokenizersAreTrainedOnPairsToo() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            let train = try mneme(
                "tokenizer", "train", "--kind", "unigram", "--vocabulary", "330", "--output", directory + "/u.model", "--format", "wmt",
                "--languages", "en-de",
                "--sample-bytes", "20000", "--normalization", "nmt_nfkc", "--character-coverage", "0.99", "--json", directory + "/train")
            let report = try json(train)
            #expect(report["vocabulary"] as? Int == 330 && report["sentences"] as? Int == 600 && (report["sampled_sentences"] as? Int ?? 600) < 600)
            let characters = try mneme(
                "tokenizer", "train", "--kind", "char", "--output", directory + "/c.model", "--document", "line", directory + "/train.en")
            #expect(characters.status == 0 && characters.standardOutput.contains("char"), "\(characters.standardError)")
            let large = try mneme(
                "tokenizer", "train", "--kind", "unigram", "--vocabulary", "90000", "--output", directory + "/u.model", directory + "/train.en")
            #expect(
                large.status == 65 && large.standardError.contains("largest possible is") && large.standardError.split(separator: "\n").count == 1)
            let missing = try mneme("tokenizer", "train", "--kind", "char", "--output", directory + "/c.model", directory + "/none.txt")
            #expect(missing.status == 66, "\(missing.standardError)")
            let place = try mneme("tokenizer", "train", "--kind", "char", "--output", directory + "/none/c.model", directory + "/train.en")
            #expect(place.status == 74, "\(place.standardError)")
        }
    }

    @Test func encodingAndDecodingAreInverse() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            // The commands read standard input, which a shell redirects here.
            try write("Mary went to  the kitchen.\n\nZoë 😀\n", to: directory + "/text")
            func shell(_ command: String) throws -> FinishedRun {
                try MPIRun.runAlone(
                    executable: "/bin/sh", arguments: ["-c", command], extraEnvironment: ["MNEME": MPIRun.productsFolder.path + "/mneme"])
            }
            let model = directory + "/en.model"
            let round = try shell("$MNEME tokenizer encode \(model) < \(directory)/text | $MNEME tokenizer decode \(model)")
            #expect(round.standardOutput == "Mary went to  the kitchen.\n\nZoë 😀\n", "\(round.standardError)")
            let pieces = try shell("$MNEME tokenizer encode --pieces \(model) < \(directory)/text")
            #expect(pieces.standardOutput.hasPrefix("\u{2581}"))
            let wrong = try shell("echo 7 9999 | $MNEME tokenizer decode \(model)")
            #expect(wrong.status == 65 && wrong.standardError.contains("line 1") && wrong.standardError.contains("9999"))
        }
    }

    @Test func shardsAreTheSameUnderMPI() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            func arguments(_ output: String) -> [String] {
                [
                    "corpus", "shard", "--format", "wmt", "--languages", "en-de", "--tokenizer", directory + "/en.model", "--output",
                    directory + "/" + output, "--shard-size", "4000", directory + "/train"]
            }
            let alone = try MPIRun.runAlone(executable: "mneme", arguments: arguments("alone"))
            #expect(alone.status == 0 && alone.standardOutput.contains("300"), "\(alone.standardError)")
            let again = try MPIRun.runAlone(executable: "mneme", arguments: arguments("alone"))
            #expect(again.status == 0 && again.standardOutput.contains("already holds this corpus"))
            guard MPIRun.launcher != nil else { return }
            for ranks in [2, 4] {
                let run = try MPIRun.run(ranks: ranks, executable: "mneme", arguments: arguments("ranks\(ranks)"))
                #expect(run.status == 0, "\(run.standardError)")
                #expect(try contents(of: directory + "/alone") == contents(of: directory + "/ranks\(ranks)"))
            }
            // One rank's wrong input is everyone's end, told once.
            try write("only one line\n", to: directory + "/train.de")
            let unequal = try MPIRun.run(ranks: 2, executable: "mneme", arguments: arguments("unequal"))
            #expect(unequal.status == 65 && unequal.seconds < 10, "\(unequal.status)")
            #expect(unequal.standardError.components(separatedBy: "mneme: error:").count == 2, "\(unequal.standardError)")
        }
    }

    @Test func cleaningAndReadingFlagsTakeEffect() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            try write("one two\tuno dos\na b c d e f\tx\nsame same\tsame same\n\tempty\none  two three\tuno dos tres\n", to: directory + "/pairs.tsv")
            func shard(_ name: String, _ flags: String...) throws -> [String: Any] {
                try json(
                    try MPIRun.runAlone(
                        executable: "mneme",
                        arguments: [
                            "corpus", "shard", "--format", "wmt", "--tokenizer", directory + "/en.model", "--output", directory + "/" + name,
                            "--json",
                        ]
                            + flags + [directory + "/pairs.tsv"]))
            }
            func dropped(_ report: [String: Any]) -> [String: Int] {
                Dictionary(uniqueKeysWithValues: (report["dropped"] as? [[String: Any]] ?? []).compactMap { entry in
                    (entry["reason"] as? String).flatMap { reason in (entry["count"] as? Int).map { (reason, $0) } }
                })
            }
            #expect(dropped(try shard("defaults")) == ["empty-source": 1])
            #expect(dropped(try shard("ratio", "--maximum-ratio", "3")) == ["empty-source": 1, "length-ratio": 1])
            #expect(dropped(try shard("any-ratio", "--maximum-ratio", "0", "--drop-identical")) == ["empty-source": 1, "identical-pair": 1])
            #expect(
                dropped(try shard("short", "--minimum-length", "2", "--maximum-length", "2")) == ["empty-source": 1, "too-short": 1, "too-long": 1])
            #expect(dropped(try shard("bytes", "--length-unit", "bytes", "--maximum-length", "9")) == ["empty-source": 1, "too-long": 2])
            #expect(dropped(try shard("empty", "--keep-empty", "--maximum-ratio", "0")) == [:])
            let swapped = try shard("swapped", "--swap", "--no-normalize-whitespace")
            let straight = try shard("straight", "--no-normalize-whitespace", "--maximum-line-bytes", "1000")
            func counts(_ report: [String: Any], _ key: String) -> Int? { (report["counts"] as? [String: Any])?[key] as? Int }
            #expect(
                counts(swapped, "source_tokens") == counts(straight, "target_tokens")
                    && counts(swapped, "target_tokens") == counts(straight, "source_tokens"))
            let normalized = try shard("normalized", "--normalize-whitespace")
            #expect(counts(normalized, "text_bytes") == (counts(straight, "text_bytes") ?? 0) - 1)
        }
    }

    @Test func formatsOfTextAndStoriesAreRead() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            try write("One.\nTwo.\n\nThree.\n", to: directory + "/text.txt")
            func shard(_ name: String, _ arguments: [String]) throws -> FinishedRun {
                try MPIRun.runAlone(
                    executable: "mneme",
                    arguments: ["corpus", "shard", "--tokenizer", directory + "/en.model", "--output", directory + "/" + name] + arguments)
            }
            for (unit, count) in [("line", 3), ("paragraph", 2), ("file", 1)] {
                let run = try shard(unit, ["--format", "text", "--document", unit, "--json", directory + "/text.txt"])
                #expect((try json(run)["counts"] as? [String: Any])?["documents"] as? Int == count, "\(unit)")
            }
            try FileManager.default.createDirectory(atPath: directory + "/babi", withIntermediateDirectories: true)
            try write("1 Mary went to the kitchen.\n2 Where is Mary?\tkitchen\t1\n", to: directory + "/babi/qa1_single-supporting-fact_test.txt")
            let stories = try shard("babi-corpus", ["--format", "babi", "--split", "test", directory + "/babi"])
            #expect(stories.status == 0 && stories.standardOutput.contains("labels"), "\(stories.standardError)")
            let shown = try mneme("corpus", "inspect", "--verify", "--show", "2", directory + "/babi-corpus")
            #expect(
                shown.standardOutput.contains("kitchen") && shown.standardOutput.contains("every dataset equals its checksum"),
                "\(shown.standardOutput)")
            let report = try json(try mneme("corpus", "inspect", "--json", "--show", "1", directory + "/paragraph"))
            #expect(((report["documents"] as? [[String: Any]])?.first?["source"] as? String)?.hasPrefix("One.\nTwo.") == true)
            try write("http://example.org/1\n", to: directory + "/urls.txt")
            try FileManager.default.createDirectory(atPath: directory + "/stories", withIntermediateDirectories: true)
            // SHA-1 of the URL names the story that the list selects.
            let chosen = "185007f1ce5b84e4812a9769b03499e1eff5248a"
            for name in [chosen, "0000000000000000000000000000000000000000"] {
                try write("A story.\n\n@highlight\n\nIn short.\n", to: directory + "/stories/\(name).story")
            }
            let one = try shard("selected", ["--format", "cnn-dailymail", "--url-list", directory + "/urls.txt", directory + "/stories"])
            #expect(one.status == 0 && one.standardOutput.contains("pairs       1"), "\(one.standardOutput) \(one.standardError)")
            let all = try shard("articles", ["--format", "cnn-dailymail", directory + "/stories"])
            #expect(all.status == 0 && all.standardOutput.contains("pairs       2"), "\(all.standardOutput) \(all.standardError)")
            let reference = """
                <dataset id="t"><doc id="d" origlang="en"><src lang="en"><p><seg id="1">One.</seg></p></src>\
                <ref lang="de" translator="A"><p><seg id="1">Eins.</seg></p></ref>\
                <ref lang="de" translator="B"><p><seg id="1">Ein.</seg></p></ref></doc></dataset>
                """
            try write(reference, to: directory + "/set.xml")
            let translated = try shard("references", ["--format", "wmt", "--translator", "B", directory + "/set.xml"])
            #expect(translated.status == 0, "\(translated.standardError)")
            #expect(try mneme("corpus", "inspect", "--show", "1", directory + "/references").standardOutput.contains("=> Ein.\n"))
        }
    }

    @Test func wrongInputGetsOneLineAndItsCode() throws {
        try withScratchDirectory { directory in
            try prepare(directory)
            let corpus = directory + "/corpus"
            func shard(_ arguments: String...) throws -> FinishedRun {
                try MPIRun.runAlone(
                    executable: "mneme", arguments: ["corpus", "shard", "--tokenizer", directory + "/en.model", "--output", corpus] + arguments)
            }
            var bytes = Data("good line\nbad ".utf8)
            bytes.append(contentsOf: [0xff, 0x0a])
            bytes.append(Data("another good line\n".utf8))
            try bytes.write(to: URL(fileURLWithPath: directory + "/latin.txt"))
            let wrong = try shard("--format", "text", "--document", "line", directory + "/latin.txt")
            #expect(
                wrong.status == 65 && wrong.standardError.contains("line 2") && wrong.standardError.split(separator: "\n").count == 1,
                "\(wrong.standardError)")
            let passed = try shard("--format", "text", "--document", "line", "--bad-records", "1", directory + "/latin.txt")
            #expect(passed.status == 0 && passed.standardOutput.contains("wrong       1 records"), "\(passed.standardOutput)")
            let other = try shard("--format", "text", "--document", "file", "--bad-records", "1", directory + "/train.en")
            #expect(other.status == 78 && other.standardError.contains("another"), "\(other.standardError)")
            try write("", to: directory + "/empty.txt")
            let empty = try mneme(
                "corpus", "shard", "--format", "text", "--tokenizer", directory + "/en.model", "--output", directory + "/e", directory + "/empty.txt")
            #expect(empty.status == 65 && empty.standardError.contains("there is no record of --format text; it seems to be an empty file"), "\(empty.standardError)")
            let model = try mneme(
                "corpus", "shard", "--format", "text", "--tokenizer", directory + "/train.en", "--output", directory + "/m", directory + "/train.en")
            #expect(model.status == 65 && model.standardError.contains("not a SentencePiece model"), "\(model.standardError)")
            #expect(try mneme("corpus", "inspect", directory + "/e").status == 66)
            try flipBit(in: corpus + "/shard-0.h5", dataset: "tokens")
            let damaged = try mneme("corpus", "inspect", "--verify", corpus)
            #expect(
                damaged.status == 65 && damaged.standardError.contains("shard-0.h5") && damaged.standardError.contains("dataset tokens"),
                "\(damaged.standardError)")
            for usage in [
                ["--split", "test"], ["--swap"], ["--languages", "en-de"], ["--shard-size", "3"], ["--bad-records", "-1"],
                ["--maximum-ratio", "0.5"],
            ] {
                let run = try MPIRun.runAlone(
                    executable: "mneme",
                    arguments: ["corpus", "shard", "--format", "text", "--tokenizer", "x", "--output", "y"] + usage + [directory + "/train.en"])
                #expect(run.status == 64, "\(usage) \(run.standardError)")
            }
        }
    }
}
