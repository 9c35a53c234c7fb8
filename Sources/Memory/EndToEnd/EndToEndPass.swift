// The two passes of an end-to-end memory over one batch.
//
// Legend: B stories, N sentences of all of them, D width, P D rounded up to a multiple of 16, V vocabulary, M temporal rows, K hops, T tables that
// sentences are summed with, A all tables (a question's own table is the last), E words and ages of all sentences, R rows of the gathered table.

import Diagnostics
import Kernels
import Tensors

/// The entries of bags: which row of the gathered table, with which row of weights.
struct BagEntries {
    /// int32 [entries].
    let rows: Tensor
    /// int32 [entries].
    let weightRows: Tensor
    /// int32 [bags + 1].
    let offsets: Tensor
}

/// What the two passes share.
final class EndToEndPass {
    private let memory: EndToEndMemory
    private let tables: EndToEndTables
    private let isLinear: Bool
    private let (batch, sentences, width, padded, hops): (Int, Int, Int, Int, Int)
    /// T and A.
    private let (memoryTables, allTables): (Int, Int)
    /// M.
    private let ages: Int
    private let storyStarts: [Int32]
    private let weights: Tensor

    /// The words of the gathered table's rows from row M on, int32 [R - M].
    private let distinctWords: Tensor
    /// R.
    private let rowCount: Int
    private let sentenceEntries: BagEntries
    private let questionEntries: BagEntries
    /// [N, T, P]: the memories of all tables.
    private let slots: Tensor
    /// [K + 1, B, P]: u before each hop and after the last.
    private let states: Tensor
    /// The form of those of one hop.
    private let form: HopStates
    /// [K, N].
    let attention: Tensor

    init(_ memory: EndToEndMemory, _ stories: MemorizedStories, _ tables: EndToEndTables, isLinear: Bool) {
        (self.memory, self.tables, self.isLinear) = (memory, tables, isLinear)
        (batch, sentences, width) = (stories.count, stories.sentenceCount, memory.width)
        (padded, hops) = ((memory.width + 15) / 16 * 16, tables.hops.count)
        memoryTables = tables.memoryTables
        allTables = max(memoryTables, tables.question + 1)
        let vocabulary = tables.words.first?.shape[0] ?? 0
        let times = tables.times.first?.shape ?? [0, memory.width]
        ages = times[0]
        require(
            tables.words.count == allTables && tables.words.allSatisfy { $0.shape == [vocabulary, memory.width] },
            "end-to-end memory: \(allTables) tables of words of width \(memory.width), given \(tables.words.map(\.shape))")
        require(
            tables.times.isEmpty || tables.times.count == memoryTables && tables.times.allSatisfy { $0.shape == times && times[1] == memory.width },
            "end-to-end memory: \(memoryTables) temporal tables of width \(memory.width), given \(tables.times.map(\.shape))")
        require(tables.hops.allSatisfy { $0.keys != $0.values }, "end-to-end memory: keys and values of a hop from one table in \(tables.hops)")
        if let transition = tables.transition {
            require(transition.shape == [memory.width, memory.width], "end-to-end memory: transition \(transition.shape), width \(memory.width)")
        }
        require(
            stories.ages.count == stories.sentenceCount && stories.questionStarts.count == stories.count + 1,
            "end-to-end memory: \(stories.ages.count) ages of \(stories.sentenceCount) sentences, \(stories.questionStarts.count - 1) questions of "
                + "\(stories.count) stories")
        storyStarts = stories.storyStarts

        var gatherer = RowGatherer(vocabulary: vocabulary, ages: ages, entries: stories.words.count + stories.questionWords.count)
        let encoding = memory.weights(of: stories)
        weights = encoding.table
        sentenceEntries = gatherer.entries(stories.words, stories.sentenceStarts, ages: ages > 0 ? stories.ages : nil, encoding)
        questionEntries = gatherer.entries(stories.questionWords, stories.questionStarts, ages: nil, encoding)
        distinctWords = gatherer.words
        rowCount = ages + gatherer.count
        slots = Tensor(uninitialized: [sentences, memoryTables, padded])
        states = Tensor(zeros: [hops + 1, batch, padded])
        attention = Tensor(uninitialized: [hops, sentences])
        form = HopStates(rows: batch, width: width, stride: padded, rectifiedUnits: memory.rectifiedUnits)
    }

    /// Elements between rows of the gathered table.
    private var tableStride: Int { allTables * padded }
    /// Elements between rows of `slots`.
    private var slotStride: Int { memoryTables * padded }

    /// u of a story before hop k.
    @inline(__always)
    private func state(_ hop: Int, _ story: Int) -> UnsafeMutablePointer<Float> { states.floats + (hop * batch + story) * padded }

    /// The sentences of a story.
    @inline(__always)
    private func range(_ story: Int) -> (first: Int, count: Int) {
        (Int(storyStarts[story]), Int(storyStarts[story + 1] - storyStarts[story]))
    }

    /// Runs `body` on ranges of stories, each worth a thread.
    @inline(__always)
    private func forStories(_ body: (Range<Int>) -> Void) {
        let perStory = (sentences * slotStride + batch) / max(batch, 1)
        Workers.parallel(batch, minimum: max(1, (1 << 15) / max(perStory, 1)), body)
    }

    // MARK: forward

    /// Computes slots, states and attention.
    func run() {
        let table = gathered()
        forStories { stories in
            for story in stories {
                readStory(story, table)
                if tables.transition == nil { for hop in 0..<hops { readSlots(hop, story) } }
            }
        }
        guard let transition = tables.transition else { return }
        for hop in 0..<hops {
            form.multiply(state(hop + 1, 0), state(hop, 0), by: transition)
            forStories { stories in for story in stories { readSlots(hop, story) } }
        }
    }

    /// [R, A, P]: temporal rows, then the rows of the words that occur, of all tables side by side.
    private func gathered() -> Tensor {
        let table = Tensor(uninitialized: [max(rowCount, 1), allTables, padded])
        let target = table.floats
        for index in 0..<allTables {
            let words = tables.words[index].floats
            let times = index < tables.times.count ? tables.times[index].floats : nil
            for row in 0..<rowCount {
                let place = target + (row * allTables + index) * padded
                if row >= ages {
                    place.update(from: words + Int(distinctWords.integers[row - ages]) * width, count: width)
                } else if let times {
                    place.update(from: times + row * width, count: width)
                } else {
                    place.update(repeating: 0, count: width)
                }
                if padded > width { (place + width).update(repeating: 0, count: padded - width) }
            }
        }
        return table
    }

    /// The memories of one story, and its first state.
    private func readStory(_ story: Int, _ table: Tensor) {
        let (first, count) = range(story)
        let entries = sentenceEntries
        kernels.bagSums(
            slots.floats + first * slotStride, outStride: slotStride, table: table.floats, tableStride: tableStride, rows: entries.rows.integers,
            weightRows: entries.weightRows.integers, offsets: entries.offsets.integers + first, weights: weights.floats, bags: count,
            tables: memoryTables, width: padded)
        let asked = questionEntries
        kernels.bagSums(
            state(0, story), outStride: padded, table: table.floats + tables.question * padded, tableStride: tableStride, rows: asked.rows.integers,
            weightRows: asked.weightRows.integers, offsets: asked.offsets.integers + story, weights: weights.floats, bags: 1, tables: 1,
            width: padded)
    }

    /// One hop of one story. Where there is a transition its product is in place.
    private func readSlots(_ hop: Int, _ story: Int) {
        let (first, count) = range(story)
        let next = state(hop + 1, story)
        if tables.transition == nil { next.update(from: state(hop, story), count: padded) }
        if count > 0 {
            let base = slots.floats + first * slotStride
            kernels.readSlots(
                next, probability: attention.floats + hop * sentences + first, query: state(hop, story), keys: base + tables.hops[hop].keys * padded,
                values: base + tables.hops[hop].values * padded, stride: slotStride, isLinear: isLinear, slots: count,
                emptySlots: max(0, (memory.capacity ?? 0) - count), width: padded)
        }
        form.rectify(row: next)
    }

    /// u after the last hop, [B, D].
    func finalState() -> Tensor {
        let result = Tensor(uninitialized: [batch, width])
        for story in 0..<batch { (result.floats + story * width).update(from: state(hops, story), count: width) }
        return result
    }

    // MARK: backward

    /// Adds the gradients of all tables and of the transition, from that of the last state, [B, D].
    func accumulateGradients(_ gradient: Tensor) {
        // The first hop that reads a table stores the gradient of its slots, and others add to it; where none does it is 0.
        let readTables = Set(tables.hops.flatMap { [$0.keys, $0.values] })
        let slotShape: Shape = [sentences, memoryTables, padded]
        let slotGradient = readTables.count == memoryTables ? Tensor(uninitialized: slotShape) : Tensor(zeros: slotShape)
        // The gradients of the states after and before a hop, which take turns.
        let stateGradients = Tensor(zeros: [2, batch, padded])
        var (after, before) = (stateGradients.floats, stateGradients.floats + batch * padded)
        let scratch = Tensor(uninitialized: [max(sentences, 1)])
        for story in 0..<batch { (after + story * padded).update(from: gradient.floats + story * width, count: width) }
        var isStored = [Bool](repeating: false, count: memoryTables)
        for hop in (0..<hops).reversed() {
            let (keys, values) = tables.hops[hop]
            let (addsKeys, addsValues) = (isStored[keys], isStored[values])
            (isStored[keys], isStored[values]) = (true, true)
            form.rectifyGradient(after, of: state(hop + 1, 0))
            if let transition = tables.transition { form.multiplyGradient(transition, state: state(hop, 0), after: after, before: before) }
            forStories { stories in
                for story in stories {
                    let (first, count) = range(story)
                    let (next, previous) = (after + story * padded, before + story * padded)
                    if tables.transition == nil { previous.update(from: next, count: padded) }
                    if count == 0 { continue }
                    let (base, target) = (slots.floats + first * slotStride, slotGradient.floats + first * slotStride)
                    kernels.readSlotsGradient(
                        previous, keyGradient: target + keys * padded, accumulateKeys: addsKeys, valueGradient: target + values * padded,
                        accumulateValues: addsValues, outGradient: next, probability: attention.floats + hop * sentences + first,
                        scratch: scratch.floats + first, query: state(hop, story), keys: base + keys * padded, values: base + values * padded,
                        stride: slotStride, isLinear: isLinear, slots: count, width: padded)
                }
            }
            swap(&after, &before)
        }
        // The pointers do not keep the tensor alive.
        withExtendedLifetime(stateGradients) { accumulateTables(slotGradient, questionGradient: after) }
    }

    /// Adds the gradients of the rows that were gathered to the tables'.
    private func accumulateTables(_ slotGradient: Tensor, questionGradient: UnsafeMutablePointer<Float>) {
        let tableGradient = Tensor(zeros: [max(rowCount, 1), allTables, padded])
        let asked = questionEntries
        kernels.bagSumsGradient(
            tableGradient.floats + tables.question * padded, tableStride: tableStride, outGradient: questionGradient, outStride: padded,
            rows: asked.rows.integers, weightRows: asked.weightRows.integers, offsets: asked.offsets.integers, weights: weights.floats, bags: batch,
            tables: 1, width: padded)
        let entries = sentenceEntries
        Workers.parallel(memoryTables, minimum: max(1, (1 << 15) / max(sentences * padded, 1))) { part in
            kernels.bagSumsGradient(
                tableGradient.floats + part.lowerBound * padded, tableStride: tableStride,
                outGradient: slotGradient.floats + part.lowerBound * padded, outStride: slotStride, rows: entries.rows.integers,
                weightRows: entries.weightRows.integers, offsets: entries.offsets.integers, weights: weights.floats, bags: sentences, tables: part.count, width: padded)
        }
        for index in 0..<allTables {
            tables.words[index].node?.withZeroedGradient { target in
                for row in ages..<max(ages, rowCount) {
                    add(tableGradient.floats + (row * allTables + index) * padded, to: target + Int(distinctWords.integers[row - ages]) * width)
                }
            }
            guard index < tables.times.count else { continue }
            tables.times[index].node?.withZeroedGradient { target in
                for row in 0..<ages { add(tableGradient.floats + (row * allTables + index) * padded, to: target + row * width) }
            }
        }
    }

    @inline(__always)
    private func add(_ row: UnsafeMutablePointer<Float>, to target: UnsafeMutablePointer<Float>) {
        for column in 0..<width { target[column] += row[column] }
    }
}

/// The words that occur, numbered in the order in which they first do.
private struct RowGatherer {
    private let ages: Int
    /// int32 [V]: the row of a word's place among those gathered, -1 before it occurs.
    private let places: Tensor
    /// int32: the words gathered, `count` of them.
    let words: Tensor
    private(set) var count = 0
    private let vocabulary: Int

    init(vocabulary: Int, ages: Int, entries: Int) {
        (self.vocabulary, self.ages) = (vocabulary, ages)
        places = Tensor(uninitialized: [vocabulary], .int32)
        places.integers.update(repeating: -1, count: vocabulary)
        words = Tensor(uninitialized: [max(1, min(vocabulary, entries))], .int32)
    }

    /// The entries of bags of words; with `ages`, each bag's last entry is its temporal row.
    mutating func entries(_ bagWords: [Int32], _ starts: [Int32], ages bagAges: [Int32]?, _ encoding: EncodingWeights) -> BagEntries {
        let bags = starts.count - 1
        let count = bagWords.count + (bagAges == nil ? 0 : bags)
        let rows = Tensor(uninitialized: [max(count, 1)], .int32)
        let weightRows = Tensor(uninitialized: [max(count, 1)], .int32)
        let offsets = Tensor(uninitialized: [bags + 1], .int32)
        var entry = 0
        offsets.integers[0] = 0
        let timeRow = encoding.timeRow
        let (row, weightRow) = (rows.integers, weightRows.integers)
        bagWords.withUnsafeBufferPointer { bagWords in
            for bag in 0..<bags {
                let (first, end) = (Int(starts[bag]), Int(starts[bag + 1]))
                let length = end - first
                for index in first..<end {
                    row[entry] = place(bagWords[index])
                    weightRow[entry] = encoding.row(place: index - first, length: length)
                    entry += 1
                }
                if let bagAges {
                    require(bagAges[bag] >= 1, "end-to-end memory: a sentence of age \(bagAges[bag])")
                    row[entry] = min(bagAges[bag], Int32(ages)) - 1
                    weightRow[entry] = timeRow
                    entry += 1
                }
                offsets.integers[bag + 1] = Int32(entry)
            }
        }
        return BagEntries(rows: rows, weightRows: weightRows, offsets: offsets)
    }

    @inline(__always)
    private mutating func place(_ word: Int32) -> Int32 {
        require(word > 0 && word < vocabulary, "end-to-end memory: word \(word) of \(vocabulary)")
        let known = places.integers[Int(word)]
        if known >= 0 { return known }
        let row = Int32(ages + count)
        places.integers[Int(word)] = row
        words.integers[count] = word
        count += 1
        return row
    }
}
