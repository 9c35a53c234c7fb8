// What the benchmarks of memory models compute: one training step of each, on random bits or stories.
//
// Legend: B lanes, T steps, I input width, O output width, C controller width, N memory rows, W memory width, R read heads, K write heads, D width, V
// words, S sentences, J words of a sentence.

import Memory
import Models
import Optimizers
import Tensors

/// A training step of a model with a memory.
package struct MemoryWorkload: StepWorkload {
    /// What is learned.
    package enum Kind: Sendable {
        /// Bits are read, then a mark, then the bits are to be given back; T steps in all.
        case bits(any SequenceCoreConfiguration, bits: Int, read: Int, steps: Int)
        /// Questions about stories.
        case stories(MemoryNetworkConfiguration, sentences: Int, words: Int, vocabulary: Int)
    }

    package let name: String
    package let summary: String
    package var kind: Kind
    package var lanesPerRank: Int
    package let optimizer: OptimizerConfiguration

    /// The rows of the comparison with PyTorch.
    package static let all: [MemoryWorkload] = [
        turingMachine(name: "ntm-copy", rows: 128, width: 20, batch: 16),
        neuralComputer(name: "dnc-repeat-copy", rows: 16, width: 16, controller: 64, bits: 4, steps: 15, batch: 16),
        neuralComputer(name: "dnc-copy", rows: 256, width: 64, controller: 256, bits: 8, steps: 100, batch: 16),
        neuralComputer(name: "dnc-long", rows: 256, width: 64, controller: 256, bits: 8, steps: 500, batch: 16),
        neuralComputer(name: "dnc-long-recompute", rows: 256, width: 64, controller: 256, bits: 8, steps: 500, batch: 16, recompute: true),
        MemoryWorkload(
            name: "memn2n",
            summary: "MemN2N: 3 hops, d 20, adjacent, position and temporal encoding, 32 questions over 50 sentences of 10 words, V 200, SGD",
            kind: .stories(MemoryNetworkConfiguration(), sentences: 50, words: 10, vocabulary: 200), lanesPerRank: 32,
            optimizer: OptimizerConfiguration(kind: .sgd, learningRate: 0.01, clip: 40)),
    ]

    /// The cost against memory rows, width and batch: one of them changes at a time.
    package static let costs: [MemoryWorkload] = {
        var rows: [MemoryWorkload] = []
        for (n, w, b) in [
            (32, 20, 16), (64, 20, 16), (128, 20, 16), (256, 20, 16), (512, 20, 16), (128, 40, 16), (128, 80, 16), (128, 20, 1), (128, 20, 4),
            (128, 20, 64),
        ] {
            rows.append(turingMachine(name: "ntm-\(n)x\(w)-batch-\(b)", rows: n, width: w, batch: b))
        }
        for (n, w, b) in [
            (16, 16, 16), (32, 16, 16), (64, 16, 16), (128, 16, 16), (256, 16, 16), (64, 32, 16), (64, 64, 16), (64, 16, 1), (64, 16, 4),
            (64, 16, 64),
        ] {
            rows.append(neuralComputer(name: "dnc-\(n)x\(w)-batch-\(b)", rows: n, width: w, controller: 64, bits: 8, steps: 41, batch: b))
        }
        return rows
    }()

    private static let recurrentOptimizer = OptimizerConfiguration(kind: .rmsprop, learningRate: 1e-4, momentum: 0.9, clip: 10)

    private static func turingMachine(name: String, rows: Int, width: Int, batch: Int) -> MemoryWorkload {
        var configuration = NeuralTuringMachineConfiguration()
        (configuration.rows, configuration.width) = (rows, width)
        return MemoryWorkload(
            name: name,
            summary: "Neural Turing Machine: memory \(rows) x \(width), LSTM controller 100, copy of 20 x 8 bits (41 steps), batch \(batch), RMSprop",
            kind: .bits(configuration, bits: 8, read: 20, steps: 41), lanesPerRank: batch, optimizer: recurrentOptimizer)
    }

    private static func neuralComputer(
        name: String, rows: Int, width: Int, controller: Int, bits: Int, steps: Int, batch: Int, recompute: Bool = false
    ) -> MemoryWorkload {
        var configuration = DifferentiableNeuralComputerConfiguration(
            rows: rows, width: width, readHeads: 4, controller: ControllerConfiguration(.lstm, width: controller))
        configuration.recompute = recompute
        return MemoryWorkload(
            name: name,
            summary:
                "Differentiable Neural Computer: memory \(rows) x \(width), 4 read heads, LSTM controller \(controller), \(steps) steps of "
                + "\(bits) bits, batch \(batch), RMSprop\(recompute ? ", memory computed again" : "")",
            kind: .bits(configuration, bits: bits, read: steps / 2, steps: steps), lanesPerRank: batch,
            optimizer: recurrentOptimizer)
    }

    package var unitsPerLane: Int { if case .bits(_, _, _, let steps) = kind { steps } else { 1 } }
    package func hasDropout(_ settings: BenchmarkSettings) -> Bool { false }

    package func prepare(_ settings: BenchmarkSettings, lanes: [Int]) -> (model: any TrainableModel, batch: PreparedBatch) {
        switch kind {
        case .bits(let core, let bits, let read, let steps):
            let model = SequenceModel(SequenceModelConfiguration(core: core), SequenceModelForm(input: .vectors(bits + 1), output: .bits(bits)))
            return (model, PreparedBatch(bitBatch(lanes, bits: bits, read: read, steps: steps), for: model))
        case .stories(let configuration, let sentences, let words, let vocabulary):
            let model = MemoryNetwork(configuration, vocabularySize: vocabulary, slotCount: sentences, longestSentence: words)
            return (model, PreparedBatch(storyBatch(lanes, sentences: sentences, words: words, vocabulary: vocabulary), for: model))
        }
    }

    /// Random numbers below `limit` for one lane, as every workload draws them.
    private func draws(_ lane: Int, _ count: Int, below limit: Int) -> [Int32] {
        var random = RandomStream(key: mixKeys(TrainingWorkload.seed, UInt64(lane)))
        return (0..<count).map { _ in Int32(random.next() % UInt64(limit)) }
    }

    private func bitBatch(_ lanes: [Int], bits: Int, read: Int, steps: Int) -> SequenceBatch {
        let inputs = Tensor(zeros: [lanes.count, steps, bits + 1])
        let targets = Tensor(zeros: [lanes.count, steps, bits])
        var counts = [Bool](repeating: false, count: lanes.count * steps)
        let answered = steps - read - 1
        for (row, lane) in lanes.enumerated() {
            let drawn = draws(lane, read * bits, below: 2)
            for step in 0..<read {
                for bit in 0..<bits {
                    let value = Float(drawn[step * bits + bit])
                    inputs.floats[(row * steps + step) * (bits + 1) + bit] = value
                    if step < answered { targets.floats[(row * steps + read + 1 + step) * bits + bit] = value }
                }
            }
            inputs.floats[(row * steps + read) * (bits + 1) + bits] = 1
            for step in 0..<answered { counts[row * steps + read + 1 + step] = true }
        }
        return SequenceBatch(lanes: lanes, inputs: .vectors(inputs), targets: .bits(targets), counts: counts)
    }

    private func storyBatch(_ lanes: [Int], sentences: Int, words: Int, vocabulary: Int) -> StoryBatch {
        var stories = MemorizedStories()
        var answers: [Int32] = []
        for lane in lanes {
            let drawn = draws(lane, (sentences + 1) * words + 1, below: vocabulary - 1).map { $0 + 1 }
            stories.add(
                sentences: (0..<sentences).map { Array(drawn[$0 * words..<($0 + 1) * words]) },
                question: Array(drawn[sentences * words..<(sentences + 1) * words]))
            answers.append(drawn[(sentences + 1) * words])
        }
        return StoryBatch(lanes: lanes, stories: stories, answers: answers)
    }

    /// Three times the forward pass: two floating-point operations for each weight of a product and step; for each element of the memory and head two
    /// for the similarity and two for the read, two for norms, four for a write; for each link four to update it and two for each head and direction.
    package var modelFlopsPerLane: Double {
        switch kind {
        case .bits(let core, let bits, _, let steps):
            func step(rows: Int, width: Int, reads: Int, writes: Int, controller: Int, interface: Int, links: Bool) -> Double {
                let (n, w, r, k, c) = (Double(rows), Double(width), Double(reads), Double(writes), Double(controller))
                let products = 2 * (4 * c * (Double(bits + 1) + r * w + c) + c * Double(interface) + Double(bits) * (c + r * w))
                let memory = n * w * (2 * (r + k) + 2 * r + 2 + 4 * k)
                return products + memory + (links ? n * n * (4 + 4 * r) : 0)
            }
            switch core {
            case let m as NeuralTuringMachineConfiguration:
                let heads = m.readHeads + m.writeHeads
                return 3 * Double(steps)
                    * step(
                        rows: m.rows, width: m.width, reads: m.readHeads, writes: m.writeHeads, controller: m.controller.width,
                        interface: heads * (m.width + 3 + m.shifts.count) + 2 * m.writeHeads * m.width, links: false)
            case let m as DifferentiableNeuralComputerConfiguration:
                return 3 * Double(steps)
                    * step(
                        rows: m.rows, width: m.width, reads: m.readHeads, writes: 1, controller: m.controller.width,
                        interface: m.width * m.readHeads + 3 * m.width + 5 * m.readHeads + 3, links: true)
            default: preconditionFailure("no such workload")
            }
        case .stories(let m, let sentences, let words, let vocabulary):
            let (d, s) = (Double(m.width), Double(sentences))
            // Every table sums the words of every sentence once; a hop is a product with the input memory and one with the output memory.
            let sums = 2 * d * (Double(m.hops + 1) * s * Double(words) + Double(words))
            return 3 * (sums + Double(m.hops) * 4 * s * d + 2 * d * Double(vocabulary))
        }
    }

    /// Of a Differentiable Neural Computer, links and memory: forward each is read and written once a step; backward it is read, and its gradient
    /// read and written.
    package var modelBytesPerLane: Double {
        guard case .bits(let core, _, _, let steps) = kind, let m = core as? DifferentiableNeuralComputerConfiguration, m.rows >= 128 else { return 0 }
        return Double(steps) * 4 * Double(m.rows * m.rows + m.rows * m.width) * 5
    }
}
