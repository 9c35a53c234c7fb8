// Generated tasks: their layouts step by step, and that what is generated depends on seed, part, step and lane alone.

import Corpora
import Diagnostics
import TestSupport
import Testing

@Suite("Generated tasks") struct GeneratedTaskTests {
    static let generators: [any SequenceGenerator] = [
        CopyGenerator(bits: 3, lengths: 1...7), RepeatCopyGenerator(bits: 2, lengths: 1...3, repeats: 1...4),
        AssociativeRecallGenerator(bits: 5, rows: 2, items: 2...5), DelayedCopyGenerator(symbols: 4, length: 3, delay: 6),
        AddingGenerator(length: 11), PrioritySortGenerator(bits: 4, length: 9, answers: 5), OverwriteGenerator(keys: 3, values: 4, length: 17),
        ReuseGenerator(bits: 3, items: 7, group: 3), KeyValueRecallGenerator(vocabulary: 60, pairs: 2...5, length: 24),
        KeyValueRecallGenerator(vocabulary: 60, pairs: 4...4, rewrites: 3, length: 30, gapPower: 0.5, noise: true),
    ]

    @Test("what checkpoints call a task is never reworded")
    func identities() {
        #expect(
            Self.generators.map(\.identity) == [
                "copy,_1_to_7_vectors_of_3_bits", "repeat-copy,_1_to_3_vectors_of_2_bits,_1_to_4_times",
                "associative_recall,_2_to_5_items_of_2_x_5_bits", "delayed_copy,_3_of_4_symbols,_delay_6", "adding_problem,_11_steps",
                "priority_sort,_5_of_9_vectors_of_4_bits", "key-value_stream,_3_keys,_4_values,_17_steps",
                "memory_reuse,_7_vectors_of_3_bits_in_groups_of_3",
                "multi-query_recall,_2_to_5_pairs,_0_rewrites,_60_symbols,_24_steps,_gap_power_0.01",
                "multi-query_recall,_4_pairs,_3_rewrites,_60_symbols,_30_steps,_gap_power_0.5,_noise",
            ])
    }

    /// One line a channel: `1`, `.` for 0, and `x` for anything else.
    private func picture(_ batch: GeneratedBatch, _ row: Int, _ channels: (Int, Int) -> ArraySlice<Float>) -> [String] {
        let columns = (0..<batch.steps).map { Array(channels(row, $0)) }
        return columns[0].indices.map { channel in String(columns.map { $0[channel] == 0 ? "." : $0[channel] == 1 ? "1" : "x" }) }
    }

    private func counts(_ batch: GeneratedBatch, _ row: Int) -> String {
        String(batch.counts[row * batch.steps..<(row + 1) * batch.steps].map { $0 ? "*" : "." })
    }

    private func one(_ generator: some SequenceGenerator, step: Int = 0, seed: UInt64 = 1) -> GeneratedBatch {
        generator.batch(seed: seed, part: .training, step: step, lanes: [5])
    }

    @Test("copy: vectors, delimiter, zeros while they are given back")
    func copy() {
        let batch = one(CopyGenerator(bits: 3, lengths: 4...4))
        #expect(batch.steps == 9 && counts(batch, 0) == ".....****")
        let (inputs, targets) = (picture(batch, 0, batch.vector), picture(batch, 0, batch.target))
        #expect(inputs[3] == "....1....")
        for bit in 0..<3 {
            #expect(inputs[bit].hasSuffix(".....") && targets[bit].hasPrefix("....."))
            #expect(inputs[bit].prefix(4) == targets[bit].suffix(4))
        }
        #expect(Set(targets).count > 1, "the bits are not all alike")
    }

    @Test("repeat-copy: start, vectors, number of repeats, end marker")
    func repeatCopy() {
        let batch = one(RepeatCopyGenerator(bits: 2, lengths: 2...2, repeats: 3...3))
        #expect(batch.steps == 11 && counts(batch, 0) == "....*******")
        let (inputs, targets) = (picture(batch, 0, batch.vector), picture(batch, 0, batch.target))
        #expect(inputs[2] == "1.........." && inputs[3] == "...x.......")
        #expect(batch.vector(0, 3).last == 0.3)
        #expect(targets[2] == "..........1")
        for bit in 0..<2 {
            let pattern = inputs[bit].dropFirst().prefix(2)
            #expect(inputs[bit] == "." + pattern + "........" && targets[bit] == "...." + pattern + pattern + pattern + ".")
        }
    }

    @Test("memory reuse: a group, then the group again, the last group shorter")
    func reuse() {
        let batch = one(ReuseGenerator(bits: 2, items: 5, group: 3))
        #expect(batch.steps == 10 && counts(batch, 0) == "...***..**")
        let (inputs, targets) = (picture(batch, 0, batch.vector), picture(batch, 0, batch.target))
        #expect(inputs[2] == "111...11.." && inputs[3] == "...111..11")
        for bit in 0..<2 {
            let (first, second) = (inputs[bit].prefix(3), inputs[bit].dropFirst(6).prefix(2))
            #expect(inputs[bit] == first + "..." + second + ".." && targets[bit] == "..." + first + ".." + second)
        }
    }

    /// What an oracle answers that keeps the newest value of each key it reads, at all answered steps, and the answers.
    private func recall(_ batch: GeneratedBatch, _ row: Int, keys: Range<Int>) -> [(given: Int?, expected: Int)] {
        let symbols = batch.symbols[row * batch.steps..<(row + 1) * batch.steps].map { Int($0) }
        var (newest, answers): ([Int: Int], [(Int?, Int)]) = ([:], [])
        for step in 0..<batch.steps {
            if batch.counts[row * batch.steps + step] {
                answers.append((newest[symbols[step]], Int(batch.classes[row * batch.steps + step])))
            } else if keys.contains(symbols[step]), step + 1 < batch.steps, symbols[step + 1] >= keys.upperBound {
                newest[symbols[step]] = symbols[step + 1]
            }
        }
        return answers
    }

    @Test("key-value recall: an oracle that keeps the newest values answers all, each key once, and no value tells itself")
    func keyValueRecall() {
        for (rewrites, noise) in [(0, false), (0, true), (5, false), (5, true)] {
            let generator = KeyValueRecallGenerator(vocabulary: 64, pairs: 3...8, rewrites: rewrites, length: 52, noise: noise)
            var (rightByFirst, all, guessed, gaps): (Int, Int, Int, [Int]) = (0, 0, 0, [])
            for step in 0..<40 {
                let batch = generator.batch(seed: 3, part: .training, step: step, lanes: [0, 1, 2])
                for row in 0..<3 {
                    let answers = recall(batch, row, keys: 1..<32)
                    #expect((3...8).contains(answers.count) && answers.allSatisfy { $0.given == $0.expected })
                    let symbols = batch.symbols[row * 52..<(row + 1) * 52].map { Int($0) }
                    let writes = 2 * (answers.count + rewrites)
                    let asked = (0..<52).filter { batch.counts[row * 52 + $0] }
                    #expect(asked.allSatisfy { $0 >= writes && $0 % 2 == 0 && (1..<32).contains(symbols[$0]) })
                    #expect(Set(asked.map { symbols[$0] }).count == answers.count)
                    #expect(Set(stride(from: 1, to: writes, by: 2).map { symbols[$0] }).count == writes / 2)
                    #expect(symbols[writes...].enumerated().allSatisfy { noise ? $1 != 0 : asked.contains(writes + $0) || $1 == 0 })
                    gaps += asked.map { ($0 - writes) / 2 }
                    // Who keeps the first value fails where keys are written again; who always says one value is right by chance.
                    var first: [Int: Int] = [:]
                    for place in stride(from: 0, to: writes, by: 2) where first[symbols[place]] == nil { first[symbols[place]] = symbols[place + 1] }
                    rightByFirst += asked.count { first[symbols[$0]] == Int(batch.classes[row * 52 + $0]) }
                    guessed += answers.count { $0.expected == 40 }
                    all += answers.count
                }
            }
            #expect(rewrites == 0 ? rightByFirst == all : rightByFirst < all * 3 / 4)
            #expect(guessed < all / 12)
            #expect(gaps.count { $0 < 6 } > gaps.count / 2, "most keys come back soon")
        }
        #expect(KeyValueRecallGenerator(pairs: 4...4, length: 64).withLength(40).length == 160)
    }

    @Test("associative recall: items, query, the item after it")
    func associativeRecall() throws {
        for step in 0..<20 {
            let batch = one(AssociativeRecallGenerator(bits: 8, rows: 2, items: 3...3), step: step)
            #expect(batch.steps == 15 && counts(batch, 0) == ".............**")
            let inputs = picture(batch, 0, batch.vector)
            #expect(inputs[8] == "1..1..1........" && inputs[9] == ".........1..1..")
            func item(_ first: Int) -> [Float] { Array(batch.vector(0, first).prefix(8) + batch.vector(0, first + 1).prefix(8)) }
            let items = [1, 4, 7].map(item)
            let queried = try #require(items.firstIndex(of: item(10)))
            #expect(queried < 2 && Array(batch.target(0, 13) + batch.target(0, 14)) == items[queried + 1])
            #expect(item(13).allSatisfy { $0 == 0 })
        }
    }

    @Test("delayed copy: symbols, blanks, signal, blanks")
    func delayedCopy() {
        let batch = one(DelayedCopyGenerator(symbols: 4, length: 3, delay: 6))
        #expect(batch.steps == 12 && counts(batch, 0) == ".........***")
        #expect(batch.symbols[0..<3].allSatisfy { 0..<4 ~= $0 })
        #expect(Array(batch.symbols[3...]) == [4, 4, 4, 4, 4, 5, 4, 4, 4])
        #expect(batch.classes == Array(repeating: ignoredTarget, count: 9) + batch.symbols[0..<3])
    }

    @Test("adding: one mark in each half, the sum at the end")
    func adding() {
        for step in 0..<20 {
            let batch = one(AddingGenerator(length: 7), step: step)
            let marks = picture(batch, 0, batch.vector)[1]
            #expect(marks.prefix(3).count { $0 == "1" } == 1 && marks.suffix(4).count { $0 == "1" } == 1)
            var sum: Float = 0
            for place in 0..<7 { sum += batch.vectors[2 * place] * batch.vectors[2 * place + 1] }
            #expect(batch.targets == [0, 0, 0, 0, 0, 0, sum] && counts(batch, 0) == "......*")
        }
    }

    @Test("priority sort: the highest priorities first")
    func prioritySort() {
        let batch = one(PrioritySortGenerator(bits: 4, length: 6, answers: 3))
        #expect(batch.steps == 10 && counts(batch, 0) == ".......***")
        #expect(picture(batch, 0, batch.vector)[5] == "......1...")
        let items = (0..<6).map { Array(batch.vector(0, $0)) }.sorted { $0[4] > $1[4] }
        #expect(items.allSatisfy { (-1..<1).contains($0[4]) } && Set(items.map { $0[4] }).count == 6)
        for rank in 0..<3 { #expect(Array(batch.target(0, 7 + rank)) == Array(items[rank].prefix(4))) }
    }

    @Test("overwrite: every question has the latest value of its key")
    func overwrite() throws {
        let generator = OverwriteGenerator(keys: 3, values: 4, length: 40)
        for step in 0..<10 {
            let batch = one(generator, step: step)
            var latest: [Int: Int] = [:]
            for t in 0..<40 {
                let x = Array(batch.vector(0, t))
                let key = try #require(x.prefix(3).firstIndex(of: 1))
                #expect(x.reduce(0, +) == 2)
                if x[7] == 1 {
                    #expect(batch.counts[t] && Int(batch.classes[t]) == latest[key])
                } else {
                    latest[key] = try #require(x[3..<7].firstIndex(of: 1)) - 3
                    #expect(!batch.counts[t])
                }
            }
            #expect(batch.counts[39] && !batch.counts[0])
        }
    }

    @Test("a batch is a function of seed, part, step and lane", arguments: generators.indices)
    func reproducible(_ index: Int) {
        let generator = Self.generators[index]
        let lanes = [0, 1, 2, 3, 4, 5, 6]
        func row(_ batch: GeneratedBatch, _ row: Int) -> [Float] {
            let width = batch.vectors.count / max(batch.counts.count, 1)
            let vectors = batch.vectors[row * batch.steps * width..<(row + 1) * batch.steps * width]
            let symbols = batch.symbols.isEmpty ? [] : batch.symbols[row * batch.steps..<(row + 1) * batch.steps].map { Float($0) }
            return Array(vectors) + symbols
        }
        var seen: Set<[Float]> = []
        for step in 0..<6 {
            let whole = generator.batch(seed: 9, part: .training, step: step, lanes: lanes)
            #expect(whole == generator.batch(seed: 9, part: .training, step: step, lanes: lanes))
            #expect(whole.lengths.allSatisfy { $0 == whole.steps }, "lanes of a step are equally long")
            for part in [[3], [6, 0], [5, 2, 1]] {
                let some = generator.batch(seed: 9, part: .training, step: step, lanes: part)
                for (place, lane) in part.enumerated() { #expect(row(some, place) == row(whole, lane)) }
            }
            for other in [
                generator.batch(seed: 8, part: .training, step: step, lanes: lanes),
                generator.batch(seed: 9, part: .validation, step: step, lanes: lanes),
                generator.batch(seed: 9, part: .test, step: step, lanes: lanes),
                generator.batch(seed: 9, part: .training, step: step + 100, lanes: lanes),
            ] { #expect(other.vectors != whole.vectors || other.symbols != whole.symbols) }
            for lane in lanes { seen.insert(row(whole, lane)) }
        }
        #expect(seen.count > 20)
    }

    @Test("drawn lengths cover their range, and fixed lengths are kept beyond it")
    func lengths() {
        let generator = CopyGenerator(bits: 1, lengths: 3...6)
        let drawn = Set((0..<200).map { generator.batch(seed: 4, part: .training, step: $0, lanes: [0]).steps })
        #expect(drawn == [7, 9, 11, 13])
        #expect(generator.withLength(40).batch(seed: 4, part: .test, step: 0, lanes: [0]).steps == 81)
        #expect(
            RepeatCopyGenerator(bits: 1, lengths: 1...1, repeats: 2...2).withLength(5).batch(seed: 4, part: .test, step: 0, lanes: [0]).steps == 18)
        #expect(PrioritySortGenerator(bits: 2, length: 20, answers: 16).withLength(10) == PrioritySortGenerator(bits: 2, length: 10, answers: 8))
        for generator in Self.generators {
            for length in [2, 5, 23] {
                let other = generator.withLength(length)
                let batch = other.batch(seed: 1, part: .test, step: 3, lanes: [0, 7])
                #expect(batch.counts.contains(true) && other.input == generator.input && other.output == generator.output)
            }
        }
    }

    @Test("the loader goes on from a saved position, and refuses another's")
    func loader() throws {
        let loader = GeneratedLoader(CopyGenerator(bits: 2, lengths: 1...5), lanes: 4, seed: 3)
        for _ in 0..<5 { loader.advance() }
        let position = loader.position
        let expected = loader.batch(lanes: [1, 3])
        let other = GeneratedLoader(CopyGenerator(bits: 2, lengths: 1...5), lanes: 4, seed: 3)
        #expect(other.batch(lanes: [1, 3]) != expected)
        try other.seek(to: position)
        #expect(other.batch(lanes: [1, 3]) == expected)
        #expect(throws: UserError.self) { try other.seek(to: LoaderPosition(global: [1, 2])) }
        #expect(throws: UserError.self) { try other.seek(to: LoaderPosition(global: [-1])) }
    }

    @Test("segment recall: pairs, then questions for those of an earlier segment, each with one answer; streams follow from seed, part and lane")
    func segmentRecall() {
        let generator = SegmentRecallGenerator(pairs: 5, questions: 4, groups: [.init(distance: 2)], keys: 6, values: 3)
        #expect(generator.length == 14 && generator.symbols == 39)
        #expect(generator.identity == "segment_recall,_5_of_6_keys,_4_questions,_distance_2,_3_values")
        var said: [[Int32: Int32]] = []
        for number in 0..<7 {
            let (inputs, targets) = generator.segment(number, seed: 4, part: .training, lane: 3)
            #expect(inputs.count == 14 && targets.count == 14 && inputs.allSatisfy { (0..<39).contains($0) })
            let pairs = Dictionary(uniqueKeysWithValues: stride(from: 0, to: 10, by: 2).map { (inputs[$0], inputs[$0 + 1]) })
            #expect(pairs.keys.allSatisfy { $0 / 6 == Int32(number % 3) } && pairs.values.allSatisfy { $0 >= 36 })
            #expect(targets[..<10].allSatisfy { $0 == ignoredTarget })
            for place in 10..<14 {
                let key = inputs[place] - 18
                #expect(!pairs.keys.contains(key) && said.last?.keys.contains(key) != true, "another segment could answer")
                #expect(targets[place] == (number < 2 ? ignoredTarget : said[number - 2][key]))
            }
            said.append(pairs)
        }
        let loader = SegmentRecallLoader(generator, lanes: 4, seed: 4)
        loader.advance()
        let batch = loader.batch(lanes: [3, 0])
        let own = generator.segment(1, seed: 4, part: .training, lane: 3)
        #expect(Array(batch.inputs[..<14]) == own.inputs && Array(batch.targets[..<14]) == own.targets)
        #expect(own.inputs != generator.segment(1, seed: 4, part: .validation, lane: 3).inputs)
        let several = SegmentRecallLoader(generator, lanes: 4, segments: 3, seed: 4)
        several.advance()
        let row = (3..<6).map { generator.segment($0, seed: 4, part: .training, lane: 2) }
        #expect(several.batch(lanes: [2, 1]).inputs.prefix(42) == row.flatMap(\.inputs)[...])
        #expect(several.batch(lanes: [1, 2]).targets.suffix(42) == row.flatMap(\.targets)[...])
        #expect(throws: UserError.self) { try loader.seek(to: LoaderPosition(global: [-1])) }
    }

    @Test("segment recall over several distances: each has pairs of its own, and keys that come again are asked for as they were")
    func segmentRecallOfDistances() {
        let groups = [(0, 1), (1, 1), (3, 4)].map { SegmentRecallGenerator.Group(distance: $0, recurrence: $1) }
        let generator = SegmentRecallGenerator(pairs: 2, questions: 9, groups: groups, keys: 3, values: 5)
        #expect(generator.length == 21 && generator.symbols == 2 * 3 * 6 + 5 && generator.longestDistance == 3)
        #expect(generator.identity == "segment_recall,_2_of_3_keys,_9_questions,_distance_0+1/1+3,_5_values")
        // Keys of the groups and the questions for them: 0 ..< 3 and 3 ..< 6, 6 ..< 9 and 9 ..< 12, 12 ..< 24 and 24 ..< 36.
        let (first, keyCount): ([Int32], [Int32]) = ([0, 6, 12], [3, 3, 12])
        var said: [[Int32: Int32]] = []
        var asked = [0, 0, 0]
        for number in 0..<9 {
            let (inputs, targets) = generator.segment(number, seed: 4, part: .training, lane: 1)
            said.append(Dictionary(uniqueKeysWithValues: stride(from: 0, to: 12, by: 2).map { (inputs[$0], inputs[$0 + 1]) }))
            #expect(said[number].count == 6 && said[number].values.allSatisfy { (36..<41).contains($0) })
            for group in 0..<3 {
                #expect(said[number].keys.count { (first[group]..<first[group] + keyCount[group]).contains($0) } == 2)
            }
            for place in 12..<21 {
                let group = generator.group(ofQuestion: inputs[place], segment: number)
                let key = inputs[place] - keyCount[group]
                #expect((first[group]..<first[group] + keyCount[group]).contains(key))
                let distance = groups[group].distance
                #expect(targets[place] == (number < distance ? ignoredTarget : said[number - distance][key]))
                asked[group] += 1
                if group == 2 { #expect((max(0, number - 2)..<number).allSatisfy { said[$0][key] == nil }, "said again since") }
            }
        }
        #expect(asked.allSatisfy { $0 > 10 })
        var unmarked = generator
        unmarked.marksQuestions = false
        #expect(unmarked.symbols == 3 * 6 + 5 && unmarked.identity.contains("_9_questions_by_key,"))
        let (marked, plain) = (
            generator.segment(5, seed: 4, part: .test, lane: 0), unmarked.segment(5, seed: 4, part: .test, lane: 0)
        )
        // The same keys by other numbers, and the same answers.
        for place in 12..<21 {
            let group = generator.group(ofQuestion: marked.inputs[place], segment: 5)
            #expect(unmarked.group(ofQuestion: plain.inputs[place], segment: 5) == group)
            #expect(plain.inputs[place] - [0, 3, 6][group] == marked.inputs[place] - first[group] - keyCount[group])
            #expect((plain.targets[place] < 0) == (marked.targets[place] < 0) && (plain.targets[place] < 0 || plain.targets[place] - 18 == marked.targets[place] - 36))
        }
    }

    @Test("segment recall where the distances share their pairs: each may be asked for at once, soon and late", arguments: [true, false])
    func segmentRecallOfSharedPairs(marksQuestions: Bool) {
        let groups = [0, 1, 3].map { SegmentRecallGenerator.Group(distance: $0, recurrence: 5) }
        var generator = SegmentRecallGenerator(pairs: 2, questions: 9, groups: groups, keys: 3, values: 4)
        (generator.sharesPairs, generator.marksQuestions) = (true, marksQuestions)
        let firstValue: Int32 = marksQuestions ? 30 : 15
        #expect(generator.length == 13 && generator.symbols == Int(firstValue) + 4)
        #expect(generator.identity.hasPrefix("segment_recall,_2_of_3_keys_for_all_distances,_9_questions"))
        var said: [[Int32: Int32]] = []
        var asked = [0, 0, 0]
        for number in 0..<11 {
            let (inputs, targets) = generator.segment(number, seed: 4, part: .training, lane: 1)
            said.append([inputs[0]: inputs[1], inputs[2]: inputs[3]])
            #expect(said[number].keys.allSatisfy { Int($0) / 3 == number % 5 } && said[number].values.allSatisfy { $0 >= firstValue })
            for place in 4..<13 {
                let key = inputs[place] - (marksQuestions ? 15 : 0)
                let group = generator.group(ofQuestion: inputs[place], segment: number)
                let distance = groups[group].distance
                #expect(targets[place] == (number < distance ? ignoredTarget : said[number - distance][key]))
                asked[group] += 1
                #expect(number < distance || (number - distance + 1..<number + 1).allSatisfy { said[$0][key] == nil }, "said again since")
            }
        }
        #expect(asked.allSatisfy { $0 > 15 })
    }
}
