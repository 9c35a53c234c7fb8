// Where the memory of one sequence lies between two steps, and what a step keeps for its gradient.
//
// Legend: N memory rows, W width, R read heads, E interface width, S = N rounded up to a multiple of 16.

import Tensors

/// The places of the parts of a frame: the memory after a step, and how it came to be. In elements; every part begins on 64 bytes.
///
/// Vectors over memory rows have S elements, and heads come in fours: what is added holds zeros, so that kernels work on whole registers.
struct MemoryFrame {
    let rows: Int
    let width: Int
    let heads: Int
    /// S.
    let stride: Int
    /// N rounded up to a multiple of 4: rows of the link matrix.
    let linkRows: Int
    /// R rounded up to a multiple of 4.
    let paddedHeads: Int

    // The memory after the step. A gradient of it has the same places.

    /// [linkRows, S].
    let links = 0
    /// [W, S]: by columns.
    let matrix: Int
    /// [S].
    let usage: Int
    /// [S].
    let precedence: Int
    /// [paddedHeads, S].
    let readWeights: Int
    /// [S].
    let writeWeights: Int
    /// [S]: 1 / norm of each memory row; of the state because the next step uses it.
    let inverseNorms: Int
    // How it came to be.

    /// [S]: what the free gates leave of each row's usage.
    let retention: Int
    /// [S].
    let allocation: Int
    /// [S], int32.
    let order: Int
    /// [paddedHeads, S], [S]: content weights of the read heads, and of the write head.
    let content: Int
    let writeContent: Int
    /// The same for the cosines.
    let cosines: Int
    let writeCosines: Int
    /// [paddedHeads, S]: as read modes weigh them.
    let forward: Int
    let backward: Int
    /// [paddedHeads, S]: before sharpening; the same places where links are not sharpened.
    let rawForward: Int
    let rawBackward: Int
    /// [R + 1, S]: 1 / norm of each memory row under the mask of each head; empty where keys are not masked.
    let maskedNorms: Int
    /// [R + 1]: 1 / norm of each key.
    let keyNorms: Int
    /// [E]: the interface after its functions.
    let interface: Int
    /// The same places by name.
    let layout: FrameLayout

    init(_ configuration: DifferentiableNeuralComputerConfiguration, _ interfaceCount: Int) {
        func rounded(_ n: Int, _ unit: Int) -> Int { (n + unit - 1) / unit * unit }
        (rows, width, heads) = (configuration.rows, configuration.width, configuration.readHeads)
        (stride, linkRows, paddedHeads) = (rounded(rows, 16), rounded(rows, 4), rounded(heads, 4))
        var layout = FrameLayout()
        _ = layout.place("links", rows: rows, rows, stride: stride, padded: linkRows)
        matrix = layout.place("matrix", rows: rows, width, stride: stride, liesByColumns: true)
        usage = layout.place("usage", rows, stride: stride, isVector: true)
        precedence = layout.place("precedence", rows, stride: stride, isVector: true)
        readWeights = layout.place("readWeights", rows: heads, rows, stride: stride, padded: paddedHeads)
        writeWeights = layout.place("writeWeights", rows, stride: stride, isVector: true)
        inverseNorms = layout.place(stride)
        layout.endState()
        retention = layout.place(stride)
        allocation = layout.place(stride)
        order = layout.place(stride)
        content = layout.place(paddedHeads * stride)
        writeContent = layout.place(stride)
        cosines = layout.place(paddedHeads * stride)
        writeCosines = layout.place(stride)
        forward = layout.place(paddedHeads * stride)
        backward = layout.place(paddedHeads * stride)
        rawForward = configuration.sharpensLinks ? layout.place(paddedHeads * stride) : forward
        rawBackward = configuration.sharpensLinks ? layout.place(paddedHeads * stride) : backward
        maskedNorms = layout.place(configuration.masksKeys ? (heads + 1) * stride : 0)
        keyNorms = layout.place(heads + 1)
        interface = layout.place(interfaceCount)
        self.layout = layout
    }
}
