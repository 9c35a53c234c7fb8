// Gradients that are rows against the dense ones: the same bits, whatever touches the table, and nothing that grows with the table.

import TestSupport
import Tensors
import Testing

@Suite("Gradients of rows")
struct RowGradientTests {
    private static let (size, width) = (37, 5)

    /// The gradient of a table with either form of gradient, after `body` has run on its store.
    private func gradient(_ form: GradientForm, size: Int = size, _ body: (ParameterStore, Parameter) -> Void) -> [Float] {
        let store = ParameterStore()
        let table = store.add("table", [size, Self.width], .normal(standardDeviation: 1), gradient: form)
        store.allocate(seed: 5)
        store.clearGradients()
        body(store, table)
        store.zeroMissingGradients()
        return table.gradient.array
    }

    /// Whether both forms give the same bits, and something.
    private func expectEqual(size: Int = size, _ body: (ParameterStore, Parameter) -> Void) {
        let dense = gradient(.dense, size: size, body)
        #expect(gradient(.rows, size: size, body).map(\.bitPattern) == dense.map(\.bitPattern))
        #expect(dense.contains { $0 != 0 })
    }

    private func random(_ count: Int, below bound: Int, _ name: String) -> [Int32] {
        var random = RandomStream(seed: 8, name: name)
        return (0..<count).map { _ in Int32(min(Int(random.nextUniform() * Float(bound)), bound - 1)) }
    }

    /// A scalar in which every row that is read has another weight.
    private func use(_ table: Tensor, _ indices: [Int32], scale: Float = 1) -> Tensor {
        let weights = (0..<indices.count * Self.width).map { Float($0 % 97) * 0.173 - 7.9 }
        return (embedding(table, Tensor(indices, [indices.count]), scale: scale) * Tensor(weights, [indices.count, Self.width])).sum()
    }

    @Test("repeated indices, all rows, no row", arguments: [1, 3, 200, 3000])
    func repeated(count: Int) {
        let indices = random(count, below: Self.size, "indices")
        expectEqual { _, table in
            let tape = Tape()
            tape.backward(from: use(tape.parameter(table), indices, scale: 1.7))
        }
        let unread = gradient(.rows) { _, table in
            let tape = Tape()
            tape.backward(from: use(tape.parameter(table), []) + tape.variable(Tensor(1)))
            #expect(table.rowGradient?.count == 0)
        }
        #expect(unread == [Float](repeating: 0, count: Self.size * Self.width))
    }

    @Test("two uses on a tape, one of them computed again, over several tapes")
    func severalUses() {
        expectEqual { _, table in
            for number in 0..<3 {
                let tape = Tape()
                let first = use(tape.parameter(table), random(40, below: Self.size, "first \(number)"))
                let again = recomputed([Tensor(2)], on: tape) { inputs, tape in
                    use(tape.parameter(table), random(60, below: Self.size, "second \(number)"), scale: 0.3) * inputs[0]
                }
                tape.backward(from: first + again)
            }
        }
    }

    @Test("a contribution to the whole table, before and behind those to rows", arguments: [true, false])
    func whole(isFirst: Bool) {
        let indices = random(30, below: Self.size, "indices")
        let whole = Tensor((0..<Self.size * Self.width).map { Float($0) * 0.01 }, [Self.size, Self.width])
        expectEqual { store, table in
            for _ in 0..<2 {
                let tape = Tape()
                let value = tape.parameter(table)
                // The tape runs backwards.
                let early = isFirst ? use(value, indices) : (value * whole).sum()
                let late = isFirst ? (value * whole).sum() : use(value, indices)
                tape.backward(from: early + late)
            }
            #expect(table.rowGradient == nil)
        }
    }

    @Test("bags of symbols and lists of candidates")
    func bags() {
        let bags = WeightedBags(starts: [0, 3, 3, 7], symbols: random(7, below: Self.size, "symbols"), weights: [1, 0.5, -2, 0.25, 1, 3, 0.1])
        expectEqual { _, table in
            let tape = Tape()
            tape.backward(from: (sumBags(tape.parameter(table), bags) * Tensor((0..<15).map { Float($0) - 6.5 }, [3, 5])).sum())
        }
    }

    @Test("the rows are sorted, each once, and what a step left does not show in the next")
    func order() throws {
        let store = ParameterStore()
        let table = store.add("table", [100_000, Self.width], .zeros, gradient: .rows)
        store.allocate(seed: 1)
        for step in 0..<3 {
            let indices = random(500, below: 100_000, "step \(step)")
            store.clearGradients()
            #expect(table.rowGradient == nil)
            let tape = Tape()
            tape.backward(from: embedding(tape.parameter(table), Tensor(indices, [500])).sum())
            let rows = try #require(table.rowGradient)
            #expect(Array(rows.rows) == Set(indices).sorted())
            for (place, row) in rows.rows.enumerated() {
                let uses = Float(indices.count { $0 == row })
                #expect(rows.values[place * Self.width..<(place + 1) * Self.width].allSatisfy { $0 == uses })
            }
        }
    }

    @Test("reading the dense gradient gives zeros before the first contribution, and keeps what comes later")
    func reading() {
        let zeros = [Float](repeating: 0, count: Self.size * Self.width)
        expectEqual { store, table in
            for indices in [[3, 3, 9], [9, 30]] as [[Int32]] {
                let tape = Tape()
                tape.backward(from: use(tape.parameter(table), indices))
                #expect(Array(store.gradients[0..<zeros.count]) == table.gradient.array)
            }
        }
        _ = gradient(.rows) { store, table in
            #expect(table.gradient.array == zeros)
            let tape = Tape()
            tape.backward(from: use(tape.parameter(table), [1]))
            store.clearGradients()
            #expect(table.gradient.array == zeros)
        }
    }

    @Test("its bytes are those of the rows that were touched, and the memory of the dense gradient is neither read nor written")
    func bytes() throws {
        func bytes(_ size: Int) throws -> Int {
            let store = ParameterStore()
            let table = store.add("table", [size, Self.width], .zeros, gradient: .rows)
            store.allocate(seed: 1)
            store.gradientMemory.update(repeating: .nan)
            for _ in 0..<3 {
                store.clearGradients()
                let tape = Tape()
                tape.backward(from: use(tape.parameter(table), random(300, below: 1000, "indices")))
                store.zeroMissingGradients()
            }
            #expect(store.gradientMemory.allSatisfy { $0.isNaN })
            let rows = try #require(table.rowGradient)
            #expect(rows.values.allSatisfy { $0.isFinite } && rows.count > 200)
            return rows.byteCount
        }
        let few = try bytes(1000)
        #expect(try bytes(1_000_000) == few)
        #expect(few < 512 * 2 * (Self.width + 4) * 4)
    }

    @Test("rows are the derivative")
    func derivative() {
        let store = ParameterStore()
        let table = store.add("table", [6, 4], .normal(standardDeviation: 1), gradient: .rows)
        store.allocate(seed: 2)
        let report = checkGradients(store: store) { tape, _ in
            let rows = embedding(tape.parameter(table), Tensor([1, 4, 1, 0] as [Int32], [2, 2]), scale: 1.5)
            return rows * rows
        }
        #expect(report.passes(), "\(report)")
    }
}
