// How large what a person types may be.

/// The sizes that run files and commands may ask for. Each limit lies beyond what machines hold, and they are small enough together that every product
/// of sizes is a number that the program can hold: whether a machine has the memory is then a comparison, never a trap.
public enum SizeLimits {
    /// Widths, heads that divide them, rows of a memory, different symbols.
    public static let width = 1...1 << 20
    /// Layers, hops, and whatever else there are as many weights of.
    public static let layers = 1...1024
    /// Heads of a memory, each with a row's width of weights.
    public static let memoryHeads = 1...256
    /// Positions of a sequence, and the inner width of a feed-forward block.
    public static let positions = 1...1 << 24
    /// Lanes of the global batch.
    public static let lanes = 1...1 << 20
    /// Lengths, items and bits of generated sequences.
    public static let generatedLength = 1...1 << 16
    public static let generatedWidth = 1...1024
    /// Positions of all lanes of a batch together: what an index of 32 bits reaches.
    public static let batchPositions = Int(Int32.max)
    /// Any other number: what a key is checked by whose declaration names no largest value.
    public static let count = Int(Int32.max)
}
