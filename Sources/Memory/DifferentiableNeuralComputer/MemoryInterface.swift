// The vector by which a controller steers a memory with usage and links: where each part of it lies.
//
// Legend: W memory width, R read heads, E the width of the whole vector.

/// The parts of an interface vector, in this order; a part of several heads holds one head after another.
///
/// Values from `erase` up to `readStrengths` go through the logistic function, those up to `modes` through softplus or oneplus, modes through a
/// softmax of each head's three.
struct MemoryInterface {
    /// R W, directly followed by the write key.
    let readKeys = 0
    /// W.
    let writeKey: Int
    /// W: what is written.
    let writeVector: Int
    /// W.
    let erase: Int
    /// R.
    let freeGates: Int
    let allocationGate: Int
    let writeGate: Int
    /// R W, directly followed by the write mask, where keys are masked.
    let readMasks: Int
    /// R, directly followed by the write strength.
    let readStrengths: Int
    /// R for forward, then R for backward, where links are sharpened.
    let powers: Int
    /// 3 R: backward of all heads, content, forward.
    let modes: Int
    /// E.
    let count: Int

    init(_ configuration: DifferentiableNeuralComputerConfiguration) {
        let (width, heads) = (configuration.width, configuration.readHeads)
        writeKey = heads * width
        writeVector = writeKey + width
        erase = writeVector + width
        freeGates = erase + width
        allocationGate = freeGates + heads
        writeGate = allocationGate + 1
        readMasks = writeGate + 1
        readStrengths = readMasks + (configuration.masksKeys ? (heads + 1) * width : 0)
        powers = readStrengths + heads + 1
        modes = powers + (configuration.sharpensLinks ? 2 * heads : 0)
        count = modes + 3 * heads
    }
}
