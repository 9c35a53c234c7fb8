// A training step whose tokens all read a large memory of keys and values, beside the same step without it.
//
// Legend: N stored pairs, H heads, K head size, D = H K width, T positions.

import Collectives
import Kernels
import Models
import NeuralNetworks
import Optimizers
import Tensors
import VectorSearch

/// The figures of steps with and without stored pairs.
package struct MemorizingFigures: BenchmarkReport, Codable {
    /// "memorizing".
    package var workload: String
    package var threads: Int
    package var parameters: Int
    /// Positions of a step, N, D, H, pairs that a query finds.
    package var positions: Int
    package var pairs: Int
    package var width: Int
    package var heads: Int
    package var nearest: Int
    /// Lists, and how many of them a query visits.
    package var lists: Int
    package var probes: Int
    /// Medians of steps that take turns: without the memory, with it, and the median of the quotients; of the step with it, what storing its own pairs takes.
    package var secondsWithout: Double
    package var secondsWith: Double
    package var ratio: Double
    package var secondsOfStoring: Double
    /// The part of the pairs that a search of every key finds which the lists that were visited hold, for the step's own queries.
    package var recall: Double
    /// Making the lists of all heads, which is done once for every N / 2 pairs.
    package var secondsOfLists: Double
    package var loadAverage: Double

    package var text: String {
        """
        \(workload): \(parameters) parameters, \(positions) positions a step, \(pairs) pairs of \(width) numbers in \(heads) heads, \(threads) threads
          without          \(decimal(secondsWithout, 4)) s a step
          with             \(decimal(secondsWith, 4)) s, \(decimal(ratio, 3)) times as long; \(decimal(secondsOfStoring, 4)) s of it store the step's pairs
          search           the \(nearest) nearest in \(probes) of \(lists) lists, recall \(decimal(recall, 4))
          lists            made anew in \(decimal(secondsOfLists, 2)) s, once for every \(pairs / 2) pairs

        """
    }
}

/// Measures on one rank.
package struct MemorizingBenchmark {
    package static let name = "memorizing"
    package static let summary = "a step of a decoder that attends to 1 M stored pairs of 256 numbers, beside the step without: 6 layers, d 256, 4 heads, V 8192, 16 x 256"

    private static let (layers, width, heads, context, lanes, vocabulary) = (6, 256, 4, 256, 16, 8192)

    private let settings: BenchmarkSettings
    private let rows: Int

    package init(settings: BenchmarkSettings) { (self.settings, rows) = (settings, settings.searchRows) }

    /// Fills a memory and measures.
    package func run() throws -> MemorizingFigures {
        var configuration = TransformerConfiguration(layers: Self.layers, width: Self.width, heads: Self.heads)
        configuration.context = Self.context
        let lists = min(InvertedFile.suitableLists(rows: rows), max(1, rows / 32))
        configuration.memorizing = MemorizingConfiguration(layer: Self.layers - 2, nearest: 32, capacity: rows, lists: lists, probes: 8)
        let model = DecoderOnlyTransformer(configuration, vocabularySize: Self.vocabulary)
        settings.allocate(model.store, gradients: true)
        guard let pairs = MemorizedPairs(for: model), let memorizing = configuration.memorizing else { fatalError("a model that memorizes nothing") }
        let optimizer = OptimizerConfiguration(learningRate: 3e-4, betas: [0.9, 0.95], weightDecay: 0.1, clip: 1)
        let training = TrainingStep(
            store: model.store, optimizer: try makeOptimizer(optimizer, parameterCount: model.store.flatCount), update: .init(clip: 1),
            communicator: SingleProcess())

        /// One step, and the seconds that storing its pairs took.
        func step(_ number: Int, reads: Bool) throws -> Double {
            let batch = batch(number)
            _ = try training.run(step: number, learningRate: 3e-4) { index, tape in
                // Without the memory the layer attends to its segment alone.
                let reading = PairReading(reads ? [pairs] : [], collects: reads)
                let loss = model.loss(batch, ForwardPass(tape: tape, pairs: reading))
                if reads { pairs.keep(reading, index, lanes: batch.lanes) }
                return loss
            }
            guard reads else { return 0 }
            return try seconds {
                try pairs.gather(SingleProcess())
                try pairs.commit()
            }
        }

        let listSeconds = try fill(pairs, model)
        for number in 0..<settings.warmUpSteps { for reads in [false, true] { _ = try step(number + 1, reads: reads) } }
        var (without, with, storing): ([Double], [Double], [Double]) = ([], [], [])
        var number = settings.warmUpSteps
        while without.count < settings.minimumSteps || without.reduce(0, +) + with.reduce(0, +) < settings.seconds {
            number += 1
            without.append(try seconds { _ = try step(number, reads: false) })
            var stored = 0.0
            with.append(try seconds { stored = try step(number, reads: true) })
            storing.append(stored)
        }
        return MemorizingFigures(
            workload: Self.name, threads: settings.threads, parameters: model.store.parameterCount, positions: Self.lanes * Self.context, pairs: pairs.count,
            width: Self.width, heads: Self.heads, nearest: memorizing.nearest, lists: lists, probes: memorizing.probes, secondsWithout: median(without),
            secondsWith: median(with), ratio: median(zip(with, without).map { $0 / $1 }), secondsOfStoring: median(storing),
            recall: recall(pairs, model, memorizing, number), secondsOfLists: listSeconds, loadAverage: ProcessorMeasurement.loadAverage)
    }

    /// The batch of a step: random tokens.
    private func batch(_ number: Int) -> TokenBatch {
        let shape: Shape = [Self.lanes, Self.context]
        var random = RandomStream(key: mixKeys(TrainingWorkload.seed, UInt64(number)))
        let tokens = (0...shape.count).map { _ in Int32(random.next() % UInt64(Self.vocabulary)) }
        return TokenBatch(
            lanes: Array(0..<Self.lanes), inputs: Tensor(Array(tokens.dropLast()), shape), targets: Tensor(Array(tokens.dropFirst()), shape))
    }

    /// The pairs of a batch as the model makes them, [B, T, 2 D].
    private func segment(_ model: DecoderOnlyTransformer, _ number: Int) -> Tensor {
        let reading = PairReading([], collects: true)
        _ = model.hidden(batch(number).inputs, ForwardPass(pairs: reading))
        guard let segment = reading.segment else { fatalError("a segment without pairs") }
        return segment
    }

    /// Fills the memory with pairs around those that the model makes: the same clusters, no two alike.
    /// - Returns: seconds of the append that made the last lists.
    private func fill(_ pairs: MemorizedPairs, _ model: DecoderOnlyTransformer) throws -> Double {
        let lanes = Array(0..<Self.lanes)
        let segments = (0..<4).map { segment(model, 1_000_000 + $0) }
        let size = Self.width / Self.heads
        var (longest, filled) = (0.0, 0)
        while filled < rows {
            let number = filled / (Self.lanes * Self.context)
            let noisy = segments[number % segments.count].copied()
            Workers.parallel(noisy.count / size, minimum: 64) { range in
                for vector in range {
                    let place = noisy.floats + vector * size
                    var random = RandomStream(key: mixKeys(TrainingWorkload.seed, UInt64(number), UInt64(vector)))
                    var square: Float = 0
                    for column in 0..<size {
                        place[column] += 0.03 * random.nextNormal()
                        square += place[column] * place[column]
                    }
                    let length = square.squareRoot()
                    for column in 0..<size { place[column] /= length }
                }
            }
            longest = max(longest, try seconds { try pairs.append([(lanes, noisy)]) })
            filled += Self.lanes * Self.context
        }
        return longest
    }

    /// Recall of the queries of 64 positions of a step, of every head.
    private func recall(_ pairs: MemorizedPairs, _ model: DecoderOnlyTransformer, _ memorizing: MemorizingConfiguration, _ number: Int) -> Double {
        let asked = QueryRecorder(pairs)
        _ = model.hidden(batch(number + 1).inputs, ForwardPass(pairs: PairReading([asked])))
        var (found, wanted) = (0, 0)
        for (head, queries) in asked.queries {
            let sample = queries.rows((0..<64).map { $0 * queries.shape[0] / 64 })
            func slots(_ probes: Int) -> [Set<Int32>] {
                let answer = pairs.nearest(sample, head: head, lanes: [], limit: memorizing.nearest, probes: probes)
                return (0..<64).map { Set(answer.slots[$0 * answer.limit..<$0 * answer.limit + answer.counts[$0]]) }
            }
            for (some, all) in zip(slots(memorizing.probes), slots(max(1, memorizing.lists))) {
                found += some.intersection(all).count
                wanted += all.count
            }
        }
        return Double(found) / Double(max(1, wanted))
    }

    private func seconds(_ body: () throws -> Void) rethrows -> Double {
        let start = ContinuousClock.now
        try body()
        return start.duration(to: .now).seconds
    }

    private func median(_ values: [Double]) -> Double { values.sorted()[values.count / 2] }
}

/// Passes searches on, and keeps what was asked.
private final class QueryRecorder: PairStore {
    private let pairs: MemorizedPairs
    /// By head.
    private(set) var queries: [Int: Tensor] = [:]
    var width: Int { pairs.width }
    var count: Int { pairs.count }

    init(_ pairs: MemorizedPairs) { self.pairs = pairs }

    func pair(_ slot: Int) -> UnsafePointer<Float> { pairs.pair(slot) }
    func age(_ slot: Int) -> Int { pairs.age(slot) }

    func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int) -> FoundPairs {
        self.queries[head] = queries.copied()
        return pairs.nearest(queries, head: head, lanes: lanes, limit: limit)
    }
}
