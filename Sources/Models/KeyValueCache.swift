// Working memory of a Transformer while it generates: the keys and values of all earlier positions.
//
// Legend: B sequences, C capacity, H heads, K head size, D = H K width.

import Diagnostics
import Tensors

/// The keys and values of each layer, appended to position by position.
///
/// Lives for one generation. Every sequence has its own length, so prompts of different lengths share a batch.
final class KeyValueCache {
    /// [B, H, C, 2 K] for each layer: a key, then its value. By heads, since a head reads all its positions at every step.
    private(set) var layers: [Tensor]
    /// The positions that each sequence remembers, [B].
    private(set) var lengths: [Int]
    /// C.
    let capacity: Int
    private let heads: Int
    /// The bytes of one head's key, and of its value.
    private let headBytes: Int

    /// Memory for `capacity` positions of `batch` sequences. Cost: 8 layers B C D bytes in float32, half of that in bfloat16.
    init(layers: Int, batch: Int, capacity: Int, width: Int, heads: Int, _ dataType: DataType = .float32) {
        self.layers = (0..<layers).map { _ in Tensor(uninitialized: [batch, heads, capacity, 2 * width / heads], dataType) }
        headBytes = width / heads * dataType.byteCount
        lengths = [Int](repeating: 0, count: batch)
        self.capacity = capacity
        self.heads = heads
    }

    /// Stores the first `lengths[b]` positions of a prompt. `packed`: [B, T, 3 D], query, key and value. Does not change `lengths`.
    func store(prompt packed: Tensor, layer: Int, lengths: [Int]) {
        let stride = packed.shape[1]
        for (b, length) in lengths.enumerated() {
            require(length <= capacity, "a prompt of \(length) positions in a cache of \(capacity)")
            for t in 0..<length { copy(packed, row: b * stride + t, layer: layer, sequence: b, position: t) }
        }
    }

    /// Stores one new position a sequence at its length. `packed`: [B, 1, 3 D]. Returns what `SelfAttention.step` asks for.
    func append(_ packed: Tensor, layer: Int) -> (keysAndValues: Tensor, lengths: [Int]) {
        for (b, length) in lengths.enumerated() {
            require(length < capacity, "a cache of \(capacity) positions is full")
            copy(packed, row: b, layer: layer, sequence: b, position: length)
        }
        return (layers[layer], lengths.map { $0 + 1 })
    }

    /// Moves on after all layers have stored: each sequence's length becomes the given one.
    func advance(to lengths: [Int]) {
        require(lengths.count == self.lengths.count, "\(lengths.count) lengths for \(self.lengths.count) sequences")
        self.lengths = lengths
    }

    /// Sequence b continues what sequence `parents[b]` remembers. The number of sequences may change.
    func reorder(_ parents: [Int]) {
        guard parents != Array(lengths.indices) else { return }
        let block = capacity * 2 * headBytes
        for (index, old) in layers.enumerated() {
            let new = Tensor(uninitialized: [parents.count, heads, capacity, old.shape[3]], old.dataType)
            for (b, parent) in parents.enumerated() {
                for head in 0..<heads {
                    (new.bytes + (b * heads + head) * block).copyMemory(
                        from: old.bytes + (parent * heads + head) * block, byteCount: lengths[parent] * 2 * headBytes)
                }
            }
            layers[index] = new
        }
        lengths = parents.map { lengths[$0] }
    }

    /// Copies key and value from a row of a packed projection, query, key and value.
    private func copy(_ packed: Tensor, row: Int, layer: Int, sequence: Int, position: Int) {
        let width = heads * headBytes
        let source = packed.bytes + row * 3 * width + width
        for head in 0..<heads {
            let target = layers[layer].bytes + ((sequence * heads + head) * capacity + position) * 2 * headBytes
            target.copyMemory(from: source + head * headBytes, byteCount: headBytes)
            (target + headBytes).copyMemory(from: source + width + head * headBytes, byteCount: headBytes)
        }
    }

    /// Keys and values of another sequence, [B, S, 2 D], laid out by heads: [B, H, S, 2 K].
    static func byHeads(_ keysAndValues: Tensor, heads: Int) -> Tensor {
        let (batch, length, width) = (keysAndValues.shape[0], keysAndValues.shape[1], keysAndValues.shape[2] / 2)
        let result = Tensor(uninitialized: [batch, heads, length, 2 * width / heads], keysAndValues.dataType)
        let bytes = width / heads * keysAndValues.dataType.byteCount
        for b in 0..<batch {
            for t in 0..<length {
                let source = keysAndValues.bytes + (b * length + t) * 2 * heads * bytes
                for head in 0..<heads {
                    let target = result.bytes + ((b * heads + head) * length + t) * 2 * bytes
                    target.copyMemory(from: source + head * bytes, byteCount: bytes)
                    (target + bytes).copyMemory(from: source + (heads + head) * bytes, byteCount: bytes)
                }
            }
        }
        return result
    }
}
