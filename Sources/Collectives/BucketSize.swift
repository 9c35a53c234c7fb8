// How large the buckets are that gradients travel in, from what sums of each size take here.

/// A choice of bucket size, with the measurements behind it.
public struct BucketSize: Codable, Equatable, Sendable {
    /// What a sum of so many bytes takes.
    public struct Point: Codable, Equatable, Sendable {
        /// Bytes of the buffer.
        public var bytes: Int
        /// The middle repeat of the slowest rank.
        public var seconds: Double

        public init(bytes: Int, seconds: Double) { (self.bytes, self.seconds) = (bytes, seconds) }
    }

    /// The size where nothing was measured.
    public static let usual = 4 << 20

    /// Bytes of a bucket.
    public var bytes: Int
    /// What was measured, by size.
    public var curve: [Point]

    /// Chooses by a curve.
    ///
    /// A size costs what all buckets take one after another, and the last one once more: it holds the gradients that are ready last, and no
    /// computation hides it. The usual size stays unless another is a tenth cheaper, since measurements of one machine differ by as much.
    ///
    /// - Parameters:
    ///   - curve: at least one size.
    ///   - gradientBytes: of the whole gradient.
    public init(curve: [Point], gradientBytes: Int) {
        precondition(!curve.isEmpty, "nothing was measured")
        func cost(_ point: Point) -> Double { (Double(gradientBytes) / Double(point.bytes) + 1) * point.seconds }
        let usual = curve.first { $0.bytes == Self.usual }
        let cheapest = curve.min { cost($0) < cost($1) } ?? curve[0]
        self.curve = curve
        bytes = if let usual, cost(cheapest) > 0.9 * cost(usual) { usual.bytes } else { cheapest.bytes }
    }

    /// Measures sums of 1 to 32 MiB, no larger than the gradient, and chooses. Collective.
    ///
    /// - Parameters:
    ///   - communicator: at least two ranks.
    ///   - gradientBytes: of the whole gradient, more than the usual bucket.
    ///   - mode: how the run sums.
    ///   - seconds: about how long to measure; larger sizes are left out once it is used up.
    /// - Returns: the same on every rank.
    /// - Throws: `UserError` (.unavailable) from the library.
    public static func measured(
        _ communicator: any Communicator, gradientBytes: Int, mode: AllReduceMode, seconds: Double = 1
    ) throws -> BucketSize {
        var used = 0.0
        var curve: [Point] = []
        for bytes in (20...25).map({ 1 << $0 }) where used < seconds && (bytes <= gradientBytes || curve.isEmpty) {
            // Every rank sees the same times, so all decide alike.
            let timing = try measureAllReduce(communicator: communicator, sizes: [bytes], mode: mode, warmUps: 1, repeats: 5)[0]
            used += timing.averageSeconds * 6
            curve.append(Point(bytes: bytes, seconds: timing.medianSeconds))
        }
        return BucketSize(curve: curve, gradientBytes: gradientBytes)
    }
}
