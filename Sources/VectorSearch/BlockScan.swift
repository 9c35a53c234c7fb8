// One thread's search: products of some queries with some rows, and exact scores of the few rows that may be among the nearest.
//
// Legend: q a query, k a key, D numbers of each, u = 2^-24, m the margin of a product.
//
// A product a of q and k in float32 differs from what is exact by at most m, whatever the order of its sums (Higham, "Accuracy and Stability of
// Numerical Algorithms", 2002, section 3.1): D u |q| |k| for the sum, and |q - q'| |k| + |q'| |k - k'| where it is one of rounded vectors q' and k'.
// A row whose exact score is among the k best seen so far has a product of at least their smallest minus m; every such row is scored exactly. So what
// is found does not depend on the products at all, which only spare the work.

import Diagnostics
import Kernels
import Tensors

/// The memory and the loops of one thread that searches.
final class BlockScan {
    /// Rows that a product takes at a time: with the largest group of queries their products stay in the second-level cache.
    static let columns = 1024

    private let batch: QueryBatch
    /// What this thread has found.
    let top: TopRows
    private let filter: RowFilter
    private let kernels = Kernels.active
    private let dimension: Int
    /// The queries.
    private let values: UnsafePointer<Float>
    private let rough: UnsafePointer<UInt16>?
    private let memory = Tensor(uninitialized: [QueryBatch.largestGroup + 1, BlockScan.columns])
    private let products: UnsafeMutablePointer<Float>
    /// Of the rows of one product, under the filter.
    private let offsets: UnsafeMutablePointer<Float>
    /// Queries that lie apart, brought together; made when they are first needed.
    private lazy var gathered = Tensor(zeros: [QueryBatch.largestGroup, dimension])
    private lazy var gatheredRough = Tensor(zeros: [QueryBatch.largestGroup, dimension]).converted(to: .bfloat16)
    /// Rows that products cannot read as they lie, brought into another type.
    private lazy var widened = Tensor(zeros: [BlockScan.columns, dimension])
    private lazy var widenedRough = Tensor(uninitialized: [BlockScan.columns, dimension], .bfloat16)

    /// Candidates of one query in one product, and room to look for the k-th largest of their values.
    private let room: Int
    private let places: UnsafeMutablePointer<Int32>
    private let scores: UnsafeMutablePointer<Float>
    private let sorting: UnsafeMutablePointer<Float>
    /// Rows that were scored exactly so far.
    private(set) var scored = 0

    init(_ batch: QueryBatch, _ top: TopRows, _ filter: RowFilter) {
        (self.batch, self.top, self.filter, dimension) = (batch, top, filter, batch.dimension)
        (values, rough) = (UnsafePointer(batch.values.floats), batch.rough.map { UnsafePointer($0.bfloats) })
        (products, offsets) = (memory.floats, memory.floats + QueryBatch.largestGroup * Self.columns)
        room = max(64, 2 * top.limit)
        places = .allocate(capacity: room)
        scores = .allocate(capacity: room)
        sorting = .allocate(capacity: room)
    }

    deinit {
        places.deallocate()
        scores.deallocate()
        sorting.deallocate()
    }

    /// All queries, or a run of them, against a run of rows.
    func scan(_ block: KeyBlock, rows: Range<Int>, queries: Range<Int>? = nil) {
        let queries = queries ?? 0..<batch.count
        for first in stride(from: rows.lowerBound, to: rows.upperBound, by: Self.columns) {
            let run = prepared(block, first..<min(first + Self.columns, rows.upperBound))
            for query in stride(from: queries.lowerBound, to: queries.upperBound, by: QueryBatch.largestGroup) {
                let count = min(QueryBatch.largestGroup, queries.upperBound - query)
                multiply(run, values + query * dimension, rough.map { $0 + query * dimension }, count)
                for place in 0..<count { select(run, query + place, products + place * Self.columns) }
            }
        }
    }

    /// Some queries against all rows of a block.
    func scan(_ block: KeyBlock, queries: UnsafeBufferPointer<Int32>) {
        let needsRough = block.precision == .bfloat16
        for first in stride(from: 0, to: queries.count, by: QueryBatch.largestGroup) {
            let group = UnsafeBufferPointer(rebasing: queries[first..<min(first + QueryBatch.largestGroup, queries.count)])
            for (place, query) in group.enumerated() {
                if needsRough, let rough {
                    (gatheredRough.bfloats + place * dimension).update(from: rough + Int(query) * dimension, count: dimension)
                } else {
                    (gathered.floats + place * dimension).update(from: values + Int(query) * dimension, count: dimension)
                }
            }
            let (vectors, roughVectors) = (UnsafePointer(gathered.floats), needsRough ? UnsafePointer(gatheredRough.bfloats) : nil)
            for start in stride(from: 0, to: block.count, by: Self.columns) {
                let run = prepared(block, start..<min(start + Self.columns, block.count))
                multiply(run, vectors, roughVectors, group.count)
                for (place, query) in group.enumerated() { select(run, Int(query), products + place * Self.columns) }
            }
        }
    }

    // MARK: products

    /// Rows as products and comparisons need them.
    private struct Run {
        let block: KeyBlock
        let rows: Range<Int>
        /// The rows as a product reads them, and columns of the product.
        let elements: Elements
        let columns: Int
        /// Added by the product; `nil` is nothing.
        let bias: UnsafePointer<Float>?
        /// What products are adjusted by when they are compared; `nil` is nothing.
        let scale: UnsafePointer<Float>?
        let offset: UnsafePointer<Float>?
    }

    /// Brings rows into the form that products read.
    private func prepared(_ block: KeyBlock, _ rows: Range<Int>) -> Run {
        let (elements, available) = operand(block, rows)
        // Few sizes, since products are compiled for each: what is behind the rows is computed too and not looked at.
        let columns = min(available, rows.count <= 256 ? (rows.count + 63) & ~63 : (rows.count + 127) & ~127)
        var offset: UnsafePointer<Float>? = block.offset + rows.lowerBound
        if !filter.isEverything {
            block.filterOffsets(filter, rows, into: offsets)
            for column in rows.count..<max(rows.count, columns) { offsets[column] = 0 }
            offset = UnsafePointer(offsets)
        } else if block.isPlain && !block.hasScale {
            offset = nil
        }
        if block.hasScale { return Run(block: block, rows: rows, elements: elements, columns: columns, bias: nil, scale: block.scale + rows.lowerBound, offset: offset) }
        return Run(block: block, rows: rows, elements: elements, columns: columns, bias: offset, scale: nil, offset: nil)
    }

    /// products[i, j] = query i times row j of the run.
    private func multiply(_ run: Run, _ queries: UnsafePointer<Float>, _ roughQueries: UnsafePointer<UInt16>?, _ count: Int) {
        let (m, result) = (QueryBatch.padded(count), MatrixResult(products, leading: Self.columns))
        if run.elements.type == .bfloat16 {
            guard let roughQueries else { return require(false, "queries were not rounded for keys in bfloat16") }
            multiplyMatrices(
                into: result, MatrixOperand(roughQueries, leading: dimension),
                MatrixOperand(UnsafePointer(run.elements.bfloats), leading: dimension, .transposed), m: m, n: run.columns, k: dimension, bias: run.bias)
        } else {
            multiplyMatrices(
                into: result, MatrixOperand(queries, leading: dimension),
                MatrixOperand(UnsafePointer(run.elements.floats), leading: dimension, .transposed), m: m, n: run.columns, k: dimension, bias: run.bias)
        }
    }

    /// The rows as a product reads them, and how many there are memory for.
    private func operand(_ block: KeyBlock, _ rows: Range<Int>) -> (elements: Elements, rows: Int) {
        let wanted: DataType = block.precision == .bfloat16 ? .bfloat16 : .float32
        if let bytes = block.bytes {
            let target = wanted == .bfloat16 ? widenedRough.elements : widened.elements
            kernels.widenBytes(target, bytes + rows.lowerBound * dimension, rows.count * dimension)
            return (target, rows.count)
        }
        let (elements, available) = block.operand(from: rows.lowerBound)
        if elements.type == wanted { return (elements, min(available, Self.columns)) }
        kernels.convert(widened.elements, elements, rows.count * dimension)
        return (widened.elements, rows.count)
    }

    // MARK: rows that may be among the nearest

    /// The most by which a product with a row of the block may be off, as it is compared.
    @inline(__always)
    private func margin(_ block: KeyBlock, _ query: Int) -> Float {
        let (length, longest) = (batch.lengths[query], block.longest)
        // Two roundings of scale and offset, those of the compared scores themselves, and this formula's are among the 16.
        let sum = Float(dimension + 16) * 0x1.04p-24
        let (lostOfQuery, lostOfKey) = (block.precision == .bfloat16 ? batch.errors[query] : 0, block.roughestError)
        // What is below 2^-126 counts as zero.
        let underflow = Float(dimension) * 0x1p-125 * (1 + length + longest)
        switch block.similarity {
        case .dot:
            return sum * length * (longest + lostOfKey) + (lostOfQuery * (longest + lostOfKey) + length * lostOfKey) * 1.0001 + underflow
        case .euclidean:
            let reach = length + longest + lostOfKey
            return sum * reach * reach + (lostOfQuery * (longest + lostOfKey) + length * lostOfKey) * 1.0001 + underflow
        case .cosine:
            let ratio = block.roughestRatio
            return sum * length * (1 + ratio) + (lostOfQuery * (1 + ratio) + length * ratio) * 1.0001 + underflow * block.largestScale
        }
    }

    /// What a product has to reach, given the score that the row has to have; -infinity itself is a row that is not searched.
    @inline(__always)
    private func threshold(_ block: KeyBlock, _ query: Int, _ margin: Float) -> Float {
        guard let bound = top.bound(query) else { return -.greatestFiniteMagnitude }
        let wanted: Double
        switch block.similarity {
        case .dot: wanted = Double(bound)
        case .euclidean: wanted = (Double(bound) + batch.squares[query]) / 2
        case .cosine: wanted = Double(bound) * batch.squares[query].squareRoot()
        }
        return max(Float(wanted - Double(margin)).nextDown, -.greatestFiniteMagnitude)
    }

    /// Goes through the products of one query with a run of rows.
    private func select(_ run: Run, _ query: Int, _ products: UnsafePointer<Float>) {
        let (block, count) = (run.block, run.rows.count)
        let margin = margin(block, query)
        var bound = threshold(block, query, margin)
        var (kept, first) = (0, 0)
        // Of the first rows that a query meets nearly all would be candidates.
        var isFirst = true
        if bound == -.greatestFiniteMagnitude, run.scale == nil { bound = segmentBound(products, count, margin) }
        while true {
            let (found, next) = kernels.selectScores(
                places + kept, scores + kept, products, scale: run.scale, offset: run.offset, threshold: bound, first: first, limit: room - kept, count)
            kept += found
            first = next
            if next == count { break }
            if isFirst, run.scale == nil {
                isFirst = false
                let tighter = segmentBound(products, count, margin)
                if tighter > bound {
                    (bound, kept, first) = (tighter, 0, 0)
                    continue
                }
            }
            bound = max(bound, reduce(&kept, margin))
            if kept > room * 3 / 4 {
                // Nearly equal scores: only the exact ones tell them apart.
                score(block, run.rows.lowerBound, query, margin, &bound, kept)
                kept = 0
            }
        }
        if kept == 0 { return }
        if kept > top.limit { bound = max(bound, reduce(&kept, margin)) }
        score(block, run.rows.lowerBound, query, margin, &bound, kept)
    }

    /// Scores candidates exactly.
    private func score(_ block: KeyBlock, _ firstRow: Int, _ query: Int, _ margin: Float, _ bound: inout Float, _ count: Int) {
        let vector = values + query * dimension
        for candidate in 0..<count where scores[candidate] >= bound {
            let row = firstRow + Int(places[candidate])
            top.offer(query, block.score(kernels, row, to: vector, square: batch.squares[query]), block.ids[row])
            scored += 1
            bound = max(bound, threshold(block, query, margin))
        }
    }

    /// What a product has to reach to belong to one of the k nearest rows of the run: the k-th largest of the maxima of segments is no larger than that of
    /// all. -infinity is a row that is not searched.
    private func segmentBound(_ products: UnsafePointer<Float>, _ count: Int, _ margin: Float) -> Float {
        let length = max(16, count / (3 * max(1, top.limit)) & ~15)
        let segments = min(count / length, room)
        if segments < top.limit || top.limit == 0 { return -.greatestFiniteMagnitude }
        for segment in 0..<segments { sorting[segment] = kernels.maximum(products + segment * length, length) }
        return max((largest(top.limit, of: segments) - 2 * margin).nextDown, -.greatestFiniteMagnitude)
    }

    /// Drops candidates that cannot be among the k nearest of all candidates, and returns what a product has to reach to be one.
    ///
    /// Rows whose product says nothing are infinite here: they stay, and count for nothing.
    private func reduce(_ kept: inout Int, _ margin: Float) -> Float {
        var finite = 0
        for candidate in 0..<kept where scores[candidate] < .infinity {
            sorting[finite] = scores[candidate]
            finite += 1
        }
        guard finite >= top.limit, top.limit > 0 else { return -.greatestFiniteMagnitude }
        let bound = max((largest(top.limit, of: finite) - 2 * margin).nextDown, -.greatestFiniteMagnitude)
        var left = 0
        for candidate in 0..<kept where scores[candidate] >= bound {
            (places[left], scores[left]) = (places[candidate], scores[candidate])
            left += 1
        }
        kept = left
        return bound
    }

    /// The `rank`-th largest of the first `count` numbers in `sorting`, by Hoare's selection; none is NaN.
    private func largest(_ rank: Int, of count: Int) -> Float {
        var (low, high, wanted) = (0, count - 1, rank - 1)
        while low < high {
            let pivot = sorting[(low + high) >> 1]
            var (i, j) = (low, high)
            while i <= j {
                while sorting[i] > pivot { i += 1 }
                while sorting[j] < pivot { j -= 1 }
                if i <= j {
                    (sorting[i], sorting[j]) = (sorting[j], sorting[i])
                    i += 1
                    j -= 1
                }
            }
            if wanted <= j { high = j } else if wanted >= i { low = i } else { break }
        }
        wanted = min(wanted, count - 1)
        return sorting[wanted]
    }
}
