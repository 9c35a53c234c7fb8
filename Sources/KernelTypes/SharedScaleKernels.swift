// Numbers of 8 bits that share a scale: what gradients travel as.
//
// Legend: n elements in blocks of 32, the last one perhaps shorter; x values, q integers of -127 ... 127, s the scale of a block.

/// Blocks of 32 elements of which each is an integer of 8 bits times one power of two: x = q s, where s is the smallest power of two, 2^-126 or more, of
/// which no element is more than 127 times as large. Values lie in memory as float32; a block with one that is
/// not finite, or beyond 127 times 2^121, is NaN as a whole.
///
/// - Source: MXINT8 of Open Compute Project, "OCP Microscaling Formats (MX) Specification", version 1.0, 2023, section 5.3, with integers to 127.
public protocol SharedScaleKernels {
    /// values = values + residual, each rounded to the nearest multiple of its block's scale, and residual = what is lost, but that of a block that is not
    /// finite stays as it was. Without `residual` values are rounded alone.
    func roundBlocks(_ values: FloatOutput, residual: FloatOutput?, _ n: Int)
    /// sum = sum + values, each rounded up or down to a multiple of its block's scale at random, with the probabilities that keep its mean. Element i
    /// depends on key and first + i alone.
    func addBlocks(_ sum: FloatOutput, _ values: FloatInput, key: UInt32, first: Int, _ n: Int)
    /// Writes values that are multiples of their block's scale: for each block the exponent of s as in float32, a byte (0 for a block of zeros, 255 for
    /// one that is not finite), and its integers.
    func packBlocks(_ bytes: UnsafeMutablePointer<UInt8>, _ values: FloatInput, _ n: Int)
    /// Reads what `packBlocks` wrote.
    func unpackBlocks(_ values: FloatOutput, _ bytes: UnsafePointer<UInt8>, _ n: Int)
}
