// What cores have in common that read a sequence segment after segment, and remember something from segment to segment.
//
// Legend: B sequences, T steps, I input width, D width, S positions of a segment, n of them that are read.

import Diagnostics
import NeuralNetworks
import Tensors

/// A core that reads segments of S positions, each of them at once, and writes to its memory at a segment's end.
///
/// A segment that is not complete is remembered as it was read, and read again with what follows, so that what is given does not depend on how the
/// steps are cut into calls. A gradient flows from segment to segment of one call, and into the memory before it.
protocol SegmentedCore: SequenceCore {
    /// What goes from segment to segment.
    associatedtype Remembered
    /// S.
    var segment: Int { get }
    /// I.
    var inputs: Int { get }
    /// What the outputs of all segments go through.
    var finalNorm: LayerNorm { get }

    /// What there is before a segment.
    /// - Parameter tensors: the values of `memory` but of the last two, which `pendingDeclarations` declares; `nil` where sequences begin.
    func remembered(_ tensors: [Tensor]?, batch: Int, _ pass: ForwardPass) -> Remembered
    /// The other way.
    func tensors(of remembered: Remembered, batch: Int) -> [Tensor]
    /// Reads one segment, or the beginning of one: [B, n, I] to float32 [B, n, D]. A complete segment changes what is remembered.
    func read(_ steps: Tensor, _ remembered: inout Remembered, _ place: SegmentPlace, _ pass: ForwardPass, _ pictures: SegmentPictures?) -> Tensor
}

/// Where what is read of a segment stands.
struct SegmentPlace {
    /// Whether it is a whole segment.
    let isComplete: Bool
    /// Whether it is the last one of a call.
    let isLast: Bool
}

/// More sites of dropout than a segment has, and than a call has.
private let (sitesOfSegment, sitesOfCall) = (UInt64(1) << 12, UInt64(1) << 40)

extension SegmentedCore {
    /// The last two declarations of a core's memory: `path.pending` [S - 1, I], the steps of a segment that is not complete, and `path.pendingCount`,
    /// how many they are.
    static func pendingDeclarations(_ path: String, segment: Int, inputs: Int, lifetime: MemoryLifetime) -> [MemoryDeclaration] {
        [
            MemoryDeclaration("\(path).pending", [segment - 1, inputs], axes: ["position", "unit"], lifetime: lifetime),
            MemoryDeclaration("\(path).pendingCount", [], axes: [], lifetime: lifetime),
        ]
    }

    /// - Returns: [B, T, D] in the type of activations, and the state after the last step, float32.
    public func callAsFunction(_ x: Tensor, from state: MemoryState?, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        guard let state, let counts = state.tensors.last else { return read(x, nil, pending: 0, pass) }
        let batch = x.shape[0]
        let byCount = Dictionary(grouping: 0..<batch) { Int(counts.floats[$0]) }
        if byCount.count == 1, let pending = byCount.keys.first { return read(x, state, pending: pending, pass) }
        // Sequences that stand at different places of their segments, as in generation.
        require(pass.tape == nil, "sequences that are trained together stand at one place of their segments")
        let steps = x.shape[1]
        let outputs = Tensor(uninitialized: [batch, steps * outputWidth], finalNorm.weight.activationType)
        let next = MemoryState(memory.map { Tensor(uninitialized: Shape([batch] + $0.shape.array)) })
        for (pending, places) in byCount.sorted(by: { $0.key < $1.key }) {
            let part = read(
                x.viewed(as: [batch, steps * inputs]).rows(places).viewed(as: [places.count, steps, inputs]),
                MemoryState(state.tensors.map { $0.rows(places) }), pending: pending, pass)
            outputs.storeRows(places, from: part.outputs.viewed(as: [places.count, steps * outputWidth]))
            for (target, source) in zip(next.tensors, part.state.tensors) { target.storeRows(places, from: source) }
        }
        return (outputs.viewed(as: [batch, steps, outputWidth]), next)
    }

    /// Sequences of whose segments the same number of steps was read already.
    private func read(_ x: Tensor, _ state: MemoryState?, pending count: Int, _ pass: ForwardPass) -> (outputs: Tensor, state: MemoryState) {
        let (batch, steps) = (x.shape[0], x.shape[1])
        let own = convert(x, to: .float32)
        let before = state.flatMap { count == 0 ? nil : $0.tensors[$0.tensors.count - 2].slice(0..<count, axis: 1).stopGradient() }
        let all = before.map { concatenate([$0, own], axis: 1) } ?? own
        var remembered = self.remembered(state.map { Array($0.tensors.dropLast(2)) }, batch: batch, pass)
        var (place, parts): (Int, [Tensor]) = (0, [])
        let pictures = pass.trace.map { _ in SegmentPictures() }
        let firstSite = pass.dropout?.site ?? 0
        while place < count + steps {
            let end = min(place + segment, count + steps)
            // Every segment has sites of its own: what is dropped does not depend on how many follow, such as those of padding.
            let dropout = pass.dropout?.copy(at: firstSite + UInt64(parts.count) * sitesOfSegment)
            let part = ForwardPass(
                tape: pass.tape, dropout: dropout, numerics: pass.numerics, isTraining: pass.isTraining, stepsDone: pass.stepsDone)
            let ends = SegmentPlace(isComplete: end == place + segment, isLast: end == count + steps)
            parts.append(read(all.slice(place..<end, axis: 1), &remembered, ends, part, pictures))
            place = end
        }
        pass.dropout?.skip(to: firstSite + sitesOfCall)
        let joined = parts.count == 1 ? parts[0] : concatenate(parts, axis: 1)
        if let trace = pass.trace { pictures?.record(in: trace) }
        let outputs = finalNorm(count == 0 ? joined : joined.slice(count..<count + steps, axis: 1), pass)
        return (outputs, MemoryState(self.tensors(of: remembered, batch: batch) + pendingTensors(all)))
    }

    /// The steps that are not of a complete segment, off the tape, and their number.
    private func pendingTensors(_ all: Tensor) -> [Tensor] {
        let (batch, count, rest) = (all.shape[0], all.shape[1], all.shape[1] % segment)
        let pending = Tensor(zeros: [batch, segment - 1, inputs])
        for sequence in 0..<batch {
            (pending.floats + sequence * (segment - 1) * inputs).update(
                from: all.floats + ((sequence + 1) * count - rest) * inputs, count: rest * inputs)
        }
        return [pending, Tensor([Float](repeating: Float(rest), count: batch), [batch])]
    }
}
