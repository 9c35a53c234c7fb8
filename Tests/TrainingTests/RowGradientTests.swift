// Training with gradients that are rows against the same with dense ones: the same bits on any number of ranks.

import Collectives
import Diagnostics
import NeuralNetworks
import Optimizers
import Tensors
import Testing
import Training

@Suite("Training with gradients of rows")
struct RowGradientTests {
    private static let (size, width) = (300, 8)

    /// A table, and a layer behind it.
    private struct Network {
        let store = ParameterStore()
        let table: Parameter
        let layer: Parameter

        init(_ form: GradientForm) {
            layer = store.add("layer", [5, width], .xavierUniform)
            table = store.add("table", [size, width], .normal(standardDeviation: 0.3), gradient: form)
            store.allocate(seed: 4)
        }

        /// The loss of a few symbols, the table read twice, once in a part that is computed again.
        func loss(_ step: Int, _ group: Int, _ tape: Tape) -> SummedLoss {
            let count = 12 + group
            let symbols = Tensor((0..<count).map { Int32(($0 * $0 * 7 + step * 31 + group * 13) % (size / 2)) }, [count])
            let first = embedding(tape.parameter(table), symbols, scale: 2)
            let second = recomputed([], on: tape) { _, tape in embedding(tape.parameter(table), symbols) }
            let targets = Tensor((0..<count).map { Int32(($0 + step) % 5) }, [count])
            return linearCrossEntropy(first + second, weight: tape.operand(layer), targets: targets)
        }
    }

    /// Values, norms and losses after a few steps of four groups, as bits.
    private func train(
        _ form: GradientForm, _ configuration: OptimizerConfiguration, clip: Double = 0, per scope: ClipScope = .all,
        _ communicator: any Communicator = SingleProcess(), reproducible: Bool = false, groups: Int = 4, isShared: Bool = false, isHidden: Bool = false,
        combination: GradientCombination = .sum
    ) throws -> [UInt64] {
        let network = Network(form)
        let tree = reproducible ? try ReproducibleTree(groupCount: groups, size: communicator.size) : nil
        let own = tree?.groups(ofRank: communicator.rank) ?? Array(stride(from: communicator.rank, to: groups, by: communicator.size))
        let partition = ParameterPartition(network.store, sharedAlong: isShared ? tree : nil, rank: communicator.rank, bucketBytes: 4096,
            travelsInParts: GradientRounding.travelsInParts(.float32, combination))
        let step = TrainingStep(
            store: network.store, optimizer: try makeOptimizer(configuration, parameterCount: partition.stateCount(network.store)),
            update: .init(clip: clip, clipPer: scope), communicator: communicator, tree: tree, partition: partition,
            rounding: GradientRounding(.float32, combination, parts: partition.parts), microBatches: own.count)
        let window = network.table.offset..<network.table.offset + network.table.shape.count
        if isHidden { for index in window { network.store.gradientMemory[index] = .nan } }
        var bits: [UInt64] = []
        for number in 1...4 {
            let outcome = try step.run(step: number, learningRate: configuration.learningRate) { index, tape in
                network.loss(number, own[index], tape)
            }
            bits += [outcome.loss.bitPattern, outcome.gradientNorm.bitPattern]
        }
        if isHidden { #expect(network.store.gradientMemory[window].allSatisfy { $0.isNaN }, "the memory of the dense gradient was written") }
        return bits + network.store.values.map { UInt64($0.bitPattern) }
    }

    private static let optimizers = [
        OptimizerConfiguration(kind: .adamw, learningRate: 0.01), OptimizerConfiguration(kind: .sgd, learningRate: 0.5),
        OptimizerConfiguration(kind: .sgd, learningRate: 0.1, momentum: 0.9, nesterov: true), OptimizerConfiguration(kind: .rmsprop, learningRate: 0.01),
        OptimizerConfiguration(kind: .adagrad, learningRate: 0.1),
    ]

    @Test("every optimizer, plain and clipped, over micro-batches; the dense memory is neither read nor written", arguments: optimizers.indices)
    func oneRank(_ index: Int) throws {
        let optimizer = Self.optimizers[index]
        for (clip, scope) in [(0, .all), (0.05, .all), (0.02, .parameter)] as [(Double, ClipScope)] {
            let dense = try train(.dense, optimizer, clip: clip, per: scope)
            #expect(try train(.rows, optimizer, clip: clip, per: scope, isHidden: true) == dense, "clip \(clip) per \(scope)")
            let group = try train(.dense, optimizer, clip: clip, per: scope, reproducible: true, groups: 1)
            #expect(try train(.rows, optimizer, clip: clip, per: scope, reproducible: true, groups: 1, isHidden: true) == group)
        }
    }

    @Test("ranks that share out the optimizer's state: the bits of one rank that has all of it", arguments: optimizers.indices)
    func shared(_ index: Int) throws {
        let optimizer = Self.optimizers[index]
        for (clip, scope) in [(0, .all), (0.05, .all), (0.02, .parameter)] as [(Double, ClipScope)] {
            let alone = try train(.dense, optimizer, clip: clip, per: scope, reproducible: true)
            for size in [2, 3, 4] {
                let ranks = try LoopbackCommunicator.run(size: size) { communicator in
                    try train(.rows, optimizer, clip: clip, per: scope, communicator, reproducible: true, isShared: true)
                }
                #expect(ranks.allSatisfy { $0 == alone }, "clip \(clip) per \(scope) on \(size) ranks")
            }
        }
    }

    @Test("adaptive sums: 1 to 4 ranks, with the optimizer's state shared out or not, make the same steps, which are not those of sums")
    func adaptive() throws {
        for optimizer in Self.optimizers.prefix(2) {
            let alone = try train(.dense, optimizer, clip: 0.05, reproducible: true, combination: .adasum)
            #expect(try alone != train(.dense, optimizer, clip: 0.05, reproducible: true))
            #expect(try train(.rows, optimizer, clip: 0.05, reproducible: true, combination: .adasum) == alone)
            for size in [2, 3, 4] {
                for isShared in [false, true] {
                    let ranks = try LoopbackCommunicator.run(size: size) {
                        try train(.dense, optimizer, clip: 0.05, $0, reproducible: true, isShared: isShared, combination: .adasum)
                    }
                    #expect(ranks.allSatisfy { $0 == alone }, "\(size) ranks, shared out: \(isShared)")
                }
            }
        }
    }

    /// Ranks of nodes of their own.
    private final class Nodes: ForwardingCommunicator {
        private(set) var messages = 0
        override var localSize: Int { 1 }
        override var localRank: Int { 0 }

        override func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
            messages += outgoing.count
            return try super.startMessages(outgoing, incoming, tag: tag)
        }
    }

    @Test("between nodes sums travel as messages, where the ranks are a power of two; they are the library's", arguments: [2, 3, 4])
    func betweenNodes(size: Int) throws {
        let optimizer = Self.optimizers[1]
        let together = try LoopbackCommunicator.run(size: size) { try train(.dense, optimizer, $0) }
        let apart = try LoopbackCommunicator.run(size: size) {
            let nodes = Nodes($0)
            return (bits: try train(.dense, optimizer, nodes), messages: nodes.messages)
        }
        #expect(apart.allSatisfy { ($0.messages > 0) == (size != 3) && $0.bits == apart[0].bits })
        // The order of additions is another from four ranks on.
        guard size == 4 else { return #expect(apart[0].bits == together[0]) }
        for (own, other) in zip(apart[0].bits.suffix(100), together[0].suffix(100)) {
            let (own, other) = (Float(bitPattern: UInt32(own)), Float(bitPattern: UInt32(other)))
            #expect(abs(own - other) <= 1e-4 * max(abs(own), 0.01))
        }
    }

    @Test("1, 2 and 4 ranks, in buckets and along the tree", arguments: [1, 2, 4], [false, true])
    func ranks(size: Int, reproducible: Bool) throws {
        let optimizer = Self.optimizers[0]
        let both = try LoopbackCommunicator.run(size: size) { communicator in
            try [GradientForm.dense, .rows].map { try train($0, optimizer, clip: 0.05, communicator, reproducible: reproducible) }
        }
        for results in both {
            #expect(results[1] == results[0])
            #expect(results[1] == both[0][1])
        }
    }

    @Test("a table whose gradient is not finite is named")
    func notFinite() throws {
        let network = Network(.rows)
        network.table.value.floats[0] = .infinity
        let optimizer = try makeOptimizer(Self.optimizers[1], parameterCount: network.store.flatCount)
        let step = TrainingStep(store: network.store, optimizer: optimizer, update: .init(), communicator: SingleProcess())
        network.store.gradientMemory.update(repeating: 0)
        #expect {
            try step.run(step: 1, learningRate: 1) { _, tape in
                let rows = embedding(tape.parameter(network.table), Tensor([0, 1] as [Int32], [2]))
                return SummedLoss(loss: (rows * rows).sum(), negativeLogLikelihood: 1, count: 1, perPosition: [])
            }
        } throws: { "\($0)".contains("first that of table") }
    }
}
