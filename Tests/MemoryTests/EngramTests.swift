// N-grams that own rows of a table: the rows, and the layer that reads them, against an independent program.

import Foundation
import Memory
import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("Rows that n-grams own")
struct EngramTests {
    /// What `generate_engram.py` has written.
    private struct Golden: Decodable {
        struct Text: Decodable {
            let symbols: [Int32]
            let resets: [Bool]
            let before: [Int32]
        }
        struct Hash: Decodable {
            let layer: Int
            let multipliers: [String]
            let moduli: [Int]
            let digests: [String]
        }
        struct Addresses: Decodable {
            let order: Int
            let heads: Int
            let rows: Int
            let vocabulary: Int32
            let seed: UInt64
            let layers: [Hash]
            let texts: [Text]
        }
        struct Layer: Decodable {
            let order: Int
            let heads: Int
            let rows: Int
            let rowWidth: Int
            let gate: String
            let symbols: [[Int32]]
            let addresses: [[[Int32]]]
        }
        let addresses: [Addresses]
        let cases: [GoldenCores<Layer>.Case]

        init() throws {
            let url = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Golden/engram.json")
            self = try JSONDecoder().decode(Self.self, from: Data(contentsOf: url))
        }
    }

    /// FNV-1a over 64-bit numbers.
    private func digest(_ numbers: [Int32]) -> UInt64 { numbers.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 } }

    private func addresses(_ order: Int, _ heads: Int, rows: Int, vocabulary: Int32 = 9, seed: UInt64 = 0, layer: Int = 1, taken: inout Set<Int>) -> NGramAddresses {
        NGramAddresses(
            classes: Array(0..<vocabulary), padding: vocabulary, order: order, heads: heads, rows: rows, seed: seed, layer: layer, taken: &taken)
    }

    @Test("multipliers, moduli and rows are those of an independent program, on more than a thousand sequences")
    func rowsOfSequences() throws {
        for one in try Golden().addresses {
            var taken = Set<Int>()
            for layer in one.layers {
                let found = addresses(one.order, one.heads, rows: one.rows, vocabulary: one.vocabulary, seed: one.seed, layer: layer.layer, taken: &taken)
                #expect(found.multipliers.map(String.init) == layer.multipliers)
                #expect(found.moduli == layer.moduli)
                let rows = one.texts.map { found.rows(of: Tensor($0.symbols, [1, $0.symbols.count]), before: $0.before, resets: $0.resets).integerArray }
                #expect(rows.map { String(digest($0)) } == layer.digests)
                #expect(rows.joined().allSatisfy { $0 >= 0 && $0 < found.rows })
            }
        }
    }

    @Test("one position at a time, and sequence by sequence, the rows are those of the whole")
    func incremental() {
        var taken = Set<Int>()
        let addresses = addresses(4, 2, rows: 50, taken: &taken)
        var random = RandomStream(seed: 4, name: "symbols")
        let texts = (0..<3).map { _ in (0..<8).map { _ in Int32.random(in: 0..<9, using: &random) } }
        let whole = addresses.rows(of: Tensor(texts.flatMap { $0 }, [3, 8])).integerArray
        for t in 0..<8 {
            let next = addresses.rows(ofNext: texts.map { $0[t] }, after: texts.map { Array($0.prefix(t)) }).integerArray
            for b in 0..<3 {
                #expect(Array(next[b * addresses.count..<(b + 1) * addresses.count]) == Array(whole[(b * 8 + t) * addresses.count..<(b * 8 + t + 1) * addresses.count]))
            }
        }
    }

    @Test("the layer and its gradients are those of an independent program, on a dense table and on one whose gradient is rows", arguments: [false, true])
    func layer(isLarge: Bool) throws {
        for one in try Golden().cases {
            let c = one.configuration
            var taken = Set<Int>()
            var small = addresses(c.order, c.heads, rows: c.rows, taken: &taken)
            let symbols = Tensor(c.symbols.flatMap { $0 }, [c.symbols.count, c.symbols[0].count])
            #expect(small.rows(of: symbols).integerArray == c.addresses.joined().flatMap { $0 })
            let rows = small.rows(of: symbols)
            let filled = small.rows
            // The same rows at the beginning of a table that is large enough.
            if isLarge { small = NGramAddresses(classes: small.classes, padding: 9, multipliers: small.multipliers, moduli: small.moduli.dropLast() + [1 << 18], heads: c.heads) }
            let (store, tape) = (ParameterStore(), Tape())
            let x = tape.variable(try #require(one.inputs["x"]).tensor)
            let gate = try #require(EngramGate(rawValue: c.gate))
            let layer = EngramLayer(
                store, "engram", small, rowWidth: c.rowWidth, width: x.shape[2], gate: gate, initializer: .xavierUniform, outputInitializer: .xavierUniform)
            store.allocate(seed: 1)
            #expect(layer.table.gradientForm == (isLarge ? .rows : .dense))
            store.clearGradients()
            for parameter in store.parameters {
                let values = try #require(one.inputs[parameter.name], "\(parameter.name)").tensor
                parameter.value.floats.update(from: values.floats, count: values.count)
            }
            let y = layer(x, rows: rows, ForwardPass(tape: tape))
            func compare(_ actual: [Double], _ expected: GoldenTensor?, _ what: String) {
                let error = deviation(actual, from: expected?.values ?? [.nan]).worst
                #expect(error < 5e-5, "\(one.name): \(what) is off by \(error)")
            }
            compare(y.doubles, one.outputs[0], "output")
            tape.backward(from: [(y, one.outputGradients[0].tensor)])
            for parameter in store.parameters {
                let gradient = parameter.gradient.doubles
                let count = parameter === layer.table ? filled * c.rowWidth : gradient.count
                compare(Array(gradient.prefix(count)), one.gradients[parameter.name], "gradient of \(parameter.name)")
                #expect(gradient.dropFirst(count).allSatisfy { $0 == 0 })
            }
            compare(x.node?.gradient?.doubles ?? [], one.gradients["x"], "gradient of x")
        }
    }

    @Test("different layers and heads have different primes")
    func primes() {
        var taken = Set<Int>()
        let moduli = (0..<3).flatMap { addresses(3, 4, rows: 1000, layer: $0, taken: &taken).moduli }
        #expect(Set(moduli).count == 24 && moduli.allSatisfy { n in n >= 1000 && (2..<n).allSatisfy { n % $0 != 0 } })
    }
}
