// What the positions of a Transformer-XL's segment see, and pictures of how they look at it.
//
// Legend: B sequences, T positions, M positions remembered, S = M + T.

import NeuralNetworks
import Tensors

/// What the positions of a segment see of it and of what is remembered.
struct SegmentView {
    /// M and S.
    let past: Int
    let keys: Int
    /// The first key that each position sees, [B, T]; `nil` where that is key 0 for all.
    let firstKeys: [Int]?
    /// How many positions of the segment a position sees; `nil` for all.
    var segmentWindow: Int?
    /// The keys of the first sequence that are compressed positions; `nil` where none is compressed.
    var compressed: Range<Int>?
    private let batch: Int

    /// - Parameters:
    ///   - shape: [B, T].
    ///   - past: M.
    ///   - remembered: how many of the M positions are real, the latest ones, [B]; `nil` for none.
    ///   - resets: [B, T], true where all before is forgotten; empty for nowhere.
    ///   - window: how many positions before it a position sees; `nil` for all.
    init(_ shape: Shape, past: Int, remembered: [Int]?, resets: [Bool], window: Int?) {
        let (batch, positions) = (shape[0], shape[1])
        var first = [Int](repeating: 0, count: batch * positions)
        for b in 0..<batch {
            var start = past - (remembered?[b] ?? 0)
            for t in 0..<positions {
                if !resets.isEmpty, resets[b * positions + t] { start = past + t }
                first[b * positions + t] = max(start, past + t - (window ?? .max))
            }
        }
        (self.past, keys, self.batch) = (past, past + positions, batch)
        firstKeys = first.contains { $0 > 0 } ? first : nil
    }

    /// The keys that the last position of each sequence sees, [B].
    var seenByLast: [Int] { (0..<batch).map { keys - (firstKeys?[($0 + 1) * (keys - past) - 1] ?? 0) } }

    /// How many of the latest positions are real after the segment, at most `capacity`, of which no window is smaller: float32 [B].
    func remembered(_ capacity: Int) -> Tensor { Tensor(seenByLast.map { Float(min(capacity, $0)) }, [batch]) }
}

/// How far back the layers looked, and how much of that before the segment.
final class RelativePictures {
    private let past: Int
    private let compressed: Range<Int>?
    private var weights: [RelativeWeights] = []

    /// - Parameters:
    ///   - past: M.
    ///   - compressed: the keys of the first sequence that are compressed positions; `nil` where none is compressed.
    init(_ past: Int, compressed: Range<Int>?) { (self.past, self.compressed) = (past, compressed) }

    func add(_ weights: RelativeWeights) { self.weights.append(weights) }

    /// Two pictures: the mean weight of distances 0, 1, 2-3, 4-7 and so on, and the weight of what came before the segment at each position. A third
    /// where positions are compressed: the mean weight of these, of the memory and of the segment.
    func record(in trace: MemoryTrace) {
        guard let first = weights.first else { return }
        var ranges = [0...0]
        while let last = ranges.last, last.upperBound < first.keys - 1 {
            ranges.append(last.upperBound + 1...min(first.keys - 1, max(1, 2 * last.upperBound + 1)))
        }
        let labels = weights.indices.map { "layer \($0)" }
        let byDistance = weights.flatMap { layer in ranges.map { layer.meanWeight(of: $0) } }
        trace.record(
            "attention by distance", rowAxis: "layer", columnAxis: "distance", rowLabels: labels,
            columnLabels: ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }, rows: weights.count,
            columns: ranges.count, values: byDistance)
        guard past > 0 else { return }
        trace.record(
            "attention to what came before the segment", rowAxis: "layer", columnAxis: "step", rowLabels: labels, rows: weights.count,
            columns: first.positions,
            values: weights.flatMap { layer in (0..<layer.positions).map { layer.weight(of: 0..<past, at: $0) } })
        guard let compressed else { return }
        let sources = [compressed, compressed.upperBound..<past, past..<first.keys]
        trace.record(
            "attention by source", rowAxis: "layer", columnAxis: "source", rowLabels: labels, columnLabels: ["compressed", "memory", "segment"],
            rows: weights.count, columns: sources.count, values: weights.flatMap { layer in sources.map { layer.meanWeight(of: $0) } })
    }
}

extension RelativeWeights {
    /// What a position gives to some keys.
    fileprivate func weight(of range: Range<Int>, at position: Int) -> Float {
        range.reduce(0) { $0 + values[position * keys + $1] }
    }

    /// What positions give to some keys, on average.
    fileprivate func meanWeight(of range: Range<Int>) -> Float {
        (0..<positions).reduce(0) { $0 + weight(of: range, at: $1) } / Float(positions)
    }

    /// What positions give to the keys that are so far from them, on average.
    fileprivate func meanWeight(of distances: ClosedRange<Int>) -> Float {
        var sum: Float = 0
        for position in 0..<positions {
            let own = keys - positions + position
            sum += weight(of: max(0, own - distances.upperBound)..<max(0, own - distances.lowerBound + 1), at: position)
        }
        return sum / Float(positions)
    }
}
