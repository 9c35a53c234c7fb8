// Where the memory of one sequence lies between two steps, and what a step keeps for its gradient.
//
// Legend: N memory rows, W width, R read heads, E interface width, S = N rounded up to a multiple of 16.

import Kernels

/// The places of the parts of a frame: the memory after a step, and how it came to be. In elements; every part begins on 64 bytes.
///
/// Vectors over memory rows have S elements, and heads come in fours: what is added holds zeros, so that kernels work on whole registers.
struct MemoryFrame {
    let rows: Int
    let width: Int
    let heads: Int
    /// S.
    let stride: Int
    /// The extents of the matrix, as its kernels take them.
    var shape: AddressedMemoryShape { AddressedMemoryShape(rows: rows, width: width) }
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
    /// Elements of the state.
    let stateCount: Int

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
    /// Elements of a frame.
    let count: Int

    init(_ configuration: DifferentiableNeuralComputerConfiguration, _ interfaceCount: Int) {
        func rounded(_ n: Int, _ unit: Int) -> Int { (n + unit - 1) / unit * unit }
        var end = 0
        func place(_ count: Int) -> Int {
            defer { end += rounded(count, 16) }
            return end
        }
        (rows, width, heads) = (configuration.rows, configuration.width, configuration.readHeads)
        stride = rounded(rows, 16)
        linkRows = rounded(rows, 4)
        paddedHeads = rounded(heads, 4)
        _ = place(linkRows * stride)
        matrix = place(width * stride)
        usage = place(stride)
        precedence = place(stride)
        readWeights = place(paddedHeads * stride)
        writeWeights = place(stride)
        inverseNorms = place(stride)
        stateCount = end
        retention = place(stride)
        allocation = place(stride)
        order = place(stride)
        content = place(paddedHeads * stride)
        writeContent = place(stride)
        cosines = place(paddedHeads * stride)
        writeCosines = place(stride)
        forward = place(paddedHeads * stride)
        backward = place(paddedHeads * stride)
        rawForward = configuration.sharpensLinks ? place(paddedHeads * stride) : forward
        rawBackward = configuration.sharpensLinks ? place(paddedHeads * stride) : backward
        maskedNorms = place(configuration.masksKeys ? (heads + 1) * stride : 0)
        keyNorms = place(heads + 1)
        interface = place(interfaceCount)
        count = end
    }
}
