// The two passes of a sliding end-to-end memory over one batch.
//
// Legend: B sequences, T positions, S words of a sequence, M window, D width, K hops, G tables; R positions of a block. A place in the window
// is counted from the oldest word: place i of M is age M - i. Temporal rows are kept in that order.

import Diagnostics
import Kernels
import Tensors

/// What the two passes share.
final class SlidingMemoryPass {
    private let memory: SlidingMemory
    private let tables: SlidingMemoryTables
    private let empty: [Int]
    private let (batch, positions, words, window, width, hops): (Int, Int, Int, Int, Int, Int)
    /// B T.
    private let rows: Int
    /// R.
    private let blockRows: Int
    /// Elements between rows of a block of scores.
    private let blockStride: Int
    /// [G, M, D]: temporal rows, the oldest first.
    private let times: Tensor
    /// [K + 1, B T, D]: u before each hop and after the last.
    private let states: Tensor
    /// The form of those of one hop.
    private let form: HopStates
    /// [K, B, T, M].
    let attention: Tensor

    init(_ memory: SlidingMemory, _ tables: SlidingMemoryTables, positions: Int, empty: [Int]) {
        (self.memory, self.tables, self.empty, self.positions) = (memory, tables, empty, positions)
        guard let words = tables.words.first, let times = tables.times.first else { fatalError("sliding memory: no tables") }
        require(
            words.shape.rank == 3 && words.shape[2] == memory.width && tables.words.allSatisfy { $0.shape == words.shape },
            "sliding memory: words \(tables.words.map(\.shape)) for a width of \(memory.width)")
        (batch, self.words, window, width, hops) = (words.shape[0], words.shape[1], times.shape[0], memory.width, tables.hops.count)
        let (window, batch, count, width) = (window, batch, self.words, width)
        require(
            window > 0 && tables.times.count == tables.words.count && tables.times.allSatisfy { $0.shape == [window, width] },
            "sliding memory: temporal rows \(tables.times.map(\.shape))")
        require(positions > 0 && positions <= count, "sliding memory: \(positions) positions of \(count) words")
        require(
            empty.count == batch && empty.allSatisfy { $0 >= 0 && $0 <= count - positions },
            "sliding memory: \(empty) words that are none, of \(count)")
        if let transition = tables.transition { require(transition.shape == [width, width], "sliding memory: transition \(transition.shape)") }
        rows = batch * positions
        blockRows = min(positions, max(16, min(64, (window / 4 + 15) / 16 * 16)))
        blockStride = (blockRows + window - 1 + 15) / 16 * 16
        self.times = Tensor(uninitialized: [tables.times.count, window, width])
        for (table, times) in tables.times.enumerated() {
            let target = self.times.floats + table * window * width
            for place in 0..<window { (target + place * width).update(from: times.floats + (window - 1 - place) * width, count: width) }
        }
        states = Tensor(uninitialized: [hops + 1, rows, width])
        states.floats.update(repeating: memory.firstState, count: rows * width)
        attention = Tensor(uninitialized: [hops, batch, positions, window])
        form = HopStates(rows: rows, width: width, stride: width, rectifiedUnits: memory.rectifiedUnits)
    }

    /// u of all positions before hop k, [B T, D].
    private func state(_ hop: Int) -> UnsafeMutablePointer<Float> { states.floats + hop * rows * width }
    /// p of hop k, [B T, M].
    private func probabilities(_ hop: Int) -> UnsafeMutablePointer<Float> { attention.floats + hop * rows * window }
    /// The temporal rows of a table, [M, D].
    private func timeRows(_ table: Int) -> UnsafeMutablePointer<Float> { times.floats + table * window * width }

    /// Some positions of a sequence and the words that they see.
    private struct Block {
        /// The first of the positions, counted over all sequences, and how many they are.
        let (row, count): (Int, Int)
        /// The first word that any of them sees, counted over all sequences, and how many words they see.
        let (word, columns): (Int, Int)
        /// The column of a row's first place in the window: `shift` + row within the block. Below 0 where those places have no word.
        let shift: Int

        /// The first place of the window that has a word.
        @inline(__always)
        func firstPlace(_ row: Int) -> Int { max(0, -(shift + row)) }
    }

    private func block(_ sequence: Int, first: Int) -> Block {
        let count = min(blockRows, positions - first)
        let last = words - positions + first
        let oldest = last - (window - 1)
        let low = max(oldest, empty[sequence])
        return Block(
            row: sequence * positions + first, count: count, word: sequence * words + low, columns: last + count - low, shift: oldest - low)
    }

    // MARK: forward

    /// Computes states and attention.
    func run() {
        let blocks = (positions + blockRows - 1) / blockRows
        let scratch = Tensor(uninitialized: [Workers.count, blockRows * blockStride])
        for hop in 0..<hops {
            let (keys, values) = tables.hops[hop]
            let (current, next, scores) = (state(hop), state(hop + 1), probabilities(hop))
            if let transition = tables.transition {
                form.multiply(next, current, by: transition)
            } else {
                next.update(from: current, count: rows * width)
            }
            multiplyMatrices(
                scores, leadingC: window, current, leadingA: width, timeRows(keys), .transposed, leadingB: width, m: rows, n: window, k: width)
            Workers.parallel(batch * blocks, minimum: minimumTasks(blockRows)) { tasks in
                let band = scratch.floats + Workers.index * blockRows * blockStride
                for task in tasks { read(block(task / blocks, first: task % blocks * blockRows), keys: keys, values: values, hop, band) }
            }
            multiplyMatrices(
                next, leadingC: width, scores, leadingA: window, timeRows(values), leadingB: width, m: rows, n: width, k: window, beta: 1)
            form.rectify(next)
        }
        // The pointers do not keep the tensor alive.
        withExtendedLifetime(scratch) {}
    }

    /// Tasks of so many positions that are worth a thread.
    private func minimumTasks(_ positions: Int) -> Int { max(1, (1 << 18) / max(1, positions * window * width)) }

    /// Scores to attention, and what it reads of the words' rows.
    private func read(_ block: Block, keys: Int, values: Int, _ hop: Int, _ band: UnsafeMutablePointer<Float>) {
        multiplyMatrices(
            band, leadingC: blockStride, state(hop) + block.row * width, leadingA: width, tables.words[keys].floats + block.word * width, .transposed,
            leadingB: width, m: block.count, n: block.columns, k: width)
        for row in 0..<block.count {
            let first = block.firstPlace(row)
            let scores = probabilities(hop) + (block.row + row) * window
            let places = scores + first
            kernels.add(places, places, band + row * blockStride + block.shift + row + first, window - first)
            kernels.softmax(places, places, scale: 1, window - first)
            scores.update(repeating: 0, count: first)
        }
        spread(block, probabilities(hop), band)
        multiplyMatrices(
            state(hop + 1) + block.row * width, leadingC: width, band, leadingA: blockStride, tables.words[values].floats + block.word * width,
            leadingB: width, m: block.count, n: width, k: block.columns, beta: 1)
    }

    /// Rows by place in the window, [B T, M], to rows by word: zeros beside the band.
    private func spread(_ block: Block, _ values: UnsafeMutablePointer<Float>, _ band: UnsafeMutablePointer<Float>) {
        for row in 0..<block.count {
            let target = band + row * blockStride
            let first = block.firstPlace(row)
            let (start, end) = (block.shift + row + first, block.shift + row + window)
            target.update(repeating: 0, count: start)
            (target + start).update(from: values + (block.row + row) * window + first, count: end - start)
            (target + end).update(repeating: 0, count: block.columns - end)
        }
    }

    /// u after the last hop, [B, T, D].
    func finalState() -> Tensor {
        let result = Tensor(uninitialized: [batch, positions, width])
        result.floats.update(from: state(hops), count: rows * width)
        return result
    }

    // MARK: backward

    /// Adds the gradients of the words' rows, the temporal rows and the transition, from that of the last state, [B, T, D].
    func accumulateGradients(_ gradient: Tensor) {
        let wordGradients = tables.words.map { Tensor(zeros: $0.shape) }
        let timeGradients = Tensor(zeros: times.shape)
        // The gradients of the states after and before a hop, which take turns.
        let stateGradients = Tensor(uninitialized: [2, rows, width])
        var (after, before) = (stateGradients.floats, stateGradients.floats + rows * width)
        let scoreGradients = Tensor(uninitialized: [rows, window])
        let scratch = Tensor(uninitialized: [Workers.count, blockRows * blockStride])
        let scores = scoreGradients.floats
        after.update(from: gradient.floats, count: rows * width)
        func accumulateTimes(_ table: Int, _ weights: UnsafeMutablePointer<Float>, _ values: UnsafeMutablePointer<Float>) {
            multiplyMatrices(
                timeGradients.floats + table * window * width, leadingC: width, weights, .transposed, leadingA: window, values, leadingB: width,
                m: window, n: width, k: rows, beta: 1)
        }
        for hop in (0..<hops).reversed() {
            let (keys, values) = tables.hops[hop]
            form.rectifyGradient(after, of: state(hop + 1))
            if let transition = tables.transition {
                form.multiplyGradient(transition, state: state(hop), after: after, before: before)
            } else {
                before.update(from: after, count: rows * width)
            }
            multiplyMatrices(
                scores, leadingC: window, after, leadingA: width, timeRows(values), .transposed, leadingB: width, m: rows, n: window, k: width)
            accumulateTimes(values, probabilities(hop), after)
            Workers.parallel(batch, minimum: minimumTasks(positions)) { sequences in
                let band = scratch.floats + Workers.index * blockRows * blockStride
                for sequence in sequences {
                    for first in stride(from: 0, to: positions, by: blockRows) {
                        readGradient(
                            block(sequence, first: first), keys: keys, values: values, hop, after: after, before: before, scores: scores, band,
                            wordGradients)
                    }
                }
            }
            multiplyMatrices(
                before, leadingC: width, scores, leadingA: window, timeRows(keys), leadingB: width, m: rows, n: width, k: window, beta: 1)
            accumulateTimes(keys, scores, state(hop))
            swap(&after, &before)
        }
        // The pointers do not keep the tensors alive.
        withExtendedLifetime((stateGradients, scoreGradients, scratch)) {}
        for (table, contribution) in zip(tables.words, wordGradients) { table.node?.accumulate(contribution) }
        for (index, table) in tables.times.enumerated() {
            table.node?.withZeroedGradient { target in
                let source = timeGradients.floats + index * window * width
                for place in 0..<window {
                    let row = target + (window - 1 - place) * width
                    kernels.add(row, row, source + place * width, width)
                }
            }
        }
    }

    /// The gradients of one block's words, the part of its states that comes through the words, and the gradient of its scores by place.
    /// - Parameter scores: holds the gradient of the attention that comes through the temporal rows, and gets that of the scores.
    private func readGradient(
        _ block: Block, keys: Int, values: Int, _ hop: Int, after: UnsafeMutablePointer<Float>, before: UnsafeMutablePointer<Float>,
        scores: UnsafeMutablePointer<Float>, _ band: UnsafeMutablePointer<Float>, _ wordGradients: [Tensor]
    ) {
        let (keyRows, valueRows) = (tables.words[keys].floats + block.word * width, tables.words[values].floats + block.word * width)
        let (out, query) = (after + block.row * width, state(hop) + block.row * width)
        func accumulate(_ table: Int, _ rows: UnsafeMutablePointer<Float>) {
            multiplyMatrices(
                wordGradients[table].floats + block.word * width, leadingC: width, band, .transposed, leadingA: blockStride, rows, leadingB: width,
                m: block.columns, n: width, k: block.count, beta: 1)
        }
        multiplyMatrices(
            band, leadingC: blockStride, out, leadingA: width, valueRows, .transposed, leadingB: width, m: block.count, n: block.columns, k: width)
        for row in 0..<block.count {
            let first = block.firstPlace(row)
            let gradient = scores + (block.row + row) * window
            let places = gradient + first
            kernels.add(places, places, band + row * blockStride + block.shift + row + first, window - first)
            kernels.softmaxGradient(
                places, outputGradient: places, probability: probabilities(hop) + (block.row + row) * window + first, scale: 1, window - first)
            gradient.update(repeating: 0, count: first)
        }
        spread(block, probabilities(hop), band)
        accumulate(values, out)
        spread(block, scores, band)
        accumulate(keys, query)
        multiplyMatrices(
            before + block.row * width, leadingC: width, band, leadingA: blockStride, keyRows, leadingB: width, m: block.count, n: width,
            k: block.columns, beta: 1)
    }
}
