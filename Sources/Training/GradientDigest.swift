// A digest of one micro-batch's gradient, made bucket by bucket as gradients become ready.

import Diagnostics
import Storage

/// The digest of a gradient and its loss. The same ranges in the same order give the same digest, whoever computes them and whenever.
struct GradientDigest {
    private var hash = XXHash64()
    private var isEmpty = true

    /// Adds some elements of the flat gradient.
    mutating func add(_ gradients: UnsafeMutableBufferPointer<Float>, _ range: Range<Int>) {
        // A processor that computes wrong, for tests: what it says of its work is what it goes on with.
        if isEmpty, Failpoint.crossCheck.isHit { gradients[range.lowerBound] += 1 }
        isEmpty = false
        hash.update(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(gradients)[range.lowerBound * 4..<range.upperBound * 4]))
    }

    /// The digest of what was added, and of the summed loss.
    mutating func finalized(loss: Float) -> UInt64 {
        withUnsafeBytes(of: loss) { hash.update($0) }
        return hash.finalized()
    }
}
