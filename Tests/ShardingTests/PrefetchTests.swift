// Shards are read ahead by another thread: same batches, same errors, and a bounded number of shards mapped.

import Corpora
import Diagnostics
import Foundation
import Sharding
import Testing
import TestSupport

@Suite struct PrefetchTests {
    /// A loader of each order over text, alone and read ahead.
    private func loaders(_ corpus: Corpus, lanes: [Int]) throws -> [(alone: any LaneLoader<TextBatch>, ahead: any LaneLoader<TextBatch>)] {
        func windows() throws -> WindowLoader { try WindowLoader(corpus, lanes: 8, length: 16, seed: 5) }
        func streams() throws -> StreamLoader { try StreamLoader(corpus, lanes: 8, owned: lanes, length: 16, seed: 5) }
        return [
            (try windows(), PrefetchingLoader(try windows(), twin: try windows(), lanes: lanes, steps: 3)),
            (try streams(), PrefetchingLoader(try streams(), twin: try streams(), lanes: lanes, steps: 3)),
        ]
    }

    @Test(arguments: [1, 3, 1000])
    func batchesAndPositionsAreTheLoadersOwn(_ mappedShards: Int) throws {
        try withScratchDirectory { directory in
            _ = try corpus(documents(150), output: directory + "/corpus")
            let corpus = try Corpus(directory: directory + "/corpus", mappedShards: mappedShards)
            #expect(corpus.manifest.shards.count > 4)
            for (alone, ahead) in try loaders(corpus, lanes: [1, 4, 6]) {
                var middle: LoaderPosition?
                for step in 0..<60 {
                    #expect(try alone.batch(lanes: [4]) == ahead.batch(lanes: [4]))
                    #expect(try alone.batch(lanes: [6, 1]) == ahead.batch(lanes: [6, 1]))
                    try alone.advance()
                    try ahead.advance()
                    #expect(alone.position == ahead.position)
                    if step == 20 { middle = alone.position }
                }
                let position = try #require(middle)
                for _ in 0..<3 {
                    try alone.seek(to: position)
                    try ahead.seek(to: position)
                    for _ in 0..<5 {
                        #expect(try alone.batch(lanes: [1, 4, 6]) == ahead.batch(lanes: [1, 4, 6]))
                        try alone.advance()
                        try ahead.advance()
                    }
                }
                #expect(corpus.mappedShardCount <= mappedShards)
            }
            if mappedShards == 1000 { #expect(corpus.mappedShardCount == corpus.manifest.shards.count) }
        }
    }

    @Test func shardsAreOpenedBeforeTheyAreNeeded() throws {
        try withScratchDirectory { directory in
            let corpus = try corpus(documents(150), output: directory + "/corpus")
            func make() throws -> SequentialTextLoader { try SequentialTextLoader(corpus, lanes: 1, length: 64) }
            let loader = PrefetchingLoader(try make(), twin: try make(), lanes: [0], steps: 40)
            loader.waitForPrefetch()
            let mapped = corpus.mappedShardCount
            #expect(mapped > 1 && mapped < corpus.manifest.shards.count)
            for _ in 0..<40 { try loader.advance() }
            loader.waitForPrefetch()
            #expect(corpus.mappedShardCount > mapped)
        }
    }

    @Test func aDamagedShardAheadIsTheErrorOfTheStepThatNeedsIt() throws {
        try withScratchDirectory { directory in
            let output = directory + "/corpus"
            _ = try corpus(documents(150), output: output)
            try flipBit(in: output + "/shard-2.h5", dataset: "tokens")
            func failingStep(_ loader: any LaneLoader<TextBatch>, _ wait: () -> Void) throws -> (Int, String) {
                var step = 0
                while true {
                    wait()
                    do { _ = try loader.batch(lanes: [0, 1]) } catch let error as UserError {
                        #expect(error.exitCode == .badData)
                        return (step, error.description)
                    }
                    try loader.advance()
                    step += 1
                }
            }
            let corpus = try Corpus(directory: output)
            func make() throws -> SequentialTextLoader { try SequentialTextLoader(corpus, lanes: 2, length: 16) }
            let alone = try failingStep(make()) {}
            let loader = PrefetchingLoader(try make(), twin: try make(), lanes: [0, 1], steps: 10)
            let ahead = try failingStep(loader) { loader.waitForPrefetch() }
            #expect(alone == ahead && alone.0 > 0)
            #expect(ahead.1.contains("shard-2.h5") && ahead.1.contains("dataset tokens is damaged"), "\(ahead.1)")
        }
    }

    @Test func threadsReadOneCorpusAtOnce() throws {
        try withScratchDirectory { directory in
            _ = try corpus(pairs(400), output: directory + "/corpus")
            let corpus = try Corpus(directory: directory + "/corpus", mappedShards: 2)
            let expected = try (0..<corpus.count).map { try corpus.pair($0).source }
            DispatchQueue.concurrentPerform(iterations: 8) { thread in
                for index in 0..<corpus.count {
                    let pair = (index * 37 + thread * 11) % corpus.count
                    #expect((try? corpus.pair(pair).source) == expected[pair])
                }
            }
        }
    }
}
