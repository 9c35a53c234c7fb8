// The sliding end-to-end memory: what must hold of windows of any length.

import Kernels
import Memory
import TestSupport
import Tensors
import Testing

/// One way to make the operation, and its data.
struct SlidingVariant: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var width = 5
    var hops = 2
    var window = 4
    var positions = 7
    /// Words before the first position, S - T, and those of them that are none, by sequence.
    var before = 0
    var empty = [0, 0]
    var isLayerWise = true
    var hasTransition = true
    var rectified = 2

    static let all = [
        SlidingVariant(testDescription: "layer-wise, half rectified"),
        SlidingVariant(testDescription: "words before", before: 3),
        SlidingVariant(testDescription: "fewer words before than the window holds, some of them none", before: 2, empty: [2, 1]),
        SlidingVariant(testDescription: "more words before than the window holds", before: 9, empty: [0, 8]),
        SlidingVariant(testDescription: "a window longer than all words", window: 19, before: 4, empty: [1, 4]),
        SlidingVariant(
            testDescription: "adjacent, no transition, none rectified", hops: 3, before: 3, isLayerWise: false, hasTransition: false, rectified: 0),
        SlidingVariant(testDescription: "adjacent with transition, all rectified", width: 6, hops: 3, isLayerWise: false, rectified: 6),
        SlidingVariant(testDescription: "one word", window: 1, before: 1, empty: [1, 0]),
        SlidingVariant(testDescription: "one position", positions: 1, before: 6, empty: [5, 6]),
        SlidingVariant(testDescription: "several blocks", width: 3, window: 21, positions: 41, before: 20, empty: [7, 20], rectified: 1),
    ]

    var tables: Int { isLayerWise ? 2 : hops + 1 }

    /// The words' rows, the temporal rows, the transition.
    var inputs: [Tensor] {
        (0..<tables).map { randomTensor("words \($0), \(testDescription)", [empty.count, before + positions, width], deviation: 0.5) }
            + (0..<tables).map { randomTensor("times \($0)", [window, width], deviation: 0.5) }
            + (hasTransition ? [randomTensor("transition", [width, width], deviation: 0.5)] : [])
    }

    func tables(_ inputs: [Tensor]) -> SlidingMemoryTables {
        SlidingMemoryTables(
            words: Array(inputs[..<tables]), times: Array(inputs[tables..<2 * tables]), hops: (0..<hops).map { isLayerWise ? (0, 1) : ($0, $0 + 1) },
            transition: hasTransition ? inputs.last : nil)
    }

    func output(_ inputs: [Tensor]) -> SlidingMemory.Output {
        SlidingMemory(width: width, rectifiedUnits: rectified)(tables(inputs), positions: positions, empty: empty)
    }
}

@Suite("Sliding memory")
struct SlidingMemoryTests {
    @Test("attention sums to 1 over the words that are there, and to 0 over places without one", arguments: SlidingVariant.all)
    func attention(_ variant: SlidingVariant) {
        let attention = variant.output(variant.inputs).attention
        for hop in 0..<variant.hops {
            for sequence in variant.empty.indices {
                for position in 0..<variant.positions {
                    let words = min(variant.window, variant.before + position + 1 - variant.empty[sequence])
                    let first = ((hop * variant.empty.count + sequence) * variant.positions + position) * variant.window
                    let row = Array(attention.array[first..<first + variant.window])
                    #expect(row[..<(variant.window - words)].allSatisfy { $0 == 0 })
                    #expect(row[(variant.window - words)...].allSatisfy { $0 > 0 } && abs(row.reduce(0, +) - 1) < 1e-5)
                }
            }
        }
    }

    @Test("what stands where there is no word changes nothing, and gets no gradient", arguments: SlidingVariant.all)
    func empty(_ variant: SlidingVariant) {
        func run(_ inputs: [Tensor]) -> (state: [Float], gradients: [[Float]]) {
            let tape = Tape()
            let variables = inputs.map { tape.variable($0) }
            let state = variant.output(variables).state
            tape.backward(from: state, gradient: randomTensor("gradient", state.shape))
            return (state.array, variables.map { $0.node?.gradient?.array ?? [] })
        }
        let inputs = variant.inputs
        let plain = run(inputs)
        let (columns, count) = (variant.width, variant.before + variant.positions)
        for table in 0..<variant.tables {
            for (sequence, empty) in variant.empty.enumerated() {
                let first = sequence * count * columns
                for index in first..<first + empty * columns {
                    inputs[table].floats[index] = 1e30
                    #expect(plain.gradients[table][index] == 0)
                }
            }
        }
        let changed = run(inputs)
        #expect(changed.state == plain.state && changed.gradients == plain.gradients)
    }

    @Test("the results do not depend on the number of threads")
    func threads() {
        let variant = SlidingVariant(
            testDescription: "wide", width: 70, hops: 3, window: 60, positions: 90, before: 59, empty: [59, 3, 0, 40], rectified: 35)
        func run() -> [[Float]] {
            let tape = Tape()
            let variables = variant.inputs.map { tape.variable($0) }
            let state = variant.output(variables).state
            tape.backward(from: state, gradient: randomTensor("gradient", state.shape))
            return [state.array] + variables.map { $0.node?.gradient?.array ?? [] }
        }
        let alone = withThreads(1) { run() }
        #expect(withThreads(3) { run() } == alone)
    }
}
