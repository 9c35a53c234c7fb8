// What stored pairs are good for: facts that were said some segments ago, in any lane, and that nothing else can tell.
//
// Legend: L lanes, T positions, N names, V values.

import Collectives
import Models
import NeuralNetworks
import Optimizers
import Tensors
import TestSupport
import Testing
import Training

@Suite("Recall of what was said some segments ago")
struct MemorizingRecallTests {
    private static let (lanes, names, values) = (8, 104, 4)
    /// Of a segment: new facts, questions for them, and questions for facts of earlier segments, one position each.
    private static let (facts, near, far) = (3, 3, 3)
    private static var length: Int { facts + near + far }
    /// Names, the values that answer them, and a token for each fact.
    private static var vocabulary: Int { names + values + names * values }

    /// Segments of all lanes: facts, each a name in turn with a value by chance, then questions, each a name, whose answer is the value. Questions for
    /// earlier facts are of two or three segments ago and of any lane: no segment, no lane and no weight can know the answer.
    private struct Stories {
        private var random = RandomStream(seed: 11, name: "stories")
        private var nextName = 0
        /// Of each step, its facts.
        private var said: [[(name: Int, value: Int)]] = []

        /// The batch of a step, and which of its positions ask for earlier facts.
        mutating func next() -> (batch: TokenBatch, far: [Int]) {
            var (inputs, targets, asked): ([Int32], [Int32], [Int]) = ([], [], [])
            var new: [(name: Int, value: Int)] = []
            let old = said.suffix(3).dropLast().flatMap { $0 }
            for _ in 0..<lanes {
                let own = (0..<facts).map { _ in
                    nextName = (nextName + 1) % names
                    return (name: nextName, value: Int.random(in: 0..<values, using: &random))
                }
                new += own
                var questions = (own.shuffled(using: &random).prefix(near)).map { ($0, false) }
                for _ in 0..<far { questions.append(old.randomElement(using: &random).map { ($0, true) } ?? (own[0], false)) }
                questions.shuffle(using: &random)
                for fact in own {
                    inputs.append(Int32(names + values + fact.name * values + fact.value))
                    targets.append(-1)
                }
                for (fact, isFar) in questions {
                    if isFar { asked.append(inputs.count) }
                    inputs.append(Int32(fact.name))
                    targets.append(Int32(names + fact.value))
                }
            }
            said.append(new)
            let shape: Shape = [lanes, length]
            return (TokenBatch(lanes: Array(0..<lanes), inputs: Tensor(inputs, shape), targets: Tensor(targets, shape)), asked)
        }
    }

    /// The part of the questions for earlier facts that are answered right in the last 100 steps, each before its update.
    private func recall(memorizing: Bool, steps: Int) throws -> (recall: Double, read: PairStatistics) {
        var configuration = TransformerConfiguration(layers: 1, width: 64, heads: 2)
        configuration.context = Self.length
        // The pairs of the last four steps, in which no name occurs twice.
        if memorizing { configuration.memorizing = MemorizingConfiguration(layer: 0, nearest: 16, capacity: 4 * Self.lanes * Self.length) }
        let model = DecoderOnlyTransformer(configuration, vocabularySize: Self.vocabulary)
        model.store.allocate(seed: 3)
        // Tokens that are far apart from the start.
        for parameter in model.store.parameters where parameter.name.hasSuffix("Embedding.weight") {
            for element in 0..<parameter.shape.count { parameter.value.floats[element] *= 10 }
        }
        let pairs = MemorizedPairs(for: model)
        let rate = 5e-3
        let step = TrainingStep(
            store: model.store,
            optimizer: try makeOptimizer(
                OptimizerConfiguration(kind: .adamw, learningRate: rate, betas: [0.9, 0.95], weightDecay: 0), parameterCount: model.store.flatCount),
            update: .init(clip: 1), communicator: SingleProcess())
        var stories = Stories()
        var (right, asked, last) = (0, 0, PairStatistics())
        for number in 1...steps {
            let (batch, far) = stories.next()
            if number > steps - 100 {
                let logits = model.logits(batch.inputs, ForwardPass())
                for position in far {
                    let row = UnsafeBufferPointer(start: logits.floats + position * Self.vocabulary, count: Self.vocabulary)
                    asked += 1
                    if row.indices.max(by: { row[$0] < row[$1] }) == Int(batch.targets.integers[position]) { right += 1 }
                }
            }
            _ = try step.run(step: number, learningRate: rate * min(1, Double(number) / 100)) { index, tape in
                let reading = pairs.map { PairReading([$0], collects: true) }
                let loss = model.loss(batch, ForwardPass(tape: tape, pairs: reading))
                pairs?.keep(reading, index, lanes: batch.lanes)
                return loss
            }
            try pairs?.gather(SingleProcess())
            last = try pairs?.commit() ?? last
        }
        return (Double(right) / Double(asked), last)
    }

    @Test("more than 95 % with stored pairs, and chance without")
    func recall() throws {
        let (with, read) = try recall(memorizing: true, steps: 4000)
        #expect(with > 0.95, "\(with), \(read)")
        let (without, _) = try recall(memorizing: false, steps: 2000)
        #expect(without < 1.3 / Double(Self.values), "\(without)")
    }
}
