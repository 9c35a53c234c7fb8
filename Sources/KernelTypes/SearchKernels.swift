// What a search among vectors does beside matrix products: finding the few large scores of a row, and scores whose bits are the same everywhere.
//
// Legend: n elements; scores, one row of a product of queries and keys.

/// The kernels of a search for the nearest of many vectors.
public protocol SearchKernels {
    /// The sum of a[i] * b[i] in float64: element i is added to sum i mod 16 in order, and the 16 sums as one fixed tree. The products are exact, so the
    /// bits are the same on every instruction set. b: float32 or bfloat16.
    func exactDot(_ a: FloatInput, _ b: Elements, _ n: Int) -> Double
    /// The sum of (a[i] - b[i])^2 in float64, in the same order, each operation rounded by itself: the bits are the same on every instruction set.
    func exactSquaredDistance(_ a: FloatInput, _ b: Elements, _ n: Int) -> Double
    /// Finds the elements `first` ..< n of which scores[i], or scores[i] * scale[i] + offset[i] where there is a scale, is at least `threshold`; NaN never
    /// is. Writes their places in order, and their values, `limit` of them at most. `scale` and `offset` are both there or both `nil`.
    ///
    /// - Returns: how many were found, and where to go on: n when all were looked at.
    func selectScores(
        _ places: UnsafeMutablePointer<Int32>, _ values: FloatOutput, _ scores: FloatInput, scale: FloatInput?, offset: FloatInput?, threshold: Float,
        first: Int, limit: Int, _ n: Int
    ) -> (found: Int, next: Int)
    /// bytes[i] = a[i] / s, rounded to the nearest of -127 ... 127, where s is the largest absolute value divided by 127, which is returned; 0 for zeros.
    /// The elements are finite.
    func quantizeRow(_ bytes: UnsafeMutablePointer<Int8>, _ a: FloatInput, _ n: Int) -> Float
    /// out[i] = bytes[i], float32 or bfloat16, which holds them exactly.
    func widenBytes(_ out: Elements, _ bytes: UnsafePointer<Int8>, _ n: Int)
    /// sums[i] += a[i] * scale, rounded to the nearest integer; less than 2^51 in size. Integers are added without rounding, so the order of rows does
    /// not matter.
    func addFixedPoint(_ sums: UnsafeMutablePointer<Int64>, _ a: FloatInput, scale: Double, _ n: Int)
}
