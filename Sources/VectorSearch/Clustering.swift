// k-means over rows that ranks hold: the same centroids, bit for bit, for any number of threads and ranks and any order of rows.
//
// Legend: n rows of D numbers, C centroids.

import Collectives
import Diagnostics
import Kernels
import Tensors

/// Lloyd's algorithm ("Least squares quantization in PCM", 1982) with sums that do not depend on their order: numbers are rounded to a fixed point that
/// holds the largest of them and is finer than float32 for all near it, and integers are added exactly.
enum Clustering {
    /// Finds centroids. Collective; what a rank passes are its own rows.
    ///
    /// - Parameters:
    ///   - ids: of each row of this rank, different on all ranks; which rows are learned from, and where centroids begin, is drawn by them.
    ///   - rows: gives some of the rows by their places, [n, D], finite.
    ///   - wanted: C; as many as there are rows, where those are fewer.
    ///   - similarity: cosine learns from directions alone.
    ///   - seed: what is drawn depends on it.
    ///   - iterations: at most; ends when no row changes its centroid.
    ///   - sample: rows for each centroid that are learned from, about, of all ranks.
    /// - Returns: [C, D], the same on every rank.
    /// - Complexity: 2 n C D operations an iteration in matrix products, for about `sample` C rows.
    static func centroids(
        ids: [Int], rows: (_ places: [Int]) -> Tensor, dimension: Int, count wanted: Int, similarity: Similarity, seed: UInt64, iterations: Int = 10,
        sample: Int = 128, communicator: any Communicator
    ) throws -> Tensor {
        let total = try communicator.allReduced(ids.count, .sum)
        let count = min(wanted, total)
        if count == 0 { return Tensor(uninitialized: [0, dimension]) }
        // A row's draw depends on its identifier alone.
        let share = Double(sample) * Double(count) / Double(total)
        let limit = share >= 1 ? UInt64.max : UInt64(share * 0x1p64)
        let draws = ids.map { mixKeys(seed, UInt64(bitPattern: Int64($0))) }
        var chosen = ids.indices.filter { draws[$0] <= limit }
        // By chance there may be fewer than centroids.
        if try communicator.allReduced(chosen.count, .sum) < count { chosen = Array(ids.indices) }
        let learned = rows(chosen)
        if similarity == .cosine { normalize(learned) }
        var centroids = try firstCentroids(learned, keys: chosen.map { (draws[$0], ids[$0]) }, count, communicator)
        let point = try FixedPoint(learned, rows: total, communicator)
        var assignment: [Int] = []
        for _ in 0..<iterations {
            let next = nearest(learned, centroids)
            let changed = try communicator.allReduced(next == assignment ? 0 : 1, .maximum)
            assignment = next
            if changed == 0 { break }
            centroids = try means(learned, assignment, centroids, point, communicator)
            if similarity == .cosine { normalize(centroids) }
        }
        return centroids
    }

    /// The number of the nearest centroid of each row, of equally near ones the first.
    ///
    /// - Parameter rows: [n, D], finite and not too long.
    static func nearest(_ rows: Tensor, _ centroids: Tensor, by similarity: Similarity = .euclidean) -> [Int] {
        do {
            let block = try KeyBlock(
                borrowing: centroids.elements, dimension: centroids.shape[1], similarity: similarity, ids: Array(0..<centroids.shape[0]),
                owner: centroids.storage)
            var result: [Int] = []
            result.reserveCapacity(rows.shape[0])
            // Threads share queries here: rows are many and centroids few.
            let group = 1 << 14
            for first in stride(from: 0, to: rows.shape[0], by: group) {
                let part = Tensor(borrowing: rows.floats + first * rows.shape[1], [min(group, rows.shape[0] - first), rows.shape[1]], owner: rows.storage)
                result += try QuerySearch.nearest(part, in: block, limit: 1).map { $0[0] }
            }
            return result
        } catch { failRequirement("centroids of finite rows: \(error)", file: #fileID, line: #line) }
    }

    /// Makes each row one of length 1; a row of zeros stays.
    static func normalize(_ rows: Tensor) {
        let dimension = rows.shape[1]
        Workers.parallel(rows.shape[0], minimum: max(1, (1 << 15) / max(dimension, 1))) { range in
            let kernels = Kernels.active
            for row in range {
                let place = rows.floats + row * dimension
                let length = kernels.exactDot(place, Elements(UnsafePointer(place)), dimension).squareRoot()
                if length > 0 { for column in 0..<dimension { place[column] = Float(Double(place[column]) / length) } }
            }
        }
    }

    /// The rows of the smallest draws of all ranks.
    private static func firstCentroids(_ rows: Tensor, keys: [(draw: UInt64, id: Int)], _ count: Int, _ communicator: any Communicator) throws -> Tensor {
        let dimension = rows.shape[1]
        func isBefore(_ a: (draw: UInt64, id: Int), _ b: (draw: UInt64, id: Int)) -> Bool { a.draw < b.draw || a.draw == b.draw && a.id < b.id }
        let mine = keys.indices.sorted { isBefore(keys[$0], keys[$1]) }.prefix(count)
        // Draws and identifiers first, then the rows of those that win.
        let packed = mine.flatMap { [UInt64(keys[$0].draw), UInt64(bitPattern: Int64(keys[$0].id))] }
        let everyRank = try communicator.allGather(packed.withUnsafeBytes { Array($0) }).map { bytes in
            bytes.withUnsafeBytes { Array($0.bindMemory(to: UInt64.self)) }
        }
        var all: [(draw: UInt64, id: Int, rank: Int, place: Int)] = []
        for (rank, words) in everyRank.enumerated() {
            for place in 0..<words.count / 2 { all.append((words[2 * place], Int(Int64(bitPattern: words[2 * place + 1])), rank, place)) }
        }
        all.sort { isBefore(($0.draw, $0.id), ($1.draw, $1.id)) }
        let winners = Array(all.prefix(count))
        let own = winners.filter { $0.rank == communicator.rank }.map { mine[mine.startIndex + $0.place] }
        let ownRows = rows.rows(own)
        let bytes = withExtendedLifetime(ownRows) { Array(UnsafeRawBufferPointer(start: ownRows.bytes, count: own.count * dimension * 4)) }
        let parts = try communicator.allGather(bytes)
        let centroids = Tensor(uninitialized: [winners.count, dimension])
        var next = [Int](repeating: 0, count: communicator.size)
        for (place, winner) in winners.enumerated() {
            parts[winner.rank].withUnsafeBytes { part in
                let row = UnsafeRawBufferPointer(rebasing: part[next[winner.rank] * dimension * 4..<(next[winner.rank] + 1) * dimension * 4])
                UnsafeMutableRawBufferPointer(start: centroids.bytes + place * dimension * 4, count: dimension * 4).copyMemory(from: row)
            }
            next[winner.rank] += 1
        }
        return centroids
    }

    /// The mean of each centroid's rows. A centroid without rows takes half of those of the largest one that has not given any yet: it is set a little to
    /// one side of it, and that one to the other.
    private static func means(
        _ rows: Tensor, _ assignment: [Int], _ old: Tensor, _ point: FixedPoint, _ communicator: any Communicator
    ) throws -> Tensor {
        let (count, dimension) = (old.shape[0], old.shape[1])
        let stride = dimension + 1
        var sums = [Int64](repeating: 0, count: count * stride)
        let parts = Workers.parts(assignment.count, minimum: 4096)
        let (size, partial) = (sums.count, UnsafeMutablePointer<Int64>.allocate(capacity: max(1, parts * sums.count)))
        defer { partial.deallocate() }
        partial.initialize(repeating: 0, count: parts * size)
        let target = Writable(partial)
        Workers.parallel(parts, minimum: 1) { range in
            let kernels = Kernels.active
            for part in range {
                for row in Workers.range(part, of: parts, count: assignment.count) {
                    let sum = target.pointer + part * size + assignment[row] * stride
                    kernels.addFixedPoint(sum, rows.floats + row * dimension, scale: point.scale, dimension)
                    sum[dimension] += 1
                }
            }
        }
        for part in 0..<parts { for place in 0..<size { sums[place] &+= partial[part * size + place] } }
        sums = try communicator.allReduced(sums, .sum)
        let centroids = Tensor(uninitialized: [count, dimension])
        for centroid in 0..<count {
            let members = sums[centroid * stride + dimension]
            for column in 0..<dimension {
                centroids.floats[centroid * dimension + column] =
                    members == 0 ? 0 : Float(Double(sums[centroid * stride + column]) / (point.scale * Double(members)))
            }
        }
        let sizes = (0..<count).map { sums[$0 * stride + dimension] }
        // Of equal sizes the first.
        let shared = (0..<count).filter { sizes[$0] > 1 }
        var givers = shared.sorted { (first: Int, second: Int) -> Bool in
            sizes[first] == sizes[second] ? first < second : sizes[first] > sizes[second]
        }[...]
        for empty in 0..<count where sizes[empty] == 0 {
            guard let giver = givers.popFirst() else {
                // Fewer different rows than centroids: it stays where it was.
                (centroids.floats + empty * dimension).update(from: old.floats + empty * dimension, count: dimension)
                continue
            }
            for column in 0..<dimension {
                let value = centroids.floats[giver * dimension + column]
                let shift: Float = column % 2 == 0 ? 0x1p-10 : -0x1p-10
                centroids.floats[empty * dimension + column] = value * (1 + shift)
                centroids.floats[giver * dimension + column] = value * (1 - shift)
            }
        }
        return centroids
    }

    /// The fixed point of sums.
    private struct FixedPoint {
        /// A power of two.
        let scale: Double

        /// So fine that the sum of all rows stays below 2^62 and a number below 2^50.
        init(_ rows: Tensor, rows total: Int, _ communicator: any Communicator) throws {
            var largest: Float = 0
            for place in 0..<rows.count { largest = max(largest, abs(rows.floats[place])) }
            let exponent = try communicator.allReduced(largest > 0 ? Int(largest.exponent) + 1 : -200, .maximum)
            let bits = min(50, 62 - (Int.bitWidth - total.leadingZeroBitCount))
            scale = Double(sign: .plus, exponent: bits - exponent, significand: 1)
        }
    }
}
