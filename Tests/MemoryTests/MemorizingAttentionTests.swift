// Attention with stored pairs against its equations in float64, central differences, and itself one position at a time.

import Foundation
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Attention with stored pairs")
struct MemorizingAttentionTests {
    private let heads = 2
    private let size = 3
    private var width: Int { heads * size }

    private func make(nearest: Int) -> (store: ParameterStore, layer: MemorizingAttention) {
        let store = ParameterStore()
        let attention = SelfAttention(
            store, "a", width: width, heads: heads, initializer: .xavierUniform, outputInitializer: .xavierUniform, dropoutRate: 0)
        let layer = MemorizingAttention(store, "a", attention, positions: 8, nearest: nearest)
        store.allocate(seed: 3)
        let gates: [Float] = [0.7, -0.4]
        let scales: [Float] = [3, 5]
        for head in 0..<heads {
            layer.reader.gate.value.floats[head] = gates[head]
            layer.reader.scale.value.floats[head] = scales[head]
        }
        return (store, layer)
    }

    private func table(_ count: Int) -> PairTable {
        PairTable(randomTensor("pairs", [count, 2 * width]), heads: heads, ages: (1...max(count, 1)).prefix(count).map { $0 })
    }

    /// The equations, number by number: what the layer gives, and the pairs that it leaves.
    private func reference(_ store: ParameterStore, _ x: Tensor, _ pairs: PairTable, nearest: Int) -> (outputs: [Double], left: [Double]) {
        let (batch, length) = (x.shape[0], x.shape[1])
        func project(_ name: String, _ row: [Double]) -> [Double] {
            let (weight, bias) = (store["a.\(name).weight"]!.value.array, store["a.\(name).bias"]!.value.array)
            return bias.indices.map { o in row.indices.reduce(Double(bias[o])) { $0 + row[$1] * Double(weight[o * row.count + $1]) } }
        }
        func unit(_ v: [Double]) -> [Double] {
            let length = v.reduce(0) { $0 + $1 * $1 }.squareRoot()
            return v.map { $0 / length }
        }
        func dot(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
        func attend(_ scores: [Double], _ values: [[Double]]) -> [Double] {
            let weights = scores.map { exp($0 - scores.max()!) }
            return (0..<size).map { c in zip(weights, values).reduce(0) { $0 + $1.0 * $1.1[c] } / weights.reduce(0, +) }
        }
        var (outputs, left): ([Double], [Double]) = ([], [])
        for b in 0..<batch {
            let rows = (0..<length).map { t in
                project("qkv", (0..<width).map { Double(x.floats[(b * length + t) * width + $0]) })
            }
            func part(_ t: Int, _ which: Int, _ h: Int) -> [Double] { Array(rows[t][which * width + h * size..<which * width + (h + 1) * size]) }
            for t in 0..<length {
                var mixed: [Double] = []
                for h in 0..<heads {
                    let q = unit(part(t, 0, h)).map { $0 * Double(store["a.scale"]!.value.floats[h]) }
                    let near = attend((0...t).map { dot(q, unit(part($0, 1, h))) }, (0...t).map { part($0, 2, h) })
                    let stored = (0..<pairs.count).map { slot in (0..<2 * width).map { Double(pairs.pair(slot)[$0]) } }
                    let scored = stored.map { (dot(q, Array($0[h * size..<(h + 1) * size])), Array($0[width + h * size..<width + (h + 1) * size])) }
                        .sorted { $0.0 > $1.0 }.prefix(nearest)
                    if scored.isEmpty {
                        mixed += near
                        continue
                    }
                    let far = attend(scored.map(\.0), scored.map(\.1))
                    let gate = 1 / (1 + exp(-Double(store["a.gate"]!.value.floats[h])))
                    mixed += zip(near, far).map { (1 - gate) * $0 + gate * $1 }
                }
                outputs += project("output", mixed)
                left += (0..<heads).flatMap { unit(part(t, 1, $0)) } + (0..<heads).flatMap { part(t, 2, $0) }
            }
        }
        return (outputs, left)
    }

    @Test("the equations, and the pairs that a segment leaves", arguments: [0, 1, 3, 40], [4, 64])
    func equations(nearest: Int, count: Int) throws {
        let (store, layer) = make(nearest: max(1, nearest))
        let pairs = table(nearest == 0 ? 0 : count)
        let x = randomTensor("x", [2, 5, width])
        let reading = PairReading([pairs], collects: true)
        let found = layer(x, mask: AttentionMask(causal: true), ForwardPass(), pairs: reading)
        let (outputs, left) = reference(store, x, pairs, nearest: max(1, nearest))
        for (one, other) in zip(found.array, outputs) { #expect(abs(Double(one) - other) < 2e-5) }
        let segment = try #require(reading.segment)
        #expect(segment.shape == [2, 5, 2 * width])
        for (one, other) in zip(segment.array, left) { #expect(abs(Double(one) - other) < 1e-5) }
        let queries = Double(pairs.count == 0 ? 0 : 2 * 5 * heads)
        #expect(reading.statistics.queries == queries)
        let gates = 1 / (1 + exp(-0.7)) + 1 / (1 + exp(0.4))
        #expect(abs(reading.statistics.gate - queries / 2 * gates) < 1e-4 * max(1, queries))
        if nearest == 1 { #expect(reading.statistics.hits == queries && reading.statistics.entropy == 0 && reading.statistics.age >= queries) }
    }

    @Test("pairs in two stores are found as in one")
    func twoStores() {
        let (_, layer) = make(nearest: 5)
        let rows = randomTensor("pairs", [12, 2 * width])
        let x = randomTensor("x", [2, 5, width])
        func part(_ range: Range<Int>) -> PairTable { PairTable(rows.rows(Array(range)), heads: heads, ages: range.map { $0 + 1 }) }
        func run(_ stores: [PairTable]) -> ([Float], PairStatistics) {
            let reading = PairReading(stores)
            let output = layer(x, mask: AttentionMask(causal: true), ForwardPass(), pairs: reading)
            return (output.array, reading.statistics)
        }
        let (whole, read) = run([part(0..<12)])
        let (parts, readOfParts) = run([part(0..<7), part(7..<7), part(7..<12)])
        #expect(whole == parts && read == readOfParts)
    }

    @Test("gradients of inputs, projections, scales and gates; none of stored pairs", arguments: [0, 3])
    func gradients(count: Int) {
        // As many as there are: which ones are nearest may not change within a step of the differences.
        let (store, layer) = make(nearest: 3)
        let pairs = table(count)
        let report = checkGradients(inputs: [randomTensor("x", [2, 4, width])], store: store) { tape, inputs in
            layer(inputs[0], mask: AttentionMask(causal: true), ForwardPass(tape: tape), pairs: PairReading([pairs]))
        }
        #expect(report.passes(), "\(report)")
        #expect(store["a.gate"]!.gradient.array.allSatisfy { ($0 != 0) == (count > 0) })
    }

    @Test("queries of a lane that find nothing are answered by their segment alone, and give their gradient to it")
    func partial() {
        /// The pairs of one lane.
        final class Lane: PairStore {
            let table: PairTable
            init(_ table: PairTable) { self.table = table }
            var width: Int { table.width }
            var count: Int { table.count }
            func pair(_ slot: Int) -> UnsafePointer<Float> { table.pair(slot) }
            func age(_ slot: Int) -> Int { table.age(slot) }
            func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int) -> FoundPairs {
                var found = table.nearest(queries, head: head, lanes: lanes, limit: limit)
                let length = queries.shape[0] / lanes.count
                for (sequence, lane) in lanes.enumerated() where lane != 7 {
                    for query in sequence * length..<(sequence + 1) * length { found.counts[query] = 0 }
                }
                return found
            }
        }
        let (store, layer) = make(nearest: 3)
        let pairs = Lane(table(3))
        func reading() -> PairReading {
            let reading = PairReading([pairs])
            reading.lanes = [7, 2]
            return reading
        }
        let x = randomTensor("x", [2, 4, width])
        let found = layer(x, mask: AttentionMask(causal: true), ForwardPass(), pairs: reading()).array
        let both = layer(x, mask: AttentionMask(causal: true), ForwardPass(), pairs: PairReading([pairs.table])).array
        let none = layer(x, mask: AttentionMask(causal: true), ForwardPass(), pairs: nil).array
        #expect(Array(found.prefix(4 * width)) == Array(both.prefix(4 * width)))
        #expect(zip(found.suffix(4 * width), none.suffix(4 * width)).allSatisfy { abs($0 - $1) < 1e-6 })
        let report = checkGradients(inputs: [x], store: store) { tape, inputs in
            layer(inputs[0], mask: AttentionMask(causal: true), ForwardPass(tape: tape), pairs: reading())
        }
        #expect(report.passes(), "\(report)")
    }
}
