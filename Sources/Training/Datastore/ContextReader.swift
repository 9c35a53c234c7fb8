// A text as a language model reads it in evaluation, with the context vector of every token that it predicts.
//
// Legend: B lanes of a batch, T positions, F width of a context vector, n tokens of a passage, P ranks.

import Collectives
import Corpora
import Diagnostics
import Evaluation
import Models
import NeuralNetworks
import Sharding
import Tensors

/// What a model makes of the next T tokens of some lanes. Positions without a target are left out.
struct ContextPassage {
    /// Its place among the passages of a round.
    var place: Int
    /// The lane of each token, [n].
    var lanes: [Int32] = []
    /// Where each token lies in the corpus's stream, [n].
    var positions: [Int] = []
    /// The tokens that were to be predicted, [n].
    var targets: [Int32] = []
    /// -log p of each in nats, [n].
    var losses: [Float] = []
    /// The context vector from which each was predicted, float32 [n, F].
    var vectors: Tensor
    /// The sum of the losses in nats, with more digits than they have.
    var negativeLogLikelihood = 0.0
}

/// Reads a corpus of text once, in rounds of passages that are dealt out to the ranks.
///
/// Batches and their order are those of ``evaluatePerplexity(model:corpus:communicator:settings:)``, so losses are the same bits; neither
/// passages nor rounds depend on the number of ranks.
final class ContextReader {
    private let model: any TextLanguageModel
    private let corpus: Corpus
    private let settings: PerplexitySettings
    private let communicator: any Communicator
    /// Groups of lanes, each a passage at every step: all lanes, or, where a model carries memory, the lanes that go on together.
    private let groups: [[Int]]
    private let carries: Bool

    /// Steps of a batch that a round has: passages of some 32,768 tokens, and four steps at least, to be shared by ranks.
    private var stepsOfRound: Int { max(4, (1 << 15) / (settings.rows * settings.length)) }

    /// - Throws: `UserError` (.configuration) for a model that gives no context vectors, and a corpus that is not text.
    init(_ model: any LanguageModel, _ corpus: Corpus, _ settings: PerplexitySettings, _ communicator: any Communicator) throws {
        guard corpus.kind == .text else {
            throw UserError(
                .configuration, "holds pairs; a bank or a cache is read beside running text", at: corpus.directory,
                advice: "name a corpus of text")
        }
        self.model = try textModel(model, of: corpus)
        guard model.contextVectors != nil else {
            throw UserError(
                .configuration, "its model gives no context vectors", at: "model.kind",
                advice: "use a decoder-only, recurrent or memory network language model")
        }
        (self.corpus, self.settings, self.communicator) = (corpus, settings, communicator)
        carries = model.memory.contains { $0.lifetime == .lane }
        groups = carries ? streamGroups(settings.rows) : [Array(0..<settings.rows)]
    }

    /// Parts of the sum of losses: batches, or groups of streams.
    var parts: Int { get throws { carries ? groups.count : try loader().stepCount } }

    private func loader() throws -> SequentialTextLoader {
        try SequentialTextLoader(corpus, lanes: settings.rows, length: settings.length)
    }

    /// Reads the corpus. Collective.
    ///
    /// - Parameter body: takes the passages of a round that this rank has read, each with the part of the sum that it belongs to, in their
    ///   order. It is called on every rank for every round and may call collectives. It returns whether to go on, the same on every rank.
    /// - Throws: what `body` throws, `UserError` where the corpus cannot be read, on every rank.
    func read(_ body: (_ passages: [(passage: ContextPassage, part: Int)]) throws -> Bool) throws {
        let loader = try communicator.onEveryRank { try self.loader() }
        var memories = groups.map { _ in CarriedMemory([:]) }
        for first in stride(from: 0, to: loader.stepCount, by: stepsOfRound) {
            let own = try communicator.onEveryRank { () -> [(passage: ContextPassage, part: Int)] in
                var own: [(passage: ContextPassage, part: Int)] = []
                for step in first..<min(first + stepsOfRound, loader.stepCount) {
                    for (group, lanes) in groups.enumerated() where (carries ? group : step) % communicator.size == communicator.rank {
                        try loader.seek(to: LoaderPosition(global: [Int64(step)]))
                        let passage = try passage(
                            loader, lanes, carries ? memories[group] : nil, place: (step - first) * groups.count + group)
                        if carries { memories[group] = CarriedMemory(memories[group].after) }
                        own.append((passage, carries ? group : step))
                    }
                }
                return own
            }
            if let isAsked = communicator.interruption, try communicator.agreeOnFlag(isAsked() ? 1 : 0) > 0 { throw Interrupted() }
            if try !body(own) { return }
        }
    }

    private func passage(
        _ loader: SequentialTextLoader, _ lanes: [Int], _ memory: CarriedMemory?, place: Int
    ) throws -> ContextPassage {
        let batch = TokenBatch(try loader.batch(lanes: lanes))
        let pass = ForwardPass(memory: memory)
        var vectors: Tensor?
        pass.onContextVectors = { vectors = convert($0, to: .float32) }
        let sums = model.loss(batch, pass)
        guard let vectors else { failRequirement("a model that declares context vectors gave none", file: #fileID, line: #line) }
        let counted = (0..<batch.targets.count).filter { batch.targets.integers[$0] >= 0 }
        let width = vectors.shape.columns
        let starts = lanes.map { loader.targets($0).lowerBound }
        return ContextPassage(
            place: place, lanes: counted.map { Int32(lanes[$0 / settings.length]) },
            positions: counted.map { starts[$0 / settings.length] + $0 % settings.length },
            targets: counted.map { batch.targets.integers[$0] },
            losses: counted.map { sums.perPosition[$0] }, vectors: vectors.viewed(as: [batch.targets.count, width]).rows(counted),
            negativeLogLikelihood: sums.negativeLogLikelihood)
    }
}

extension ContextPassage {
    /// The passages of all ranks in their order. Collective.
    static func gathered(_ own: [ContextPassage], width: Int, _ communicator: any Communicator) throws -> [ContextPassage] {
        if communicator.size == 1 { return own }
        let bytes = own.reduce(into: [UInt8]()) { $0 += $1.encoded }
        return try communicator.allGather(bytes).flatMap { decoded($0, width: width) }.sorted { $0.place < $1.place }
    }

    private var encoded: [UInt8] {
        var bytes: [UInt8] = []
        [place, targets.count].withUnsafeBytes { bytes += $0 }
        positions.withUnsafeBytes { bytes += $0 }
        lanes.withUnsafeBytes { bytes += $0 }
        targets.withUnsafeBytes { bytes += $0 }
        losses.withUnsafeBytes { bytes += $0 }
        bytes += UnsafeRawBufferPointer(start: vectors.bytes, count: 4 * vectors.count)
        return bytes
    }

    private static func decoded(_ bytes: [UInt8], width: Int) -> [ContextPassage] {
        bytes.withUnsafeBytes { bytes in
            var (place, passages) = (0, [ContextPassage]())
            func next<Element: BitwiseCopyable>(_ count: Int, _: Element.Type) -> [Element] {
                let start = place
                place += count * MemoryLayout<Element>.size
                return (0..<count).map { bytes.loadUnaligned(fromByteOffset: start + $0 * MemoryLayout<Element>.size, as: Element.self) }
            }
            while place < bytes.count {
                let head = next(2, Int.self)
                var passage = ContextPassage(place: head[0], vectors: Tensor(uninitialized: [head[1], width]))
                passage.positions = next(head[1], Int.self)
                passage.lanes = next(head[1], Int32.self)
                passage.targets = next(head[1], Int32.self)
                passage.losses = next(head[1], Float.self)
                let size = 4 * head[1] * width
                if size > 0 {
                    UnsafeMutableRawBufferPointer(start: passage.vectors.bytes, count: size).copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: bytes[place..<(place + size)]))
                }
                place += size
                passages.append(passage)
            }
            return passages
        }
    }
}
