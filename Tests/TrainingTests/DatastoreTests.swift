// Language models that are read with a bank of what they have seen, and with a cache.

import Collectives
import Corpora
import Diagnostics
import Foundation
import MemoryBanks
import Models
import NeuralNetworks
import Sharding
import Storage
import Tensors
import TestSupport
import Testing
import Training

@Suite struct DatastoreTests {
    /// Corpora and runs of two kinds of model, made once.
    private struct Fixture {
        let directory: String
        init(_ directory: String) throws {
            self.directory = directory
            let lines = syntheticLines(260)
            let tokenizer = try tokenizer(.bpe, 400)
            for (name, range) in [("train", 0..<120), ("valid", 120..<160), ("test", 160..<200), ("other", 200..<260)] {
                let file = "\(directory)/\(name).txt"
                try lines[range].joined(separator: "\n").write(toFile: file, atomically: true, encoding: .utf8)
                var options = ReaderOptions()
                options.documents = .line
                let plan = ShardingPlan(
                    reading: .text, inputs: [file], options: options, rules: CorpusFormat.text.profile.cleaning, tokenizer: tokenizer,
                    output: "\(directory)/\(name)")
                _ = try CorpusSharder(plan, communicator: SingleProcess()).run()
            }
        }

        /// Trains a run for a few steps.
        func run(_ name: String, _ model: String, seed: Int = 1) throws -> String {
            let yaml = """
                run: \(directory)/\(name)
                seed: \(seed)
                steps: 6
                model: \(model)
                corpus: {shards: \(directory)/train, order: \(model.contains("carry") ? "streams" : "windows")}
                batch: {lanes: 8, length: 16}
                optimizer: {kind: adamw, learningRate: 1e-2}
                checkpoint: {every: 6}
                evaluation: {every: 100}

                """
            let file = "\(directory)/\(name).yaml"
            try yaml.write(toFile: file, atomically: true, encoding: .utf8)
            let configuration = try RunConfiguration(contentsOf: file)
            _ = try LoopbackCommunicator.run(size: 1) { communicator in
                var surroundings = SessionSurroundings()
                surroundings.ownsProcess = false
                surroundings.report = { _ in }
                return try Trainer.train(configuration, communicator: communicator, surroundings: surroundings)
            }
            return configuration.directory
        }

        @discardableResult
        func build(_ bank: String, _ run: String, _ corpus: String, in namespace: String = "train", limit: Int? = nil, ranks: Int = 1) throws
            -> DatastoreReceipt
        {
            try LoopbackCommunicator.run(size: ranks) { [directory] communicator in
                try DatastoreBuilder.build(
                    "\(directory)/\(bank)", namespace: namespace, of: try LoadedRun(directory: run, communicator: communicator),
                    corpus: "\(directory)/\(corpus)", limit: limit, identity: SessionIdentity(environment: [:]),
                    BankEdit(step: 6, time: 1_000, author: "test"), communicator: communicator)
            }[0]
        }

        /// The figures of an evaluation.
        func report(_ run: String, _ corpus: String, ranks: Int = 1, _ change: @escaping @Sendable (inout MemoryReading) -> Void = { _ in }) throws
            -> [String: Double]
        {
            try LoopbackCommunicator.run(size: ranks) { [directory] communicator in
                var request = EvaluationRequest(directory: run, corpus: "\(directory)/\(corpus)")
                change(&request.memory)
                let report = try LoadedRun(directory: run, communicator: communicator).task.report(request, communicator)
                return report.values.compactMapValues { value -> Double? in
                    switch value {
                    case .number(let value): value
                    case .count(let count): Double(count)
                    default: nil
                    }
                }
            }[0]
        }
    }

    private static let decoder = "{kind: decoder-only, layers: 2, width: 16, heads: 2, context: 16}"
    private static let recurrent = "{kind: lstm, layers: 1, width: 12, carry: true}"

    /// A token as a plain reader finds it: what was to come, its log-probability, its context, its lane.
    private struct PlainToken {
        let lane: Int
        let target: Int32
        let model: Double
        let vector: [Float]
    }

    /// The tokens of a corpus lane by lane, read without the code under test: batch by batch of 8 lanes of 16 tokens.
    private func plainTokens(_ run: String, _ path: String) throws -> [PlainToken] {
        let model = try LoadedRun(directory: run).languageRun().model
        guard case .text(let text) = model.form else { return [] }
        let loader = try SequentialTextLoader(Corpus(directory: path), lanes: 8, length: 16)
        var tokens: [PlainToken] = []
        while !loader.isFinished {
            let batch = TokenBatch(try loader.batch(lanes: Array(0..<8)))
            let pass = ForwardPass()
            var vectors: Tensor?
            pass.onContextVectors = { vectors = $0 }
            let logits = text.logits(batch.inputs, pass)
            let (given, classes) = (try #require(vectors), logits.shape[2])
            for place in 0..<128 where batch.targets.integers[place] >= 0 {
                let row = (0..<classes).map { Double(logits.floats[place * classes + $0]) }
                let largest = row.max() ?? 0
                let total = row.reduce(0) { $0 + exp($1 - largest) }
                let target = batch.targets.integers[place]
                let width = given.shape[2]
                tokens.append(
                    PlainToken(
                        lane: place / 16, target: target, model: row[Int(target)] - largest - log(total),
                        vector: (0..<width).map { given.floats[place * width + $0] }))
            }
            loader.advance()
        }
        return tokens
    }

    private func squaredDistance(_ a: [Float], _ b: [Float]) -> Double {
        zip(a, b).reduce(0) { $0 + (Double($1.0) - Double($1.1)) * (Double($1.0) - Double($1.1)) }
    }

    @Test("perplexity with a bank and a cache is what a plain computation over all records finds")
    func plainComputation() throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("decoder", Self.decoder)
            let receipt = try fixture.build("bank", run, "train")
            let corpus = try Corpus(directory: "\(directory)/train")
            #expect(receipt.tokens == corpus.tokenCount && receipt.created == corpus.tokenCount && receipt.width == 16 && receipt.layer == 1)

            // The records are the plain reader's tokens.
            let records = try MemoryBank("\(directory)/bank").localRecords(BankFilter(.one("train")))
            let written = try plainTokens(run, "\(directory)/train")
            func text(_ vector: [Float], _ token: Int32) -> String { "\(token) \(vector)" }
            #expect(
                records.map { record -> String in
                    if case .tokens(let tokens) = record.value { text(record.key, tokens[0]) } else { "" }
                }.sorted() == written.map { text($0.vector, $0.target) }.sorted())
            let position = Int(records[0].id.split(separator: "-")[1]) ?? -1
            #expect(records[0].source == "\(directory)/train, document \(try corpus.document(atToken: position) + 1)")

            let tokens = try plainTokens(run, "\(directory)/test")
            // All records are neighbours: of those that are equally far, and there are many, none is left out.
            let (neighbors, lambda, temperature, size, theta, weight) = (written.count, 0.4, 3.0, 30, 0.2, 0.15)
            var (nats, alone, hits) = (0.0, 0.0, 0)
            var history: [Int: [PlainToken]] = [:]
            for token in tokens {
                let near = written.map { (squaredDistance($0.vector, token.vector), $0.target) }.sorted { $0.0 < $1.0 }.prefix(neighbors)
                let all = near.reduce(0) { $0 + exp(-$1.0 / temperature) }
                let bank = near.reduce(0) { $0 + ($1.1 == token.target ? exp(-$1.0 / temperature) : 0) } / all
                hits += near.contains { $0.1 == token.target } ? 1 : 0
                var probability = lambda * bank + (1 - lambda) * exp(token.model)
                let before = (history[token.lane] ?? []).suffix(size)
                if !before.isEmpty {
                    let scores = before.map { ($0.target, zip($0.vector, token.vector).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }) }
                    let all = scores.reduce(0) { $0 + exp(theta * $1.1) }
                    let cached = scores.reduce(0) { $0 + ($1.0 == token.target ? exp(theta * $1.1) : 0) } / all
                    probability = weight * cached + (1 - weight) * probability
                }
                nats -= log(probability)
                alone -= token.model
                history[token.lane, default: []].append(token)
            }
            let report = try fixture.report(run, "test") {
                ($0.bank, $0.namespace, $0.neighbors, $0.lambda, $0.temperature) = ("\(directory)/bank", "train", neighbors, lambda, temperature)
                ($0.cache, $0.cacheTheta, $0.cacheLambda) = (size, theta, weight)
            }
            #expect(abs((report["nats"] ?? 0) - nats) < 1e-4 * nats)
            #expect(abs((report["model_nats"] ?? 0) - alone) < 1e-5 * alone)
            #expect(abs((report["hit_rate"] ?? 0) - Double(hits) / Double(tokens.count)) < 2.5 / Double(tokens.count))
            #expect((report["read_entropy"] ?? -1) > 0 && (report["read_entropy"] ?? 99) <= log(Double(neighbors)) + 1e-6)
        }
    }

    @Test("a weight of 0 leaves the bits of the plain evaluation", arguments: [decoder, recurrent])
    func noWeight(_ model: String) throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("run", model)
            try fixture.build("bank", run, "train")
            let plain = try fixture.report(run, "test")
            let report = try fixture.report(run, "test") {
                ($0.bank, $0.namespace, $0.lambda, $0.cache, $0.cacheLambda) = ("\(directory)/bank", "train", 0, 50, 0)
            }
            for name in ["nats", "tokens", "words", "perplexity", "perplexity_per_word", "bits_per_byte", "bits_per_character"] {
                #expect(report[name] == plain[name] && plain[name] != nil, "\(name)")
            }
            #expect(report["model_nats"] == plain["nats"])
        }
    }

    @Test("banks and figures are the same on 1, 2 and 4 ranks", arguments: [decoder, recurrent])
    func ranks(_ model: String) throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("run", model)
            try fixture.build("bank1", run, "train", limit: 700)
            let change: @Sendable (inout MemoryReading) -> Void = {
                ($0.bank, $0.namespace, $0.neighbors, $0.cache, $0.tune) = ("\(directory)/bank1", "train", 16, 40, "\(directory)/valid")
            }
            let alone = try fixture.report(run, "test", change)
            #expect((alone["lambda"] ?? 0) > 0 && (alone["perplexity"] ?? 9e9) < (alone["model_perplexity"] ?? 0))
            for ranks in [2, 4] {
                try fixture.build("bank\(ranks)", run, "train", limit: 700, ranks: ranks)
                let digests = try ["bank1", "bank\(ranks)"].map { try MemoryBank("\(directory)/\($0)").contentDigest }
                #expect(digests[0] == digests[1] && !digests[0].isEmpty)
                #expect(try fixture.report(run, "test", ranks: ranks, change) == alone, "\(ranks) ranks")
            }
        }
    }

    @Test func aBuildAddsOnlyWhatIsMissing() throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("run", Self.decoder)
            #expect(try fixture.build("bank", run, "train", limit: 300).created == 300)
            let whole = try fixture.build("bank", run, "train")
            #expect(whole.unchanged == 300 && whole.created == whole.tokens - 300)
            let bank = try MemoryBank("\(directory)/bank", .editing(SessionIdentity(environment: [:])))
            var filter = BankFilter(.one("train"))
            filter.source = "\(directory)/train, document 3"
            let gone = try bank.delete(
                filter, confirming: try bank.deletion(of: filter).digest, BankEdit(time: 2_000, author: "test")
            ).deleted
            bank.close()
            #expect(gone > 5)
            // What was forgotten does not come back.
            let again = try fixture.build("bank", run, "train")
            #expect(again.refusedDeleted == gone && again.created == 0)
        }
    }

    @Test func onlyTheNamespaceIsRead() throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("run", Self.decoder)
            try fixture.build("one", run, "train")
            try fixture.build("two", run, "other", in: "other")
            try fixture.build("two", run, "train")
            func read(_ bank: String, _ namespace: String) throws -> [String: Double] {
                try fixture.report(run, "test") { ($0.bank, $0.namespace) = ("\(directory)/\(bank)", namespace) }
            }
            #expect(try read("one", "train") == read("two", "train"))
            #expect(try read("two", "other") != read("two", "train"))
            let absent = #expect(throws: UserError.self) { try read("one", "other") }
            #expect(absent?.exitCode == .missingInput)
            let unnamed = #expect(throws: UserError.self) { try fixture.report(run, "test") { $0.bank = "\(directory)/two" } }
            #expect(unnamed?.exitCode == .usage)
        }
    }

    @Test func aBankOfAnotherModelIsRefused() throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let runs = try [fixture.run("one", Self.decoder), fixture.run("two", Self.decoder, seed: 2)]
            try fixture.build("bank", runs[0], "train", limit: 200)
            for error in [
                #expect(throws: UserError.self) {
                    try fixture.report(runs[1], "test") { ($0.bank, $0.namespace) = ("\(directory)/bank", "train") }
                },
                #expect(throws: UserError.self) { try fixture.build("bank", runs[1], "train") },
            ] {
                #expect(error?.exitCode == .configuration && error?.what.contains("another generation") == true, "\(String(describing: error))")
            }
            try MemoryBank.create("\(directory)/texts", BankConfiguration(keyWidth: 16, encoder: "hashed-ngrams"))
            let texts = #expect(throws: UserError.self) { try fixture.build("texts", runs[0], "train") }
            #expect(texts?.exitCode == .configuration)
        }
    }

    @Test("what is tuned does not depend on what is measured, and is not measured")
    func tuning() throws {
        try withScratchDirectory { directory in
            let fixture = try Fixture(directory)
            let run = try fixture.run("run", Self.decoder)
            try fixture.build("bank", run, "train")
            func tuned(measuring corpus: String, on tune: String) throws -> [String: Double] {
                try fixture.report(run, corpus) {
                    ($0.bank, $0.namespace, $0.cache, $0.tune) = ("\(directory)/bank", "train", 60, "\(directory)/\(tune)")
                }
            }
            let names = ["lambda", "temperature", "cache_lambda", "cache_theta"]
            let (one, other) = (try tuned(measuring: "test", on: "valid"), try tuned(measuring: "other", on: "valid"))
            for name in names { #expect(one[name] == other[name] && one[name] != nil, "\(name)") }
            // On the text that was tuned on, neighbouring settings are no better.
            let best = try fixture.report(run, "valid") {
                ($0.bank, $0.namespace, $0.lambda, $0.temperature) = ("\(directory)/bank", "train", one["lambda"], one["temperature"])
                ($0.cache, $0.cacheLambda, $0.cacheTheta) = (60, one["cache_lambda"], one["cache_theta"])
            }
            for change in [-0.03, 0.03] {
                let near = try fixture.report(run, "valid") {
                    ($0.bank, $0.namespace, $0.temperature) = ("\(directory)/bank", "train", one["temperature"])
                    $0.lambda = min(1, max(0, (one["lambda"] ?? 0) + change))
                    ($0.cache, $0.cacheLambda, $0.cacheTheta) = (60, one["cache_lambda"], one["cache_theta"])
                }
                #expect((near["nats"] ?? 0) >= (best["nats"] ?? 9e9))
            }
            let same = #expect(throws: UserError.self) { try tuned(measuring: "test", on: "test") }
            #expect(same?.exitCode == .usage)
        }
    }

    @Test("weights, temperature and theta are the best of a fine grid")
    func bestOfTheGrid() throws {
        var drawn = 0
        /// log of a number up to `bound`.
        func draw(_ bound: Float) -> Float {
            drawn += 1
            return log(0.01 + (bound - 0.01) * Float(mixedBits(7, drawn) >> 40) / 16_777_216)
        }
        let temperatures = [0.5, 1, 2], thetas = [0.1, 1]
        var table = TuningTable(temperatures: temperatures, thetas: thetas)
        for row in 0..<400 {
            table.values.append(draw(0.5))
            for bound: Float in [0.5, 0.9, 0.3] { table.values.append(row % 3 == 0 ? -.infinity : draw(bound)) }
            for bound: Float in [0.4, 0.8] { table.values.append(row < 5 ? .nan : draw(bound)) }
        }
        func value(_ mixture: Mixture, _ temperature: Int, _ theta: Int) -> Double {
            (0..<400).reduce(0) { sum, row in
                let values = table.values[(6 * row)..<(6 * row + 6)].map(Double.init)
                let cache = values[4 + theta]
                return sum + mixture.logProbability(model: values[0], bank: values[1 + temperature], cache: cache.isNaN ? nil : cache)
            }
        }
        let best = table.best(Mixture(), choosesBankWeight: true, choosesCacheWeight: true)
        #expect(best.temperature == 1 && best.theta == 1)
        let found = value(best, 1, 1)
        for bank in stride(from: 0.0, to: 1, by: 0.05) {
            for cache in stride(from: 0.0, to: 1, by: 0.05) {
                for temperature in 0..<3 {
                    for theta in 0..<2 {
                        #expect(value(Mixture(bankWeight: bank, cacheWeight: cache), temperature, theta) <= found + 1e-6)
                    }
                }
            }
        }
    }

    @Test func mixturesInLogSpace() {
        let mixture = Mixture(bankWeight: 0.3, cacheWeight: 0.2)
        let ofBankAndModel: Double = 0.3 * exp(-2) + 0.7 * exp(-3)
        let expected: Double = log(0.2 * exp(-1) + 0.8 * ofBankAndModel)
        #expect(abs(mixture.logProbability(model: -3, bank: -2, cache: -1) - expected) < 1e-14)
        #expect(abs(mixture.logProbability(model: -3, bank: -.infinity, cache: nil) - (log(0.7) - 3)) < 1e-14)
        // Far below what a probability can be as a number of its own.
        #expect(abs(mixture.logProbability(model: -2_000, bank: -2_001, cache: nil) - (-2_000 + log(0.7 + 0.3 * exp(-1)))) < 1e-9)
        #expect(Mixture().logProbability(model: -0.1, bank: -5, cache: -6) == -0.1)
        let read = [Float(-1), -2, -4].withUnsafeBufferPointer { scores in
            [false, true, true].withUnsafeBufferPointer { WeightedRead(scores, $0, scale: 0.5) }
        }
        let weights = [exp(-0.5), exp(-1.0), exp(-2.0)]
        let total = weights.reduce(0, +)
        #expect(abs(read.logProbability - log((weights[1] + weights[2]) / total)) < 1e-12)
        #expect(abs(read.entropy + weights.reduce(0) { $0 + $1 / total * log($1 / total) }) < 1e-12)
        let far = [Float(-1), -90_000].withUnsafeBufferPointer { scores in
            [false, true].withUnsafeBufferPointer { WeightedRead(scores, $0, scale: 1) }
        }
        #expect(far.logProbability == -89_999)
    }
}
