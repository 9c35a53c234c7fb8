// The end-to-end memory: what must hold of stories of any length.

import Kernels
import Memory
import TestSupport
import Tensors
import Testing

/// Stories of different lengths over a vocabulary of 9, one of them without a sentence.
private let stories: MemorizedStories = {
    var stories = MemorizedStories()
    stories.add(sentences: [[1, 2, 3], [4, 2], [5, 6, 7, 8]], question: [2, 1])
    stories.add(sentences: [], question: [3])
    stories.add(sentences: [[8, 8, 1, 2, 3]], question: [4, 5, 6])
    stories.addSentence([2, 7], age: 9)
    stories.addSentence([3], age: 4)
    stories.addSentence([6, 2, 3], age: 2)
    stories.addSentence([1, 4], age: 1)
    stories.finishStory(question: [7, 3])
    return stories
}()

/// The same, for the table of memories.
let endToEndStories = stories

/// One way to make the network.
struct EndToEndVariant: Sendable, CustomTestStringConvertible {
    var testDescription: String
    var width = 5
    var hops = 3
    var encoding = SentenceEncoding.position
    var isLayerWise = false
    var hasTimes = true
    var hasTransition = false
    var rectified = 0
    var isLinear = false
    var capacity: Int?

    static let all = [
        EndToEndVariant(testDescription: "adjacent"),
        EndToEndVariant(testDescription: "bag of words, no times", encoding: .bag, hasTimes: false),
        EndToEndVariant(testDescription: "released position, empty slots", width: 17, encoding: .releasedPosition(places: 6), capacity: 6),
        EndToEndVariant(testDescription: "linear", isLinear: true, capacity: 6),
        EndToEndVariant(testDescription: "layer-wise", width: 32, isLayerWise: true, hasTransition: true),
        EndToEndVariant(testDescription: "adjacent with transition, six hops", width: 3, hops: 6, hasTransition: true),
        EndToEndVariant(testDescription: "one hop", hops: 1),
        EndToEndVariant(testDescription: "all rectified", width: 6, rectified: 6),
        EndToEndVariant(testDescription: "half rectified", width: 6, isLayerWise: true, hasTransition: true, rectified: 3),
    ]

    /// The tables' tensors: words, times, transition.
    var inputs: [Tensor] {
        let memoryTables = isLayerWise ? 2 : hops + 1
        let words = (0..<memoryTables + (isLayerWise ? 1 : 0)).map { randomTensor("words \($0)", [9, width], deviation: 0.4) }
        let times = hasTimes ? (0..<memoryTables).map { randomTensor("times \($0)", [4, width], deviation: 0.4) } : []
        return words + times + (hasTransition ? [randomTensor("transition", [width, width], deviation: 0.4)] : [])
    }

    func tables(_ inputs: [Tensor]) -> EndToEndTables {
        let memoryTables = isLayerWise ? 2 : hops + 1
        let words = memoryTables + (isLayerWise ? 1 : 0)
        return EndToEndTables(
            words: Array(inputs[..<words]), times: hasTimes ? Array(inputs[words..<words + memoryTables]) : [],
            hops: (0..<hops).map { isLayerWise ? (0, 1) : ($0, $0 + 1) }, question: isLayerWise ? 2 : 0,
            transition: hasTransition ? inputs.last : nil)
    }

    var memory: EndToEndMemory { EndToEndMemory(width: width, encoding: encoding, rectifiedUnits: rectified, capacity: capacity) }
}

@Suite("End-to-end memory")
struct EndToEndMemoryTests {
    @Test("attention sums to 1 over a story's sentences, or to less where empty slots take part")
    func attention() {
        for variant in EndToEndVariant.all where !variant.isLinear {
            let attention = variant.memory(stories, variant.tables(variant.inputs)).attention
            for hop in 0..<variant.hops {
                for story in [0, 2, 3] {
                    let range = Int(stories.storyStarts[story])..<Int(stories.storyStarts[story + 1])
                    let sum = range.reduce(Float(0)) { $0 + attention.floats[hop * stories.sentenceCount + $1] }
                    if variant.capacity == nil { #expect(abs(sum - 1) < 1e-5) } else { #expect(sum > 0 && sum < 1) }
                }
            }
        }
    }

    @Test("a story means the same alone and in company", arguments: EndToEndVariant.all)
    func alone(_ variant: EndToEndVariant) {
        let memory = variant.memory
        let together = memory(stories, variant.tables(variant.inputs), isLinear: variant.isLinear).state
        var single = MemorizedStories()
        single.add(sentences: [[1, 2, 3], [4, 2], [5, 6, 7, 8]], question: [2, 1])
        let state = memory(single, variant.tables(variant.inputs), isLinear: variant.isLinear).state
        for unit in 0..<variant.width { #expect(abs(state.floats[unit] - together.floats[unit]) <= 1e-5 * max(1, abs(state.floats[unit]))) }
    }

    @Test("ages above the temporal rows count as the oldest")
    func oldAges() {
        let variant = EndToEndVariant.all[0]
        var (young, old) = (MemorizedStories(), MemorizedStories())
        for (age, target) in [(4, 0), (400, 1)] {
            var stories = MemorizedStories()
            stories.addSentence([1, 2], age: age)
            stories.addSentence([3], age: 1)
            stories.finishStory(question: [4])
            if target == 0 { young = stories } else { old = stories }
        }
        #expect(variant.memory(young, variant.tables(variant.inputs)).state.array == variant.memory(old, variant.tables(variant.inputs)).state.array)
    }

    @Test("the gradient does not depend on the number of threads, and leaves words that do not occur alone")
    func threads() {
        let variant = EndToEndVariant(testDescription: "wide", width: 100, hops: 3)
        var many = MemorizedStories()
        for index in 0..<48 {
            many.add(sentences: (0..<20).map { [Int32(1 + (index + $0) % 6), Int32(1 + (index * $0) % 7)] }, question: [Int32(1 + index % 7)])
        }
        func gradients() -> [[Float]] {
            let tape = Tape()
            let variables = variant.inputs.map { tape.variable($0) }
            let state = variant.memory(many, variant.tables(variables)).state
            tape.backward(from: state, gradient: Tensor(repeating: 1, state.shape))
            return variables.map { $0.node?.gradient?.array ?? [] }
        }
        let alone = withThreads(1) { gradients() }
        #expect(withThreads(3) { gradients() } == alone)
        // Word 0 is padding and word 8 does not occur.
        for table in alone[..<4] { for word in [0, 8] { #expect(table[word * 100..<(word + 1) * 100].allSatisfy { $0 == 0 }) } }
    }

    @Test("a table that no hop reads has no gradient, but for that of the questions it is summed with")
    func unusedTables() {
        let (width, used) = (16, [0, 2])
        for question in [0, 1] {
            let tape = Tape()
            let words = (0..<3).map { tape.variable(randomTensor("words \($0)", [9, width], deviation: 0.4)) }
            let times = (0..<3).map { tape.variable(randomTensor("times \($0)", [4, width], deviation: 0.4)) }
            // What was in memory before must not matter.
            do { _ = Tensor(repeating: .nan, [stories.sentenceCount, 3, width]) }
            let memory = EndToEndMemory(width: width, encoding: .position)
            let state = memory(stories, EndToEndTables(words: words, times: times, hops: [(0, 2)], question: question)).state
            do { _ = (0..<4).map { _ in Tensor(repeating: .nan, [stories.sentenceCount, 3, width]) } }
            tape.backward(from: state, gradient: Tensor(repeating: 1, state.shape))
            for table in 0..<3 {
                let (word, time) = (words[table].node?.gradient?.array ?? [], times[table].node?.gradient?.array ?? [])
                #expect(word.allSatisfy(\.isFinite) && time.allSatisfy(\.isFinite), "table \(table), questions of \(question)")
                #expect(word.contains { $0 != 0 } == (used.contains(table) || table == question))
                #expect(time.contains { $0 != 0 } == used.contains(table))
            }
        }
    }

    @Test("a sentence of 2,000 words has the paper's weights, and costs as many rows of them as it has words")
    func longSentence() {
        let (count, width) = (2_000, 3)
        let words = randomTensor("words", [9, width], deviation: 0.4)
        var stories = MemorizedStories()
        let question = (0..<count).map { Int32(1 + $0 * $0 % 8) }
        stories.add(sentences: [[1, 2, 3]], question: question)
        let memory = EndToEndMemory(width: width, encoding: .position)
        let tables = EndToEndTables(words: [words, randomTensor("values", [9, width], deviation: 0.4)], times: [], hops: [(0, 1)], question: 0)
        // Before its first sentence there is the row of ones.
        #expect(memory.weightRows == 1)
        let attention = memory(stories, tables).attention
        #expect(attention.array == [1])
        #expect(memory.weightRows == 1 + 3 + count)
        // Without a sentence the hop leaves the sum of the question's words as it is.
        var alone = MemorizedStories()
        alone.add(sentences: [], question: question)
        let state = memory(alone, tables).state
        #expect(memory.weightRows == 1 + 3 + count)
        for k in 0..<width {
            let sum = question.enumerated().reduce(0.0) { sum, word in
                let (j, column) = (Double(word.offset + 1) / Double(count), Double(k + 1) / Double(width))
                return sum + ((1 - j) - column * (1 - 2 * j)) * Double(words.floats[Int(word.element) * width + k])
            }
            #expect(abs(Double(state.floats[k]) - sum) < 1e-4 * max(1, abs(sum)), "unit \(k): \(state.floats[k]), expected \(sum)")
        }
    }
}
