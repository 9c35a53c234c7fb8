// Keys in 8 bits find what the keys themselves would, from memory and from a mapped file; a damaged file is refused.

import Diagnostics
import Foundation
import Kernels
import Tensors
import TestSupport
import Testing
import VectorSearch

@Suite struct ByteKeysTests {
    private func path(_ name: String) -> String {
        FileManager.default.temporaryDirectory.appendingPathComponent("mneme-byte-keys-\(ProcessInfo.processInfo.processIdentifier)-\(name)").path
    }

    @Test("the same rows and bits as from the keys themselves", arguments: Similarity.allCases)
    func equal(similarity: Similarity) throws {
        let dimension = 37
        var rows = Rows.clustered(3100, dimension, seed: 8, centres: 30)
        for index in 0..<rows.count where index % 50 == 0 { for column in 0..<dimension { rows.values[index * dimension + column] *= index % 100 == 0 ? 0 : 1e-38 } }
        let asked = Rows.clustered(45, dimension, seed: 9, centres: 30).tensor
        let (tensor, file) = (rows.tensor, path("equal-\(similarity.rawValue)"))
        defer { try? FileManager.default.removeItem(atPath: file) }
        let expected = try ExactSearch.nearest(asked, among: rows.blocks(of: 1000, similarity), limit: 11)
        let keys = try ByteKeys(rounding: tensor.elements, dimension: dimension, ids: rows.ids, owner: tensor.storage)
        #expect(try ExactSearch.nearest(asked, among: [keys.block(similarity)], limit: 11) == expected)
        try keys.write(to: file)
        let mapped = try ByteKeys(mapping: file, verifies: true)
        #expect(mapped.ids == rows.ids && mapped.dimension == dimension)
        let filter = RowFilter(namespaces: [1])
        let block = mapped.block(similarity, namespaces: rows.namespaces)
        #expect(try ExactSearch.nearest(asked, among: [block], limit: 11) == expected)
        #expect(
            try ExactSearch.nearest(asked, among: [block], limit: 11, filter: filter)
                == ExactSearch.nearest(asked, among: rows.blocks(of: 1000, similarity), limit: 11, filter: filter))
        // Deleted where it lies.
        let best = expected[0][0].id
        block.hide(rows.ids.firstIndex(of: best) ?? 0)
        #expect(try ExactSearch.nearest(asked, among: [block], limit: 11)[0].contains { $0.id == best } == false)
        // Keys that are bfloat16 themselves.
        let half = tensor.converted(to: .bfloat16)
        let halves = try ByteKeys(rounding: half.elements, dimension: dimension, ids: rows.ids, owner: half.storage)
        try halves.write(to: file)
        let back = try ByteKeys(mapping: file)
        let direct = try KeyBlock(borrowing: half.elements, dimension: dimension, similarity: similarity, ids: rows.ids, owner: half.storage)
        #expect(
            try ExactSearch.nearest(asked, among: [back.block(similarity)], limit: 11) == ExactSearch.nearest(asked, among: [direct], limit: 11))
    }

    @Test("a file that is cut short, changed or another one is an error that names it")
    func damage() throws {
        let rows = Rows.clustered(300, 16, seed: 1)
        let (tensor, file) = (rows.tensor, path("damage"))
        defer { try? FileManager.default.removeItem(atPath: file) }
        try ByteKeys(rounding: tensor.elements, dimension: 16, ids: rows.ids, owner: tensor.storage).write(to: file)
        let good = try Data(contentsOf: URL(fileURLWithPath: file))
        func problem(_ bytes: Data, verifies: Bool) throws -> String? {
            try bytes.write(to: URL(fileURLWithPath: file))
            do {
                _ = try ByteKeys(mapping: file, verifies: verifies)
                return nil
            } catch let error as UserError {
                #expect(error.exitCode == .badData && error.description.hasPrefix(file))
                return error.description
            }
        }
        #expect(try problem(good, verifies: true) == nil)
        for length in [0, 5, 80, 88, 200, good.count / 2, good.count - 1] { #expect(try problem(good.prefix(length), verifies: false) != nil, "\(length) bytes") }
        #expect(try problem(good + Data([0]), verifies: false) != nil)
        var random = RandomStream(key: 4)
        for _ in 0..<300 {
            let place = Int(random.next() % UInt64(good.count))
            var bad = good
            bad[place] ^= 1 << UInt8(random.next() % 8)
            // Between the parts there are a few bytes that mean nothing.
            let isPadding = try problem(bad, verifies: true) == nil
            #expect(!isPadding || good[place] == 0, "byte \(place)")
        }
        #expect(try problem(Data("MNEME8B1 and nothing else that would fit".utf8), verifies: false) != nil)
        #expect(throws: UserError.self) { try ByteKeys(mapping: file + "-absent") }
    }

    @Test("a key that is not finite is refused")
    func wrongKeys() throws {
        var values = normals(30, seed: 1)
        values[13] = .infinity
        let tensor = Tensor(values, [3, 10])
        #expect(throws: UserError.self) { try ByteKeys(rounding: tensor.elements, dimension: 10, ids: [1, 2, 3], owner: tensor.storage) }
    }
}
