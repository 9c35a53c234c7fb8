// Loaders: the same rows however lanes are divided, a position that resumes, every window and pair once an epoch.

import Collectives
import Corpora
import Diagnostics
import Foundation
import Sharding
import TestSupport
import Testing

@Suite struct LoaderTests {
    @Test func permutationsAreBijections() {
        for count in 1...200 {
            let permutation = Permutation(count: count, seed: 7, stream: UInt64(count))
            #expect(Set((0..<count).map { permutation[$0] }) == Set(0..<count), "\(count)")
        }
        let large = Permutation(count: 1_000_003, seed: 1, stream: 2)
        var seen = [Bool](repeating: false, count: large.count)
        for index in 0..<large.count { seen[large[index]] = true }
        #expect(seen.allSatisfy { $0 })
        let huge = Permutation(count: 5_000_000_000_000, seed: 1, stream: 2)
        let values = (0..<10_000).map { huge[$0 * 499_999_999] }
        #expect(Set(values).count == 10_000 && values.allSatisfy { $0 >= 0 && $0 < huge.count })
    }

    @Test func permutationsDifferByKeyAndMoveThings() {
        let first = Permutation(count: 1000, seed: 1, stream: 0)
        let second = Permutation(count: 1000, seed: 1, stream: 1)
        #expect((0..<1000).filter { first[$0] == second[$0] }.count < 15)
        #expect((0..<1000).filter { first[$0] == $0 }.count < 15)
        // Neighbours do not stay together.
        #expect((1..<1000).filter { abs(first[$0] - first[$0 - 1]) == 1 }.count < 15)
    }

    @Test func positionsRoundTripAsNumbers() {
        for position in [
            LoaderPosition(global: []), LoaderPosition(global: [3, -1]),
            LoaderPosition(global: [9], lanes: [0: [1, 2, 3], 5: [4, 5, 6], 2: [0, 0, 0]]),
        ] {
            #expect(LoaderPosition(encoded: position.encoded) == position)
            #expect(LoaderPosition(encoded: position.encoded + [0]) == nil)
            #expect(LoaderPosition(encoded: Array(position.encoded.dropLast())) == nil)
        }
        #expect(LoaderPosition(encoded: []) == nil && LoaderPosition(encoded: [-1]) == nil && LoaderPosition(encoded: [0, 1 << 60, 1]) == nil)
    }

    @Test func everyWindowAppearsOnceAnEpoch() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(100), output: directory + "/corpus")
            let loader = try WindowLoader(corpus, lanes: 3, length: 16, seed: 5)
            var epochs: [Int64: [Int]] = [:]
            var starts: [Int] = []
            while loader.position.global[0] < 3 {
                starts += (0..<3).map { loader.start(ofLane: $0) }
                epochs[loader.position.global[0], default: []].append(starts.count)
                loader.advance()
            }
            // Windows of one epoch share their offset: cut the sequence where it changes.
            var rest = starts[...]
            var offsets: Set<Int> = []
            for _ in 0..<3 {
                let offset = rest[rest.startIndex] % 16
                let windows = (corpus.tokenCount - 1 - offset) / 16
                #expect(Set(rest.prefix(windows)) == Set((0..<windows).map { offset + 16 * $0 }))
                offsets.insert(offset)
                rest = rest.dropFirst(windows)
            }
            #expect(offsets.count > 1)
            #expect(epochs.keys.sorted() == [0, 1, 2])
        }
    }

    @Test func windowsHoldTheStreamShiftedByOne() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(60), output: directory + "/corpus")
            let stream = try (0..<corpus.count).flatMap { try corpus.document($0) }
            let loader = try WindowLoader(corpus, lanes: 4, length: 10, seed: 5)
            for _ in 0..<30 {
                let batch = try loader.batch(lanes: [2, 0])
                #expect(batch.rows == 2 && batch.length == 10 && batch.targetCount == 20)
                for (row, lane) in [2, 0].enumerated() {
                    let start = loader.start(ofLane: lane)
                    #expect(Array(batch.inputs[row * 10..<row * 10 + 10]) == Array(stream[start..<start + 10]))
                    #expect(Array(batch.targets[row * 10..<row * 10 + 10]) == Array(stream[start + 1..<start + 11]))
                }
                for index in batch.inputs.indices { #expect(batch.resets[index] == (batch.inputs[index] == corpus.endID)) }
                loader.advance()
            }
        }
    }

    /// A loader of each kind over one corpus of text and one of pairs.
    private func loaders(_ text: Corpus, _ pairs: Corpus, owned: [Int]) throws -> [any LaneLoader] {
        [
            try WindowLoader(text, lanes: 8, length: 16, seed: 3), try StreamLoader(text, lanes: 8, owned: owned, length: 16, seed: 3),
            try StreamLoader(text, lanes: 8, owned: owned, length: 16, seed: 4),
            try SequentialTextLoader(text, lanes: 8, length: 16),
            try PairLoader(pairs, lanes: 8, blockSteps: 4, seed: 3), try SequentialPairLoader(pairs, lanes: 8),
        ]
    }

    /// What a lane gets, whatever the padding of the rows beside it.
    private func row(_ batch: Any, _ index: Int) throws -> [Int32] {
        switch batch {
        case let batch as TextBatch:
            let range = index * batch.length..<(index + 1) * batch.length
            return batch.inputs[range] + batch.targets[range] + batch.resets[range].map { $0 ? 1 : 0 }
        case let batch as PairBatch:
            let (source, target) = (index * batch.sourceLength, index * batch.targetLength)
            return batch.sources[source..<source + batch.sourceLengths[index]] + batch.targetInputs[target..<target + batch.targetLengths[index]]
                + batch.targetOutputs[target..<target + batch.targetLengths[index]] + [Int32(batch.pairIndices[index]), batch.labels[index]]
        default: throw CheckFailure("a batch of another kind")
        }
    }

    private func step<Loader: LaneLoader>(_ loader: Loader, lanes: [Int]) throws -> [[Int32]] {
        let batch = try loader.batch(lanes: lanes)
        let rows = try lanes.indices.map { try row(batch, $0) }
        try loader.advance()
        return rows
    }

    @Test(arguments: [1, 2, 4])
    func rowsDoNotDependOnHowLanesAreDivided(_ ranks: Int) throws {
        try withScratchDirectory { directory in
            let text = try corpus(documents(60), output: directory + "/text")
            let pairs = try corpus(pairs(150), output: directory + "/pairs")
            let alone = try loaders(text, pairs, owned: Array(0..<8))
            let owned = (0..<ranks).map { rank in Array(stride(from: rank, to: 8, by: ranks)) }
            let divided = try owned.map { try loaders(text, pairs, owned: $0) }
            for kind in alone.indices {
                for number in 0..<20 {
                    let expected = try step(alone[kind], lanes: Array(0..<8))
                    for rank in 0..<ranks {
                        let rows = try step(divided[rank][kind], lanes: owned[rank])
                        #expect(rows == owned[rank].map { expected[$0] }, "loader \(kind), step \(number), rank \(rank)")
                    }
                }
                var position = divided[0][kind].position
                for rank in 1..<max(1, ranks) where rank < ranks { position.merge(divided[rank][kind].position) }
                #expect(position == alone[kind].position)
            }
        }
    }

    @Test func aSavedPositionResumes() throws {
        try withScratchDirectory { directory in
            let text = try corpus(documents(60), output: directory + "/text")
            let pairs = try corpus(pairs(150), output: directory + "/pairs")
            let lanes = Array(0..<8)
            for (kind, loader) in try loaders(text, pairs, owned: lanes).enumerated() {
                for _ in 0..<7 { _ = try step(loader, lanes: lanes) }
                let saved = loader.position.encoded
                let expected = try (0..<10).map { _ in try step(loader, lanes: lanes) }
                let position = try #require(LoaderPosition(encoded: saved))
                // Resumed by two ranks, each with its own lanes.
                for half in [Array(0..<4), Array(4..<8)] {
                    let resumed = try loaders(text, pairs, owned: half)[kind]
                    try resumed.seek(to: position)
                    #expect(
                        try (0..<10).map { _ in try step(resumed, lanes: half) } == expected.map { step in half.map { step[$0] } }, "loader \(kind)")
                }
                #expect(throws: UserError.self) { try loader.seek(to: LoaderPosition(global: [-1])) }
                #expect(throws: UserError.self) { try loader.seek(to: LoaderPosition(global: [1, 2, 3])) }
            }
        }
    }

    @Test func streamsReadEveryDocumentOnceAnEpoch() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(40), output: directory + "/corpus")
            let loader = try StreamLoader(corpus, lanes: 4, owned: Array(0..<4), length: 16, seed: 9)
            var streams = [[Int32]](repeating: [], count: 4)
            while loader.position.lanes.values.contains(where: { $0[0] < 2 }) {
                let batch = try loader.batch(lanes: Array(0..<4))
                for index in batch.targets.indices where batch.targets[index] != ignoredTarget {
                    let lane = index / 16
                    #expect(batch.resets[index] == (streams[lane].last ?? corpus.endID == corpus.endID))
                    #expect(batch.inputs[index] == streams[lane].last ?? corpus.endID)
                    streams[lane].append(batch.targets[index])
                }
                #expect(batch.targetCount == 64)
                try loader.advance()
            }
            var read: [[Int32]: Int] = [:]
            for stream in streams {
                for document in stream.split(separator: corpus.endID).prefix(20) { read[Array(document), default: 0] += 1 }
            }
            let all = try (0..<40).map { Array(try corpus.document($0).dropLast()) }
            #expect(read.values.reduce(0, +) == 80)
            for document in Set(all) { #expect(read[document] == 2 * all.filter { $0 == document }.count) }
        }
    }

    @Test func fewDocumentsAreCutIntoParts() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(3), output: directory + "/corpus")
            let stream = try (0..<3).flatMap { try corpus.document($0) }
            let loader = try StreamLoader(corpus, lanes: 5, owned: Array(0..<5), length: 4, seed: 9)
            var parts = [[Int32]](repeating: [], count: 5)
            while loader.position.lanes.values.contains(where: { $0[0] < 1 }) {
                let batch = try loader.batch(lanes: Array(0..<5))
                for index in batch.targets.indices { parts[index / 4].append(batch.targets[index]) }
                try loader.advance()
            }
            let sizes = (0..<5).map { stream.count / 5 + ($0 < stream.count % 5 ? 1 : 0) }
            #expect(zip(parts, sizes).flatMap { $0.prefix($1) } == stream)
        }
    }

    @Test(arguments: [1, 3, 7, 1000])
    func evaluationPredictsEveryTokenOnce(_ lanes: Int) throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(20), output: directory + "/corpus")
            let stream = try (0..<20).flatMap { try corpus.document($0) }
            let loader = try SequentialTextLoader(corpus, lanes: lanes, length: 11)
            var parts = [[Int32]](repeating: [], count: lanes)
            var steps = 0
            while !loader.isFinished {
                let batch = try loader.batch(lanes: Array(0..<lanes))
                #expect(batch.targetCount == batch.targets.filter { $0 != ignoredTarget }.count)
                for index in batch.targets.indices where batch.targets[index] != ignoredTarget { parts[index / 11].append(batch.targets[index]) }
                loader.advance()
                steps += 1
            }
            #expect(parts.flatMap { $0 } == stream && steps == loader.stepCount)
        }
    }

    @Test func everyPairAppearsOnceAnEpochInBatchesOfLikeLength() throws {
        try withScratchDirectory { directory in
            // 240 pairs kept, 20 steps of 12 lanes, blocks of 10 steps: an epoch is two blocks.
            let corpus = try corpus(Array(pairs(300).filter { $0.target != [UInt8(ascii: " ")] }.prefix(240)), output: directory + "/corpus")
            let loader = try PairLoader(corpus, lanes: 12, blockSteps: 10, seed: 2)
            #expect(loader.stepsPerEpoch == 20)
            func padding(_ batch: PairBatch) -> Int {
                batch.sources.count - batch.sourceLengths.reduce(0, +) + batch.targetInputs.count - batch.targetLengths.reduce(0, +)
            }
            var orders: [[Int]] = []
            var padded = 0
            for _ in 0..<3 {
                var order: [Int] = []
                for _ in 0..<20 {
                    let batch = try loader.batch(lanes: Array(0..<12))
                    order += batch.pairIndices
                    padded += padding(batch)
                    loader.advance()
                }
                #expect(order.sorted() == Array(0..<240))
                orders.append(order)
            }
            #expect(orders[0] != orders[1] && orders[1] != orders[2])
            let shuffled = try PairLoader(corpus, lanes: 12, blockSteps: 1, seed: 2)
            var paddedWithoutSorting = 0
            for _ in 0..<60 {
                let batch = try shuffled.batch(lanes: Array(0..<12))
                paddedWithoutSorting += padding(batch)
                shuffled.advance()
            }
            #expect(padded * 4 < paddedWithoutSorting * 3, "\(padded) of \(paddedWithoutSorting)")
        }
    }

    /// Whoever counts the pairs that are cut, by the sizes or by the rows, comes to the same.
    @Test func pairsThatAreCutAreCounted() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(pairs(40), output: directory + "/c")
            let counts = corpus.manifest.counts
            for length in [4, 6, 9, counts.longestSource + counts.longestTarget + 2] {
                let limits = PairLimits(maximumSourceLength: length, maximumTargetLength: length)
                var (apart, inOneRow) = (0, 0)
                for pair in 0..<corpus.count {
                    let sizes = try corpus.pairSizes(pair)
                    let batch = try corpus.pairBatch([pair], lanes: [0], limits: limits)
                    if batch.sourceLengths[0] < sizes.source || batch.targetLengths[0] < sizes.target + 1 { apart += 1 }
                    if try corpus.promptBatch([pair], lanes: [0], limits: limits).lengths[0] < sizes.source + 1 + sizes.target { inOneRow += 1 }
                }
                #expect(try corpus.cutPairs(among: 0..<corpus.count, limits: limits, inOneRow: false) == apart)
                #expect(try corpus.cutPairs(among: 0..<corpus.count, limits: limits, inOneRow: true) == inOneRow)
                #expect(length > 9 ? apart == 0 && inOneRow == 0 : apart > 0 && inOneRow >= apart)
                // A batch of some lanes knows of the whole step, and an epoch has every pair once.
                let loader = try SequentialPairLoader(corpus, lanes: 4, limits: limits)
                var total = 0
                while !loader.isFinished {
                    let batch = try loader.batch(lanes: [1, 3])
                    #expect(try batch.cutPairs == loader.batch(lanes: [0, 1, 2, 3]).cutPairs)
                    total += batch.cutPairs
                    loader.advance()
                }
                #expect(total == apart)
            }
        }
    }

    @Test func recordedRulesComeBack() throws {
        try withScratchDirectory { directory in
            var plan = try plan(pairs(10), output: directory + "/c")
            plan.rules.normalizesWhitespace = true
            let manifest = try CorpusSharder(plan, communicator: SingleProcess()).run().manifest
            #expect(try manifest.cleaningRules(at: "corpus.json") == plan.rules)
            var old = manifest
            old.options["cleaning"] = manifest.options["cleaning"]?.replacing(#","whiteSpace":"unicode""#, with: "")
            #expect(old != manifest)
            plan.rules.whiteSpace = .ascii
            #expect(try old.cleaningRules(at: "corpus.json") == plan.rules)
            old.options["cleaning"] = "3"
            #expect(throws: UserError.self) { try old.cleaningRules(at: "corpus.json") }
        }
    }

    @Test func pairBatchesHaveTheirShape() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(pairs(30), output: directory + "/corpus")
            let batch = try corpus.pairBatch([4, -1, 7], lanes: [0, 1, 2], limits: PairLimits())
            for (row, pair) in [4, -1, 7].enumerated() {
                let (source, target) = pair < 0 ? ([], []) : try corpus.pair(pair)
                let (s, u) = (batch.sourceLength, batch.targetLength)
                let padding = corpus.paddingID
                #expect(Array(batch.sources[row * s..<(row + 1) * s]) == source + Array(repeating: padding, count: s - source.count))
                let inputs = pair < 0 ? [] : [corpus.beginningID] + target
                let outputs = pair < 0 ? [] : target + [corpus.endID]
                #expect(Array(batch.targetInputs[row * u..<(row + 1) * u]) == inputs + Array(repeating: padding, count: u - inputs.count))
                #expect(Array(batch.targetOutputs[row * u..<(row + 1) * u]) == outputs + Array(repeating: ignoredTarget, count: u - outputs.count))
                #expect(batch.sourceLengths[row] == max(1, source.count) && batch.targetLengths[row] == outputs.count)
                #expect(batch.words[row] == (pair < 0 ? 0 : try corpus.pairSizes(pair).words))
            }
            #expect(batch.targetCount == batch.targetLengths.reduce(0, +))
            #expect(batch.sourceLength == batch.sourceLengths.max() && batch.targetLength == batch.targetLengths.max())
        }
    }

    @Test func promptsAskForTheTargetOnly() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(pairs(30), output: directory + "/corpus")
            let batch = try corpus.promptBatch([4, -1, 7], lanes: [0, 1, 2], limits: PairLimits())
            for (row, pair) in [4, 7].enumerated().map({ ($0 * 2, $1) }) {
                let (source, target) = try corpus.pair(pair)
                let sequence = source + [corpus.beginningID] + target + [corpus.endID]
                let (inputs, targets) = (
                    batch.inputs[row * batch.length..<(row + 1) * batch.length],
                    batch.targets[row * batch.length..<(row + 1) * batch.length])
                #expect(Array(inputs.prefix(sequence.count - 1)) == sequence.dropLast())
                #expect(targets.prefix(source.count).allSatisfy { $0 == ignoredTarget })
                #expect(Array(targets.dropFirst(source.count).prefix(target.count + 1)) == target + [corpus.endID])
                #expect(targets.dropFirst(sequence.count - 1).allSatisfy { $0 == ignoredTarget })
                #expect(batch.lengths[row] == sequence.count - 1 && batch.promptLengths[row] == source.count + 1)
            }
            #expect(batch.lengths[1] == 0 && batch.targets[batch.length..<2 * batch.length].allSatisfy { $0 == ignoredTarget })
        }
    }

    @Test func longRowsAreCutAndCounted() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(pairs(30), output: directory + "/corpus")
            let pair = try #require(try (0..<corpus.count).first { try corpus.pair($0).source.count > 5 && corpus.pair($0).target.count > 4 })
            let (source, target) = try corpus.pair(pair)
            let ends = try corpus.pairBatch([pair], lanes: [0], limits: PairLimits(maximumSourceLength: 3, maximumTargetLength: 2))
            #expect(ends.sources == Array(source.prefix(3)) && ends.targetOutputs == [target[0], corpus.endID])
            let beginnings = try corpus.pairBatch([pair], lanes: [0], limits: PairLimits(maximumSourceLength: 3, truncatedSide: .beginning))
            #expect(beginnings.sources == Array(source.suffix(3)) && beginnings.targetLength == target.count + 1)
            let prompt = try corpus.promptBatch(
                [pair], lanes: [0], limits: PairLimits(maximumSourceLength: 6, maximumTargetLength: 3, truncatedSide: .beginning))
            #expect(prompt.inputs == source.suffix(3) + [corpus.beginningID] + target.prefix(2))
            let tight = try corpus.promptBatch([pair], lanes: [0], limits: PairLimits(maximumSourceLength: 4))
            #expect(tight.inputs == source.prefix(1) + [corpus.beginningID] + target.prefix(2))
        }
    }

    @Test func theWrongKindOfCorpusIsRefused() throws {
        try withScratchDirectory { directory in
            let text = try corpus(documents(5), output: directory + "/text")
            let pairs = try corpus(pairs(5), output: directory + "/pairs")
            for attempt: () throws -> Any in [
                { try WindowLoader(pairs, lanes: 1, length: 4, seed: 1) }, { try StreamLoader(pairs, lanes: 1, owned: [0], length: 4, seed: 1) },
                { try SequentialTextLoader(pairs, lanes: 1, length: 4) }, { try PairLoader(text, lanes: 1, seed: 1) },
                { try SequentialPairLoader(text, lanes: 1) },
                { try WindowLoader(text, lanes: 1, length: 100_000, seed: 1) },
                { try StreamLoader(text, lanes: 100_000, owned: [0], length: 4, seed: 1) },
            ] {
                let error = #expect(throws: UserError.self) { _ = try attempt() }
                #expect(error?.exitCode == .configuration)
            }
        }
    }
}
