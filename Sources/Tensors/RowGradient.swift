// The gradient of a table of which a step reads few rows: those rows alone, each with its sum.
//
// Legend: V rows of the table, D its width, n rows that have a gradient.

import Diagnostics
import Kernels

/// What form a parameter's gradient has.
public enum GradientForm: Sendable {
    /// One number for each value.
    case dense
    /// The rows that contributions touched, for tables [V, D] that are read by row. Neither memory nor time grows with V.
    case rows

    /// The form for a table of which steps read rows: dense where zeroing all of it costs less than finding its rows, since the bits are the same.
    public static func table(rows: Int, width: Int) -> GradientForm { rows * width >= 1 << 18 ? .rows : .dense }
}

/// The gradient of a [V, D] table as rows: row numbers in rising order, and the sum of the contributions to each.
///
/// A row starts from zeros at its first contribution, and contributions are added in the order in which they come. So each sum is, bit for bit, what
/// the same contributions give in a dense gradient; rows that are not there are zero.
///
/// Rows take slots in the order of their first contribution, which a hash table finds; they are sorted when somebody reads them.
public final class RowGradient {
    /// V.
    public let tableRows: Int
    /// D.
    public let width: Int
    /// n.
    public private(set) var count = 0

    /// Slots that there is room for.
    private var capacity = 0
    /// By slot: float32 [capacity, D], and int32 [capacity].
    private var sums = Tensor(uninitialized: [0])
    private var numbers = Tensor([] as [Int32], [0])
    /// int32: the slot of a row, from the place of its hash on; -1 where there is none.
    private var places = Tensor([] as [Int32], [0])
    private var placeBits = 0
    /// In rising order of rows: int32 [n] and float32 [n, D]; those by slot where they are in order.
    private var sortedNumbers = Tensor([] as [Int32], [0])
    private var sortedSums = Tensor(uninitialized: [0])
    private var isSorted = true

    /// Makes the gradient 0 of a table [`tableRows`, `width`].
    public init(tableRows: Int, width: Int) {
        require(tableRows <= Int(Int32.max) && width > 0, "a gradient of rows for a table [\(tableRows), \(width)]")
        (self.tableRows, self.width) = (tableRows, width)
    }

    /// The bytes that it holds: those of the largest n so far, whatever V is.
    public var byteCount: Int { 4 * (sums.count + numbers.count + places.count + sortedNumbers.count + (sharesOrder ? 0 : sortedSums.count)) }
    private var sharesOrder: Bool { sortedSums.count == 0 || sortedSums.floats == sums.floats }

    /// The numbers of the rows, rising: n of them, valid until the next contribution.
    public var rows: UnsafeBufferPointer<Int32> {
        sort()
        return UnsafeBufferPointer(start: sortedNumbers.integers, count: count)
    }

    /// The sums, [n, D] in the order of `rows`, valid until the next contribution.
    public var values: UnsafeBufferPointer<Float> {
        sort()
        return UnsafeBufferPointer(start: sortedSums.floats, count: count * width)
    }

    /// The sum of one row, to be added to: D elements, valid until the next call.
    /// - Complexity: amortised O(1), and D writes at a row's first contribution.
    @inline(__always)
    public func sum(ofRow row: Int) -> UnsafeMutablePointer<Float> {
        isSorted = false
        if count == capacity { grow() }
        let place = placeOf(row)
        let slot = Int(places.integers[place])
        if slot >= 0 { return sums.floats + slot * width }
        return insert(row, at: place)
    }

    /// Makes it the gradient 0.
    public func clear() {
        if count > 0 { freePlaces() }
        count = 0
        isSorted = false
    }

    /// Writes the dense gradient to V x D elements.
    public func scatter(to dense: UnsafeMutablePointer<Float>) {
        kernels.fill(dense, 0, tableRows * width)
        for slot in 0..<count { (dense + Int(numbers.integers[slot]) * width).update(from: sums.floats + slot * width, count: width) }
    }

    @inline(__always)
    private func placeOf(_ row: Int) -> Int {
        let (mask, places, numbers) = (1 << placeBits - 1, places.integers, numbers.integers)
        // The upper bits of the product with the golden ratio: neighbours lie apart.
        var place = Int((UInt32(truncatingIfNeeded: row) &* 2_654_435_769) >> UInt32(32 - placeBits))
        while places[place] >= 0, numbers[Int(places[place])] != Int32(truncatingIfNeeded: row) { place = (place + 1) & mask }
        return place
    }

    @inline(never)
    private func insert(_ row: Int, at place: Int) -> UnsafeMutablePointer<Float> {
        require(row >= 0 && row < tableRows, "a gradient of row \(row) of a table of \(tableRows) rows")
        let slot = count
        count += 1
        places.integers[place] = Int32(slot)
        numbers.integers[slot] = Int32(row)
        kernels.fill(sums.floats + slot * width, 0, width)
        return sums.floats + slot * width
    }

    private func freePlaces() { places.integers.update(repeating: -1, count: places.count) }

    @inline(never)
    private func grow() {
        let larger = max(16, 2 * capacity)
        let (moreSums, moreNumbers) = (Tensor(uninitialized: [larger, width]), Tensor(uninitialized: [larger], .int32))
        moreSums.floats.update(from: sums.floats, count: count * width)
        moreNumbers.integers.update(from: numbers.integers, count: count)
        (sums, numbers, capacity) = (moreSums, moreNumbers, larger)
        (sortedSums, sortedNumbers) = (Tensor(uninitialized: [0]), Tensor(uninitialized: [0], .int32))
        placeBits = (2 * larger).trailingZeroBitCount
        places = Tensor(uninitialized: [2 * larger], .int32)
        freePlaces()
        for slot in 0..<count { places.integers[placeOf(Int(numbers.integers[slot]))] = Int32(slot) }
    }

    private func sort() {
        if isSorted { return }
        isSorted = true
        let number = numbers.integers
        if (1..<max(count, 1)).allSatisfy({ number[$0 - 1] < number[$0] }) {
            (sortedNumbers, sortedSums) = (numbers, sums)
            return
        }
        if sharesOrder { (sortedNumbers, sortedSums) = (Tensor(uninitialized: [capacity], .int32), Tensor(uninitialized: [capacity, width])) }
        // A row's number and slot in one key; digits of 11 bits, the lowest first.
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: 2 * count) { keys in
            guard var from = keys.baseAddress else { return }
            var to = from + count
            for slot in 0..<count { from[slot] = UInt64(number[slot]) << 32 | UInt64(slot) }
            withUnsafeTemporaryAllocation(of: Int.self, capacity: 1 << 11) { starts in
                for shift in stride(from: 0, to: Int.bitWidth - (tableRows - 1).leadingZeroBitCount, by: 11) {
                    func digit(_ key: UInt64) -> Int { Int(key >> UInt64(32 + shift)) & (1 << 11 - 1) }
                    starts.initialize(repeating: 0)
                    for index in 0..<count { starts[digit(from[index])] += 1 }
                    var next = 0
                    for value in 0..<1 << 11 { (starts[value], next) = (next, next + starts[value]) }
                    for index in 0..<count {
                        let value = digit(from[index])
                        to[starts[value]] = from[index]
                        starts[value] += 1
                    }
                    swap(&from, &to)
                }
            }
            for index in 0..<count {
                sortedNumbers.integers[index] = Int32(truncatingIfNeeded: from[index] >> 32)
                (sortedSums.floats + index * width).update(from: sums.floats + Int(UInt32(truncatingIfNeeded: from[index])) * width, count: width)
            }
        }
    }
}

/// Where the gradients of a table's rows gather, one row at a time.
public struct GradientRowTarget {
    private let dense: UnsafeMutablePointer<Float>?
    private let rows: RowGradient?
    private let width: Int

    @inline(__always)
    init(dense: UnsafeMutablePointer<Float>, width: Int) { (self.dense, rows, self.width) = (dense, nil, width) }

    @inline(__always)
    init(_ rows: RowGradient) { (dense, self.rows, width) = (nil, rows, rows.width) }

    /// The gradient of one row, to be added to: D elements, valid until the next call.
    @inline(__always)
    public subscript(row: Int) -> UnsafeMutablePointer<Float> {
        if let dense { return dense + row * width }
        return rows.unsafelyUnwrapped.sum(ofRow: row)
    }
}
