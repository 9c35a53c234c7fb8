// A language model measured together with a datastore and a cache.
//
// Legend: n tokens of a passage, k neighbours, F width of a context vector, A temperatures, C thetas.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Kernels
import MemoryBanks
import Models
import Sharding
import Tensors
import VectorSearch

/// What is found of a text that is read with a bank or a cache.
struct MemoryStatistics: Sendable {
    /// Of the model with them, and of the model alone.
    var mixed = LanguageModelStatistics()
    var model = LanguageModelStatistics()
    /// Tokens that one of their neighbours has.
    var hits = 0
    /// The entropies of the neighbours' weights, summed, in nats.
    var entropy = 0.0
    /// Tokens that one of the entries of the cache before them has.
    var cacheHits = 0

    /// The share of tokens that one of their neighbours has.
    var hitRate: Double { Double(hits) / Double(max(1, model.tokens)) }
    var meanEntropy: Double { entropy / Double(max(1, model.tokens)) }
    var cacheHitRate: Double { Double(cacheHits) / Double(max(1, model.tokens)) }
}

/// A bank, opened to be read by a model's context vectors.
struct Datastore {
    let bank: MemoryBank
    let filter: BankFilter
    /// k.
    let neighbors: Int
    /// Lists of the bank's index that a query visits; `nil` for exact search.
    let probes: Int?
    /// Records that may be found.
    let records: Int

    /// Opens a bank. Collective.
    /// - Throws: `UserError`: (.configuration) for a bank of another generation or kind, (.missingInput) for a namespace without records.
    init(_ reading: MemoryReading, of model: any LanguageModel, _ communicator: any Communicator) throws {
        let (directory, namespace) = (reading.bank ?? "", reading.namespace ?? "")
        bank = try MemoryBank(directory, communicator: communicator)
        neighbors = reading.neighbors ?? MemoryReading.usualNeighbors
        probes = reading.probes
        filter = BankFilter(.one(namespace))
        let bank = bank
        try communicator.onEveryRank {
            guard let generation = model.generation else {
                throw UserError(.configuration, "its model gives no context vectors to read a bank by", advice: "leave --bank out")
            }
            try DatastoreBuilder.requireDatastore(bank, of: generation)
        }
        records = try bank.namespaces().first { $0.name == namespace }?.records ?? 0
        guard records > 0 else {
            throw UserError(.missingInput, "has no namespace '\(namespace)'", at: directory, advice: "see mneme memory list --namespaces")
        }
    }

    /// The neighbours of queries of this rank: their squared distances, negated, and their tokens, query after query. Collective.
    /// - Parameter queries: float32 [n, F].
    func read(_ queries: Tensor) throws -> (starts: [Int], scores: [Float], tokens: [Int32]) {
        let found = try bank.nearest(queries, count: neighbors, in: filter, visiting: probes)
        var (starts, scores, rows) = ([0], [Float](), [Int]())
        for row in found.rows {
            scores += row.map(\.score)
            rows += row.map(\.id)
            starts.append(rows.count)
        }
        return (starts, scores, try bank.tokens(ofRows: rows).map { $0.first ?? -1 })
    }
}

/// Reads corpora with a model, a datastore and a cache.
struct MemoryReader {
    let model: any LanguageModel
    let settings: PerplexitySettings
    let datastore: Datastore?
    /// Entries of a stream's cache.
    let cache: Int?
    let communicator: any Communicator

    /// What was read of a passage, token by token.
    private struct PassageRead {
        let passage: ContextPassage
        let part: Int
        /// log p of the bank, [n, A], and of the cache, [n, C], not-a-number where it is empty.
        var bank: [Float] = []
        var cache: [Float] = []
        var hits = 0
        var cacheHits = 0
        var entropy = 0.0
    }

    /// Reads a corpus under some temperatures and thetas. Collective.
    private func read(
        _ corpus: Corpus, temperatures: [Double], thetas: [Double], _ body: (_ reads: [PassageRead]) throws -> Bool
    ) throws {
        let reader = try communicator.onEveryRank { try ContextReader(model, corpus, settings, communicator) }
        let width = model.contextVectors?.width ?? 0
        var caches = cache.map { ContinuousCache(size: $0) }
        try reader.read { own in
            var reads = own.map { PassageRead(passage: $0.passage, part: $0.part) }
            if let datastore {
                let queries = Tensor(uninitialized: [reads.reduce(0) { $0 + $1.passage.targets.count }, width])
                var row = 0
                for read in reads {
                    (queries.floats + row * width).update(from: read.passage.vectors.floats, count: read.passage.vectors.count)
                    row += read.passage.targets.count
                }
                let found = try datastore.read(queries)
                row = 0
                for index in reads.indices {
                    note(found, from: row, temperatures, &reads[index])
                    row += reads[index].passage.targets.count
                }
            }
            if caches != nil {
                let ownPlaces = Dictionary(uniqueKeysWithValues: reads.indices.map { (reads[$0].passage.place, $0) })
                for passage in try ContextPassage.gathered(own.map(\.passage), width: width, communicator) {
                    guard let index = ownPlaces[passage.place] else {
                        caches?.read(passage, nil)
                        continue
                    }
                    reads[index].cache = [Float](repeating: .nan, count: passage.targets.count * thetas.count)
                    caches?.read(passage) { token, scores, matches in
                        if scores.isEmpty { return }
                        if matches.contains(true) { reads[index].cacheHits += 1 }
                        for (place, theta) in thetas.enumerated() {
                            reads[index].cache[token * thetas.count + place] = Float(
                                WeightedRead(scores, matches, scale: theta).logProbability)
                        }
                    }
                }
            }
            return try body(reads)
        }
    }

    /// What the neighbours of a passage's tokens say.
    private func note(
        _ found: (starts: [Int], scores: [Float], tokens: [Int32]), from first: Int, _ temperatures: [Double], _ read: inout PassageRead
    ) {
        read.bank.reserveCapacity(read.passage.targets.count * temperatures.count)
        found.scores.withUnsafeBufferPointer { scores in
            for (token, target) in read.passage.targets.enumerated() {
                let range = found.starts[first + token]..<found.starts[first + token + 1]
                let matches = range.map { found.tokens[$0] == target }
                if matches.contains(true) { read.hits += 1 }
                matches.withUnsafeBufferPointer { matches in
                    for (place, temperature) in temperatures.enumerated() {
                        let weights = WeightedRead(UnsafeBufferPointer(rebasing: scores[range]), matches, scale: 1 / temperature)
                        read.bank.append(Float(weights.logProbability))
                        if place == 0 { read.entropy += weights.entropy }
                    }
                }
            }
        }
    }

    /// The perplexity of a corpus under a mixture, and of the model alone. Collective; the same bits on any number of ranks, those of the
    /// model alone as ``evaluatePerplexity(model:corpus:communicator:settings:)`` finds them.
    func measure(_ corpus: Corpus, _ mixture: Mixture) throws -> MemoryStatistics {
        let parts = try communicator.onEveryRank { try ContextReader(model, corpus, settings, communicator).parts }
        let width = 6
        var sums = [Int: [Double]]()
        try read(corpus, temperatures: [mixture.temperature], thetas: [mixture.theta]) { reads in
            for read in reads {
                var gain = 0.0
                for token in read.passage.targets.indices {
                    let alone = -Double(read.passage.losses[token])
                    let cached = read.cache.isEmpty || read.cache[token].isNaN ? nil : Double(read.cache[token])
                    let neighbors = read.bank.isEmpty ? nil : Double(read.bank[token])
                    let mixed = mixture.logProbability(model: alone, bank: neighbors, cache: cached)
                    gain += mixed - alone
                }
                let nats = read.passage.negativeLogLikelihood
                let numbers = [
                    nats, nats - gain, Double(read.passage.targets.count), Double(read.hits), read.entropy, Double(read.cacheHits),
                ]
                sums[read.part] = zip(sums[read.part] ?? [Double](repeating: 0, count: width), numbers).map { $0 + $1 }
            }
            return true
        }
        let total = try communicator.orderedSum(parts: parts, width: width) { sums[$0] ?? [Double](repeating: 0, count: width) }
        let counts = corpus.manifest.counts
        func statistics(_ nats: Double) -> LanguageModelStatistics {
            LanguageModelStatistics(
                nats: nats, tokens: Int(total[2]), words: counts.words, bytes: counts.textBytes, characters: counts.textCharacters ?? 0)
        }
        return MemoryStatistics(
            mixed: statistics(total[1]), model: statistics(total[0]), hits: Int(total[3]), entropy: total[4], cacheHits: Int(total[5]))
    }

    /// The most tokens that a mixture is chosen by.
    static let mostTunedTokens = 1 << 18

    /// The mixture under which a corpus, or its first 262,144 tokens in the order of reading, is most likely. Collective; the same on any
    /// number of ranks.
    ///
    /// - Parameter reading: says what is fixed: a temperature, a theta. Temperatures are powers of the root of 2 from 1/4 to 4,096, thetas
    ///   powers of 2 from 1/1,024 to 2.
    func tuned(on corpus: Corpus, _ reading: MemoryReading) throws -> Mixture {
        let temperatures = reading.bank == nil ? [] : reading.temperature.map { [$0] } ?? (-4...24).map { pow(2, Double($0) / 2) }
        let thetas = reading.cache == nil ? [] : reading.cacheTheta.map { [$0] } ?? (-10...1).map { pow(2, Double($0)) }
        let width = 1 + temperatures.count + thetas.count
        var table = TuningTable(temperatures: temperatures, thetas: thetas)
        try read(corpus, temperatures: temperatures, thetas: thetas) { reads in
            var bytes: [UInt8] = []
            for read in reads {
                var rows: [Float] = []
                rows.reserveCapacity(read.passage.targets.count * width)
                for token in read.passage.targets.indices {
                    rows.append(-read.passage.losses[token])
                    rows += read.bank[(token * temperatures.count)..<((token + 1) * temperatures.count)]
                    rows += read.cache[(token * thetas.count)..<((token + 1) * thetas.count)]
                }
                [read.passage.place, rows.count].withUnsafeBytes { bytes += $0 }
                rows.withUnsafeBytes { bytes += $0 }
            }
            let all = try communicator.allGather(bytes).flatMap(Self.placedRows).sorted { $0.place < $1.place }
            for passage in all { table.values += passage.rows }
            return table.count < Self.mostTunedTokens
        }
        return table.best(
            reading.mixture, choosesBankWeight: reading.bank != nil && reading.lambda == nil,
            choosesCacheWeight: reading.cache != nil && reading.cacheLambda == nil)
    }

    private static func placedRows(_ bytes: [UInt8]) -> [(place: Int, rows: [Float])] {
        bytes.withUnsafeBytes { bytes in
            var (offset, result) = (0, [(place: Int, rows: [Float])]())
            while offset < bytes.count {
                let place = bytes.loadUnaligned(fromByteOffset: offset, as: Int.self)
                let count = bytes.loadUnaligned(fromByteOffset: offset + 8, as: Int.self)
                offset += 16
                result.append((place, (0..<count).map { bytes.loadUnaligned(fromByteOffset: offset + 4 * $0, as: Float.self) }))
                offset += 4 * count
            }
            return result
        }
    }
}
