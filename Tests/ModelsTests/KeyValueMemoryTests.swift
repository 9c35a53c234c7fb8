// The key-value memory network: golden vectors, gradients in all variants, the three-film example.

import Configuration
import Foundation
import Memory
import Models
import NeuralNetworks
import Tensors
import TestSupport
import Testing

/// One case of Golden/generate_key_value_memory.py.
private struct GoldenCase: Decodable, CustomTestStringConvertible {
    struct Item: Decodable {
        let symbol: Int32
        let weight: Float

        init(from decoder: any Decoder) throws {
            var container = try decoder.unkeyedContainer()
            symbol = try container.decode(Int32.self)
            weight = try container.decode(Float.self)
        }
    }

    let name: String
    let symbols, width, hops: Int
    let shares, mapsLast, identity: Bool
    let factCounts: [Int]
    let questions, keys, values: [[Item]]
    let range: [Int]?
    let candidates, excluded, right: [[Int32]]
    let parameters, gradients: [String: [Float]]
    let loss: Double
    let perQuestion, queries: [Float]
    let attention: [[Float]]

    var testDescription: String { name }

    static func all() throws -> [GoldenCase] {
        let url = try #require(Bundle.module.url(forResource: "key-value-memory", withExtension: "json", subdirectory: "Golden"))
        return try JSONDecoder().decode([GoldenCase].self, from: Data(contentsOf: url))
    }

    private func bags(_ items: [[Item]]) -> WeightedBags {
        WeightedBags(starts: starts(items.map(\.count)), symbols: items.flatMap { $0.map(\.symbol) }, weights: items.flatMap { $0.map(\.weight) })
    }

    private func starts(_ counts: [Int]) -> [Int32] { counts.reduce(into: [0]) { $0.append($0[$0.count - 1] + Int32($1)) } }

    var batch: KnowledgeBatch {
        let choices: AnswerCandidates =
            if let range {
                .range(first: range[0], count: range[1], excluded: Segments(starts: starts(excluded.map(\.count))), places: excluded.flatMap { $0 })
            } else { .lists(Segments(starts: starts(candidates.map(\.count))), rows: candidates.flatMap { $0 }) }
        return KnowledgeBatch(
            lanes: Array(0..<questions.count), questions: bags(questions), facts: Segments(starts: starts(factCounts)), keys: bags(keys),
            values: bags(values),
            candidates: choices, answers: AnswerPlaces(starts: starts(right.map(\.count)), places: right.flatMap { $0 }))
    }

    func network() throws -> KeyValueMemoryNetwork {
        let network = KeyValueMemoryNetwork(
            changed(KeyValueMemoryConfiguration()) {
                ($0.width, $0.hops, $0.mapsLastHop, $0.sharesAnswerTable) = (width, hops, mapsLast, shares)
                $0.hopStart = identity ? .identity : .normal
            },
            symbolCount: symbols, factCount: keys.count)
        try network.store.take(parameters, of: "key-value memory network")
        return network
    }
}

@Suite struct KeyValueMemoryTests {
    @Test("loss, queries, attention and every gradient are those of an independent program", arguments: try GoldenCase.all())
    fileprivate func golden(_ golden: GoldenCase) throws {
        let network = try golden.network()
        let (tape, trace) = (Tape(), MemoryTrace())
        let result = network.loss(golden.batch, ForwardPass(tape: tape, trace: trace))
        #expect(abs(result.negativeLogLikelihood - golden.loss) < 1e-5 * golden.loss)
        #expect(relativeError(result.perPosition, golden.perQuestion) < 1e-5)
        #expect(result.count == golden.right.count { !$0.isEmpty })
        #expect(relativeError(network.queries(golden.batch, ForwardPass()).array, golden.queries) < 1e-5)
        let picture = try #require(trace.pictures.first)
        #expect(picture.rows == golden.hops && relativeError(picture.values, golden.attention.flatMap { $0 }) < 1e-5)
        tape.backward(from: result.loss)
        for parameter in network.store.parameters {
            #expect(parameter.gradient.array.allSatisfy { $0.isFinite })
            #expect(relativeError(parameter.gradient.array, try #require(golden.gradients[parameter.name])) < 1e-5, "\(parameter.name)")
        }
    }

    @Test("gradients are those of central differences, whatever the loss is multiplied by", arguments: try GoldenCase.all())
    fileprivate func gradients(_ golden: GoldenCase) throws {
        let network = try golden.network()
        let batch = golden.batch
        let report = checkGradients(store: network.store) { tape, _ in network.loss(batch, ForwardPass(tape: tape)).loss }
        #expect(report.passes(), "\(report)")
        // Through the queries too: a gradient that is not one number.
        let queries = checkGradients(store: network.store, names: network.store.parameters.map(\.name).filter { $0 != "answers.weight" }) { tape, _ in
            network.queries(batch, ForwardPass(tape: tape))
        }
        #expect(queries.passes(), "\(queries)")
    }

    @Test("a question without facts keeps its query; the facts of others do not reach it")
    func segments() throws {
        let golden = try #require(try GoldenCase.all().first)
        let network = try golden.network()
        let before = network.queries(golden.batch, ForwardPass()).array
        // Facts of question 2 alone change.
        var batch = golden.batch
        batch.values = WeightedBags(
            starts: (0...Int32(golden.keys.count)).map { $0 }, symbols: golden.keys.indices.map { Int32($0) },
            weights: golden.keys.indices.map { 1 + Float($0) })
        let after = network.queries(batch, ForwardPass()).array
        #expect(before[golden.width..<2 * golden.width] == after[golden.width..<2 * golden.width])
        #expect(before[..<golden.width] != after[..<golden.width])
    }

    @Test("three films: a film and a relation lead to the right answer, and the answer follows the memory")
    func threeFilms() throws {
        // 0 ... 2 films, 3 director, 4 year, 5 ... 7 people, 8 ... 10 years, 11 "who", 12 "when".
        let (person, year): ([Int32], [Int32]) = ([5, 6, 7], [8, 9, 10])
        let configuration = changed(KeyValueMemoryConfiguration()) { ($0.width, $0.hops, $0.deviation) = (24, 1, 0.3) }
        let network = KeyValueMemoryNetwork(configuration, symbolCount: 13, factCount: 6)
        network.store.allocate(seed: 3)
        func batch(people: [Int32]) -> KnowledgeBatch {
            let asked: [[Int32]] = (0..<3).flatMap { film -> [[Int32]] in [[Int32(film), 11], [Int32(film), 12]] }
            func bags(_ items: [[Int32]]) -> WeightedBags {
                WeightedBags(
                    starts: items.reduce(into: [0]) { $0.append($0[$0.count - 1] + Int32($1.count)) }, symbols: items.flatMap { $0 },
                    weights: items.flatMap { $0.map { _ in 1 } })
            }
            // Every question sees all six facts.
            let keys: [[Int32]] = (0..<3).flatMap { film -> [[Int32]] in [[Int32(film), 3], [Int32(film), 4]] }
            let values: [[Int32]] = (0..<3).flatMap { film -> [[Int32]] in [[people[film]], [year[film]]] }
            return KnowledgeBatch(
                lanes: Array(0..<6), questions: bags(asked), facts: Segments(starts: (0...6).map { $0 * 6 }),
                keys: bags((0..<6).flatMap { _ in keys }),
                values: bags((0..<6).flatMap { _ in values }),
                candidates: .range(first: 5, count: 6, excluded: Segments(starts: Array(repeating: 0, count: 7)), places: []),
                answers: AnswerPlaces(starts: (0...6).map { $0 }, places: (0..<6).map { values[$0][0] - 5 }))
        }
        func answers(_ batch: KnowledgeBatch) -> [Int32] {
            let scores = network.scores(batch, ForwardPass())
            return (0..<6).map { question in
                let row = scores.values.array[scores.questions[question]]
                return 5 + Int32((row.indices.max { row[$0] < row[$1] } ?? row.startIndex) - row.startIndex)
            }
        }
        let films = batch(people: person)
        // Any assignment of people, so that only the memory can tell.
        let assignments: [[Int32]] = [[5, 6, 7], [6, 7, 5], [7, 5, 6], [5, 7, 6], [6, 5, 7]]
        for step in 0..<400 {
            let tape = Tape()
            network.store.clearGradients()
            tape.backward(from: network.loss(batch(people: assignments[step % 5]), ForwardPass(tape: tape)).loss)
            network.store.zeroMissingGradients()
            for i in 0..<network.store.flatCount { network.store.values[i] -= 0.05 * network.store.gradients[i] }
        }
        #expect(answers(films) == [5, 8, 6, 9, 7, 10])
        // The one assignment that was never trained.
        #expect(answers(batch(people: [7, 6, 5])) == [7, 8, 6, 9, 5, 10])
    }

    @Test("with rising strength the reading tends to the value of the best key")
    func strength() {
        let (query, keys, values) = (randomTensor("query", [1, 8]), randomTensor("keys", [5, 8]), randomTensor("values", [5, 8]))
        let scores = (0..<5).map { i in (0..<8).reduce(Float(0)) { $0 + query.floats[$1] * keys.floats[i * 8 + $1] } }
        let best = scores.indices.max { scores[$0] < scores[$1] } ?? 0
        var last = Float.infinity
        for strength: Float in [1, 4, 16, 64, 256] {
            let read = readKeyValues(query, keys: keys, values: values, facts: Segments(starts: [0, 5]), strength: strength)
            let distance = (0..<8).map { abs(read.values.floats[$0] - values.floats[best * 8 + $0]) }.max() ?? .infinity
            #expect(distance <= last)
            last = distance
        }
        #expect(last < 1e-5)
    }

    @Test("the run file's section is read, and wrong values are named")
    func configuration() throws {
        let tree = try ConfigurationTree(
            yaml: "model: {width: 32, hops: 3, mapLastHop: false, shareAnswerTable: false, hopStart: normal}", file: "run.yaml")
        let read = try KeyValueMemoryConfiguration(tree.root.section("model"))
        let expected = changed(KeyValueMemoryConfiguration()) {
            ($0.width, $0.hops, $0.mapsLastHop, $0.sharesAnswerTable, $0.hopStart) = (32, 3, false, false, .normal)
        }
        #expect(read == expected)
        let wrong = try ConfigurationTree(yaml: "model: {hops: 0}", file: "run.yaml")
        #expect(throws: (any Error).self) { try KeyValueMemoryConfiguration(wrong.root.section("model")) }
    }
}
