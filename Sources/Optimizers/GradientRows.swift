// Gradients of which only some rows are there.
//
// Legend: D width of a row, n rows that are there.

/// The gradients of a range of parameters as rows of one width: those that are not there are zero. The memory belongs to the caller.
public struct GradientRows: @unchecked Sendable, Equatable {
    /// n.
    public let count: Int
    /// D.
    public let width: Int
    private let numbers: UnsafePointer<Int32>
    private let values: UnsafePointer<Float>

    /// - Parameters:
    ///   - numbers: n rows, rising: row r is the parameters r D ..< (r + 1) D of the range.
    ///   - values: the gradients, [n, D].
    ///   - width: D.
    public init(numbers: UnsafeBufferPointer<Int32>, values: UnsafeBufferPointer<Float>, width: Int) {
        (count, self.width) = (numbers.count, width)
        // Without rows nothing is read.
        self.numbers = numbers.baseAddress ?? UnsafePointer(bitPattern: 64).unsafelyUnwrapped
        self.values = values.baseAddress ?? UnsafePointer(bitPattern: 64).unsafelyUnwrapped
    }

    /// Where the i-th row begins in the range, in elements.
    func start(_ i: Int) -> Int { Int(numbers[i]) * width }
    /// The gradients of the i-th row, and of those behind it.
    func gradients(_ i: Int) -> UnsafePointer<Float> { values + i * width }

    /// The first row that ends behind `element` of the range; n if there is none.
    func first(behind element: Int) -> Int {
        var (low, high) = (0, count)
        while low < high {
            let middle = (low + high) / 2
            if start(middle) + width > element { high = middle } else { low = middle + 1 }
        }
        return low
    }

    /// The end of the run of rows that follow each other from the i-th on.
    func endOfRun(_ i: Int) -> Int {
        var end = i + 1
        while end < count, numbers[end] == numbers[end - 1] + 1 { end += 1 }
        return end
    }

    /// Calls `body` for consecutive parts of `part` of the range: with gradients that are there, or with zeros, of which `zeros` gives the memory.
    func forEachPart(
        of part: Range<Int>, zeros: UnsafeBufferPointer<Float>,
        _ body: (_ first: Int, _ count: Int, _ gradients: UnsafePointer<Float>) -> Void
    ) {
        guard let zero = zeros.baseAddress else { return }
        var (position, next) = (part.lowerBound, first(behind: part.lowerBound))
        while position < part.upperBound {
            if next < count, start(next) <= position {
                let run = endOfRun(next)
                let end = min(start(run - 1) + width, part.upperBound)
                body(position, end - position, gradients(next) + (position - start(next)))
                (position, next) = (end, run)
            } else {
                let end = min(next < count ? start(next) : part.upperBound, part.upperBound, position + zeros.count)
                body(position, end - position, zero)
                position = end
            }
        }
    }
}
