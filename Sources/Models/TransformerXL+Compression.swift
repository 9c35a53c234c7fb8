// The Compressive Transformer (Rae et al. 2019): a Transformer-XL that makes few positions of many when they leave its memory, and remembers those.
//
// Legend: B sequences, T positions, K positions that the memory has room for, C compressed positions, c that one is made of, D width.

import Memory
import NeuralNetworks
import Tensors

/// What lanes have brought: the parts of a state.
private struct CompressedPast {
    /// Of each layer: float32 [B, K, D] and [B, C, D], the latest last.
    var memory: [Tensor] = []
    var compressed: [Tensor] = []
    /// Of each layer: the attention that each position of the memory has received, float32 [B, K]; empty where nobody counts it.
    var use: [Tensor] = []
    /// How many of K and of C are real, [B].
    let remembered: [Int]
    let slots: [Int]
    /// K + C.
    let keys: Int

    /// - Parameters:
    ///   - state: in the order of the model's declarations, K as the pass that left it had it.
    ///   - countsUse: whether each layer's use is in it.
    init(_ state: MemoryState, layers: Int, countsUse: Bool) {
        let parts = countsUse ? 3 : 2
        for layer in 0..<layers {
            memory.append(state.tensors[parts * layer])
            compressed.append(state.tensors[parts * layer + 1])
            if countsUse { use.append(state.tensors[parts * layer + 2]) }
        }
        slots = TransformerXL.counts(state.tensors[parts * layers])
        remembered = TransformerXL.counts(state.tensors[parts * layers + 1])
        keys = memory[0].shape[1] + compressed[0].shape[1]
    }

    /// The real positions of each sequence, [B].
    var counts: [Int] { zip(remembered, slots).map { $0 + $1 } }

    /// What a layer attends to before the segment, float32 [B, C + K, D]: compressed positions, then the memory, with nothing between them.
    func packed(_ layer: Int) -> Tensor { latestRows(keys, of: [(compressed[layer], slots), (memory[layer], remembered)]) }
}

extension TransformerXL {
    /// `hidden` of a model that compresses.
    ///
    /// After the segment the memory holds the latest positions, as many as it should, and those before them that do not yet make a group of c. The
    /// groups are counted from the beginning of the lane, or of its document: what is compressed together does not depend on how long segments are.
    func compressedHidden(
        _ inputs: Tensor, from state: MemoryState?, _ compression: CompressionConfiguration, _ pass: ForwardPass
    ) -> (hidden: Tensor, state: MemoryState) {
        let (countsUse, positions) = (compression.function == .mostUsed, inputs.shape[1])
        let past = state.flatMap { $0.tensors.isEmpty ? nil : CompressedPast($0, layers: layers.count, countsUse: countsUse) }
        var view = SegmentView(
            inputs.shape, past: past?.keys ?? 0, remembered: past?.counts, resets: configuration.resets ? pass.resets : [], window: nil)
        let memoryStart = view.past - (past?.remembered[0] ?? 0)
        view.segmentWindow = configuration.window
        view.compressed = memoryStart - (past?.slots[0] ?? 0)..<memoryStart
        var xs: [Tensor] = []
        var received: [Int: Tensor] = [:]
        let onReceived: (Int, Tensor) -> Void = { received[$0] = $1 }
        let hidden = read(
            inputs, past: past.map { past in layers.indices.map(past.packed) } ?? [], view, pass, onInput: { xs.append($1) },
            onReceived: countsUse ? onReceived : nil)

        // Where a document began in the segment, nothing before it is remembered.
        let seen = view.seenByLast
        let isNew = seen.map { $0 <= positions }
        let counts = seen.indices.map { isNew[$0] ? seen[$0] : (past?.remembered[$0] ?? 0) + positions }
        let slots = seen.indices.map { isNew[$0] ? 0 : past?.slots[$0] ?? 0 }
        let room = capacity(pass) + compression.rate - 1
        var left: [Tensor] = []
        var slotsLeft: [Int] = []
        var remaining: [Int] = []
        for (index, layer) in layers.enumerated() {
            guard let compress = layer.compression else { continue }
            let own = xs[index].converted(to: .float32)
            let rows = past.map { concatenate([$0.memory[index], own], axis: 1) } ?? own
            let leaving = LeavingRows(rows, counts: counts, capacity: capacity(pass), rate: compression.rate)
            let use = received[index].map { Self.use(of: leaving, before: past?.use[index], received: $0) }
            var parts = past.map { [($0.compressed[index], slots)] } ?? []
            if leaving.groupCount > 0 {
                let made = compress(leaving, use: use?.average, pass)
                if pass.tape != nil, pass.isTraining,
                    let loss = compress.loss(
                        made, of: leaving, readBy: xs[index], layer.attention, norm: configuration.preNorm ? layer.attentionNorm : nil, pass)
                {
                    pass.addAuxiliaryLoss(loss)
                }
                parts.append((made.stopGradient(), leaving.groups))
            }
            slotsLeft = zip(slots, leaving.groups).map { min(compression.slots, $0 + $1) }
            remaining = leaving.remaining
            left.append(latestRows(room, of: [(rows, remaining)]))
            left.append(parts.isEmpty ? Tensor(zeros: [counts.count, compression.slots, rows.shape[2]]) : latestRows(compression.slots, of: parts))
            if let sum = use?.sum {
                let column = sum.viewed(as: [sum.shape[0], sum.shape[1], 1])
                left.append(latestRows(room, of: [(column, remaining)]).viewed(as: [sum.shape[0], room]))
            }
        }
        let numbers = [slotsLeft, remaining].map { Tensor($0.map { Float($0) }, [$0.count]) }
        return (hidden, MemoryState(left + numbers))
    }

    /// The attention that the rows of a layer's memory have received since they came, float32 [B, N]: its sum, and its mean over the positions that
    /// have seen the row, which are itself and all after it.
    /// - Parameters:
    ///   - before: the sum as of the last segment, [B, K]; `nil` where nothing was remembered.
    ///   - received: of all keys in this segment, [B, S], those of the rows last.
    private static func use(of leaving: LeavingRows, before: Tensor?, received: Tensor) -> (sum: Tensor, average: Tensor) {
        let (batch, length, keys) = (leaving.rows.shape[0], leaving.rows.shape[1], received.shape[1])
        let (sum, average) = (Tensor(zeros: [batch, length]), Tensor(zeros: [batch, length]))
        let old = before?.shape[1] ?? 0
        for b in 0..<batch {
            for age in 1...max(leaving.counts[b], 1) {
                let place = (b + 1) * length - age
                sum.floats[place] = received.floats[(b + 1) * keys - age]
                let remembered = age - (length - old)
                if let before, remembered > 0 { sum.floats[place] += before.floats[(b + 1) * old - remembered] }
                average.floats[place] = sum.floats[place] / Float(age)
            }
        }
        return (sum, average)
    }
}
