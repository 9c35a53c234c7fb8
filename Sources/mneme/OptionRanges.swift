// Numbers on the command line, checked before anything is made of them.

import ArgumentParser
import Configuration

/// Makes sure that a number lies in a range.
/// - Throws: `ValidationError` that names the option, the limit and what was given.
func requireRange(_ option: String, _ value: Int?, _ range: ClosedRange<Int>) throws {
    guard let value, !range.contains(value) else { return }
    let limit = value < range.lowerBound ? "at least \(range.lowerBound)" : "at most \(range.upperBound)"
    throw ValidationError("\(option) must be \(limit), not \(value).")
}

extension SizeLimits {
    /// Hypotheses of a beam.
    static let beam = 1...4096
    /// Sequences that are decoded at the same time, or made of one prompt.
    static let sequences = 1...65_536
    /// Bytes of files and lines.
    static let bytes = 1...1 << 40
}
