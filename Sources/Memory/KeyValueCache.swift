// Working memory of a Transformer while it generates: the keys and values of all earlier positions.
//
// Legend: B sequences, C capacity, D width.

import Tensors

/// The keys and values of each layer, appended to position by position.
///
/// Lives for one generation. Every sequence has its own length, so prompts of different lengths share a batch.
public final class KeyValueCache {
    /// [B, C, 2 D] for each layer: keys, then values.
    public private(set) var layers: [Tensor]
    /// The positions that each sequence remembers, [B].
    public private(set) var lengths: [Int]
    /// C.
    public let capacity: Int
    private let width: Int
    /// Of one position: key and value.
    private let bytes: Int

    /// Memory for `capacity` positions of `batch` sequences. Cost: 8 layers B C D bytes in float32, half of that in bfloat16.
    public init(layers: Int, batch: Int, capacity: Int, width: Int, _ dataType: DataType = .float32) {
        self.layers = (0..<layers).map { _ in Tensor(uninitialized: [batch, capacity, 2 * width], dataType) }
        bytes = 2 * width * dataType.byteCount
        lengths = [Int](repeating: 0, count: batch)
        self.capacity = capacity
        self.width = width
    }

    /// Stores the first `lengths[b]` positions of a prompt. `packed`: [B, T, 3 D], query, key and value. Does not change `lengths`.
    public func store(prompt packed: Tensor, layer: Int, lengths: [Int]) {
        let stride = packed.shape[1]
        for (b, length) in lengths.enumerated() {
            precondition(length <= capacity, "a prompt of \(length) positions in a cache of \(capacity)")
            for t in 0..<length { copy(packed, row: b * stride + t, layer: layer, sequence: b, position: t) }
        }
    }

    /// Stores one new position a sequence at its length. `packed`: [B, 1, 3 D]. Returns what `SelfAttention.step` asks for.
    public func append(_ packed: Tensor, layer: Int) -> (keysAndValues: Tensor, lengths: [Int]) {
        for (b, length) in lengths.enumerated() {
            precondition(length < capacity, "a cache of \(capacity) positions is full")
            copy(packed, row: b, layer: layer, sequence: b, position: length)
        }
        return (layers[layer], lengths.map { $0 + 1 })
    }

    /// Moves on after all layers have stored: each sequence's length becomes the given one.
    public func advance(to lengths: [Int]) {
        precondition(lengths.count == self.lengths.count, "\(lengths.count) lengths for \(self.lengths.count) sequences")
        self.lengths = lengths
    }

    /// Sequence b continues what sequence `parents[b]` remembers. The number of sequences may change.
    public func reorder(_ parents: [Int]) {
        guard parents != Array(lengths.indices) else { return }
        for (index, old) in layers.enumerated() {
            let new = Tensor(uninitialized: [parents.count, capacity, 2 * width], old.dataType)
            for (b, parent) in parents.enumerated() {
                (new.bytes + b * capacity * bytes).copyMemory(from: old.bytes + parent * capacity * bytes, byteCount: lengths[parent] * bytes)
            }
            layers[index] = new
        }
        lengths = parents.map { lengths[$0] }
    }

    /// Copies key and value from a row of a packed projection, query, key and value.
    private func copy(_ packed: Tensor, row: Int, layer: Int, sequence: Int, position: Int) {
        (layers[layer].bytes + (sequence * capacity + position) * bytes).copyMemory(from: packed.bytes + row * (bytes / 2 * 3) + bytes / 2, byteCount: bytes)
    }
}
