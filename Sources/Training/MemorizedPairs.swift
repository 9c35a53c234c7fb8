// The keys and values of earlier segments that a memorizing layer attends to: one memory of all lanes, the same on every rank.
//
// Legend: L lanes, B of a micro-batch, T positions, H heads, K head size, D = H K width, C capacity, N queries, k pairs of a query.

import Checkpoints
import Collectives
import Diagnostics
import Models
import NeuralNetworks
import Tensors
import VectorSearch

/// The newest C pairs, in a ring. After each step every rank gets the pairs of all lanes, and stores them in the order of the lanes: what is remembered
/// depends on the lanes and steps alone, never on ranks, and a forward pass reads it without asking anybody.
///
/// A query looks at every key, or, with lists, at those of the lists nearest to it (``InvertedFile``). Lists are made anew when half of the pairs have come
/// since they were made; their centroids are saved, so that a session that resumes finds the same pairs.
package final class MemorizedPairs: PairStore, RunState {
    package let width: Int
    package let stateName = "memorized"
    private let configuration: MemorizingConfiguration
    private let heads: Int
    /// C.
    private let capacity: Int
    /// [C, 2 D]: keys of all heads, then values.
    private let ring: Tensor
    /// Of each place, when it was written, as a number of segments from 1, and the lane: [C, 2].
    private var origins: [Int64]
    /// Pairs stored so far, segments, and the first number when lists were made.
    private var total = 0
    private var segments = 0
    private var indexedAt = 0
    /// By head, then by lane where lanes are apart.
    private var rows: [[Int: VectorRows]]
    /// By head, once there are lists.
    private var files: [InvertedFile] = []

    /// What micro-batches have left, and what all ranks have, until the step is accepted.
    private var parts: [Int: Segment] = [:]
    private var pending: [Segment] = []

    /// The pairs of some lanes: [B, T, 2 D].
    fileprivate struct Segment {
        var lanes: [Int]
        var pairs: Tensor
        var statistics: PairStatistics
    }

    /// No pairs yet.
    /// - Parameter capacity: C where it is not the configuration's.
    package init(_ configuration: MemorizingConfiguration, heads: Int, width: Int, capacity: Int? = nil) {
        (self.configuration, self.heads, self.width, self.capacity) = (configuration, heads, width, capacity ?? configuration.capacity)
        ring = Tensor(zeros: [self.capacity, 2 * width])
        origins = [Int64](repeating: 0, count: 2 * self.capacity)
        rows = [[Int: VectorRows]](repeating: [:], count: heads)
    }

    /// The pairs of a model, which reads them from now on; `nil` for a model that memorizes nothing.
    package convenience init?(for model: any TrainableModel) {
        guard let model = model as? any MemorizingModel, let memorizing = model.memorizing else { return nil }
        self.init(memorizing, heads: model.pairHeads, width: model.pairWidth)
        model.pairs = self
    }

    /// Bytes of the memory of a model: the ring, its copy for a checkpoint, the keys once more as they are searched, and what belongs to each place.
    static func bytes(of model: any TrainableModel) -> Int {
        guard let model = model as? any MemorizingModel, let memorizing = model.memorizing else { return 0 }
        return memorizing.capacity * (20 * model.pairWidth + 64 * (1 + model.pairHeads))
    }

    // MARK: reading

    /// Whether a query finds what its own lane has left alone.
    var isOfLanes: Bool { configuration.scope == .lane }

    package var count: Int { min(total, capacity) }
    package func pair(_ slot: Int) -> UnsafePointer<Float> { UnsafePointer(ring.floats + slot * 2 * width) }
    package func age(_ slot: Int) -> Int { segments + 1 - Int(origins[2 * slot]) }

    package func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int) -> FoundPairs {
        nearest(queries, head: head, lanes: lanes, limit: limit, probes: configuration.probes)
    }

    /// The same with so many lists visited, where there are any: all of them find what a search of every key finds.
    package func nearest(_ queries: Tensor, head: Int, lanes: [Int], limit: Int, probes: Int) -> FoundPairs {
        var found = FoundPairs(queries: queries.shape[0], limit: limit)
        func take(_ neighbors: Neighbors?, from first: Int) {
            // Queries that are not finite find nothing: the loss says so.
            guard let neighbors else { return }
            for query in 0..<neighbors.count {
                let row = neighbors[query]
                found.counts[first + query] = row.count
                for (place, neighbor) in row.enumerated() {
                    found.slots[(first + query) * limit + place] = Int32(neighbor.id)
                    found.scores[(first + query) * limit + place] = neighbor.score
                }
            }
        }
        if !files.isEmpty {
            take(try? files[head].nearest(queries, limit: limit, probes: probes), from: 0)
            return found
        }
        func search(_ queries: Tensor, _ lane: Int) -> Neighbors? {
            rows[head][lane].flatMap { try? ExactSearch.nearest(queries, among: $0.blocks, limit: limit) }
        }
        if configuration.scope == .shared {
            take(search(queries, 0), from: 0)
        } else if !lanes.isEmpty {
            let (length, size) = (queries.shape[0] / lanes.count, queries.shape[1])
            for (sequence, lane) in lanes.enumerated() {
                let first = sequence * length
                take(search(Tensor(borrowing: queries.floats + first * size, [length, size], owner: queries.storage), lane), from: first)
            }
        }
        return found
    }

    /// What a pass of training reads, and where it leaves its segment.
    func reading() -> PairReading { PairReading([self], collects: true) }

    // MARK: storing

    /// Keeps what a micro-batch has left, instead of what it may have left before.
    package func keep(_ reading: PairReading?, _ microBatch: Int, lanes: [Int]) {
        guard let reading, let pairs = reading.segment else { return }
        require(pairs.shape[0] == lanes.count && pairs.shape[2] == 2 * width, "pairs \(pairs.shape) of \(lanes.count) lanes")
        parts[microBatch] = Segment(lanes: lanes, pairs: pairs, statistics: reading.statistics)
    }

    /// Brings the segments of all ranks together. Collective.
    package func gather(_ communicator: any Communicator) throws {
        var all = parts.sorted { $0.key < $1.key }.map(\.value)
        parts = [:]
        if communicator.size > 1 {
            let bytes = all.reduce(into: [UInt8]()) { $1.encode(into: &$0) }
            all = try communicator.allGather(bytes).flatMap { Segment.decoded($0, width: 2 * width) }
        }
        pending = all.sorted { ($0.lanes.first ?? 0) < ($1.lanes.first ?? 0) }
    }

    /// Stores the segments that were brought together, of a step that was applied.
    /// - Returns: what was read in the step.
    /// - Throws: `UserError` (bad data), the same on every rank, for a key that is not finite.
    @discardableResult
    package func commit() throws -> PairStatistics {
        let new = pending
        pending = []
        var read = PairStatistics()
        for segment in new { read += segment.statistics }
        do { try append(new.map { ($0.lanes, $0.pairs) }) } catch let error as UserError { throw error.shared }
        return read
    }

    /// Drops the segments of a step that was not applied.
    package func discard() { (parts, pending) = ([:], []) }

    /// Stores segments, [B, T, 2 D] each, in their order.
    /// - Throws: `UserError` (bad data) for a key that is not finite.
    package func append(_ new: [(lanes: [Int], pairs: Tensor)]) throws {
        let count = new.reduce(0) { $0 + $1.lanes.count * $1.pairs.shape[1] }
        if count == 0 { return }
        segments += 1
        // Of more than there is room for, the last.
        var skipped = max(0, count - capacity)
        var (slots, place, replaced) = ([Int](), total, [Int: [Int]]())
        for (lanes, pairs) in new {
            let length = pairs.shape[1]
            for (sequence, lane) in lanes.enumerated() {
                for position in 0..<length {
                    defer { place += 1 }
                    guard skipped == 0 else {
                        skipped -= 1
                        continue
                    }
                    let slot = place % capacity
                    if origins[2 * slot] > 0 { replaced[part(ofLane: origins[2 * slot + 1]), default: []].append(slot) }
                    (ring.floats + slot * 2 * width).update(from: pairs.floats + (sequence * length + position) * 2 * width, count: 2 * width)
                    (origins[2 * slot], origins[2 * slot + 1]) = (Int64(segments), Int64(lane))
                    slots.append(slot)
                }
            }
        }
        total = place
        for head in 0..<heads {
            if files.isEmpty {
                for (part, old) in replaced { rows[head][part]?.remove(old) }
            } else {
                files[head].remove(replaced[0] ?? [])
            }
        }
        try index(slots)
        if configuration.lists > 0, self.count >= 32 * configuration.lists, 2 * (total - indexedAt) >= self.count { try makeLists() }
    }

    /// The part of the rows that a lane's are in.
    private func part(ofLane lane: Int64) -> Int { configuration.scope == .shared ? 0 : Int(lane) }

    /// Lets searches find the pairs at these places.
    private func index(_ slots: [Int]) throws {
        let parts = Dictionary(grouping: slots) { part(ofLane: origins[2 * $0 + 1]) }
        for head in 0..<heads {
            if !files.isEmpty {
                try files[head].append(keys(slots, head), ids: slots)
                continue
            }
            for (part, slots) in parts {
                let known = rows[head][part] ?? VectorRows(dimension: width / heads, similarity: .dot)
                rows[head][part] = known
                try known.append(keys(slots, head), ids: slots)
            }
        }
    }

    /// The keys of one head at some places: [n, K].
    private func keys(_ slots: [Int], _ head: Int) -> Tensor {
        let size = width / heads
        let keys = Tensor(uninitialized: [slots.count, size])
        for (row, slot) in slots.enumerated() { (keys.floats + row * size).update(from: ring.floats + slot * 2 * width + head * size, count: size) }
        return keys
    }

    /// Makes the lists of every head anew. Every rank finds the same ones by itself.
    private func makeLists() throws {
        if files.isEmpty {
            files = (0..<heads).map { _ in InvertedFile(dimension: width / heads, similarity: .dot) }
            rows = [[Int: VectorRows]](repeating: [:], count: heads)
            try index(Array(0..<count))
        }
        for head in 0..<heads { try files[head].train(lists: configuration.lists, seed: UInt64(head)) }
        indexedAt = total
    }

    // MARK: checkpoints

    package var stateItems: [StateItem] {
        let size = width / heads
        var items = [
            StateItem(
                "memorized/pairs", .float32, shape: ring.shape.array,
                memory: UnsafeMutableRawBufferPointer(UnsafeMutableBufferPointer(start: ring.floats, count: ring.count))),
            StateItem("memorized/origins", .int64, shape: [capacity, 2], save: { [self] in origins }, restore: { [self] in origins = $0 }),
            StateItem(
                "memorized/counts", .int64, shape: [3], save: { [self] in [Int64(total), Int64(segments), Int64(indexedAt)] },
                restore: { [self] (counts: [Int64]) in
                    guard counts.count == 3, counts.allSatisfy({ $0 >= 0 }), counts[2] <= counts[0] else {
                        throw UserError(.badData, "'memorized/counts' is \(counts), which no run has written", advice: "use another checkpoint")
                    }
                    (total, segments, indexedAt) = (Int(counts[0]), Int(counts[1]), Int(counts[2]))
                }),
        ]
        if configuration.lists > 0 {
            items.append(
                StateItem("memorized/centroids", .float32, shape: [heads, configuration.lists, size]) { [self] in
                    files.isEmpty
                        ? [Float](repeating: 0, count: heads * configuration.lists * size) : files.flatMap { $0.centroids.array }
                } restore: { [self] (values: [Float]) in
                    let count = configuration.lists * size
                    restoredCentroids = (0..<heads).map { Tensor(Array(values[$0 * count..<($0 + 1) * count]), [configuration.lists, size]) }
                })
        }
        return items
    }

    /// Between the reading of a checkpoint and ``wasRestored()``.
    private var restoredCentroids: [Tensor] = []

    package func wasRestored() {
        discard()
        rows = [[Int: VectorRows]](repeating: [:], count: heads)
        do {
            files =
                try indexedAt == 0 ? [] : restoredCentroids.map { try InvertedFile(centroids: $0, similarity: .dot, trainedRows: min(indexedAt, capacity)) }
            try index(Array(0..<count))
        } catch { failRequirement("a checkpoint with pairs that are not finite: \(error)", file: #fileID, line: #line) }
        restoredCentroids = []
    }
}

extension MemorizedPairs.Segment {
    /// Lanes, positions, sums and pairs.
    fileprivate func encode(into bytes: inout [UInt8]) {
        ([lanes.count, pairs.shape[1]] + lanes).withUnsafeBytes { bytes += $0 }
        statistics.values.withUnsafeBytes { bytes += $0 }
        bytes += UnsafeRawBufferPointer(start: pairs.bytes, count: 4 * pairs.count)
    }

    /// What ``encode(into:)`` has written, one after the other.
    fileprivate static func decoded(_ bytes: [UInt8], width: Int) -> [Self] {
        bytes.withUnsafeBytes { bytes in
            var (place, segments) = (0, [Self]())
            func integer() -> Int {
                defer { place += 8 }
                return bytes.loadUnaligned(fromByteOffset: place, as: Int.self)
            }
            while place < bytes.count {
                let (count, length) = (integer(), integer())
                let lanes = (0..<count).map { _ in integer() }
                var statistics = PairStatistics()
                statistics.values = (0..<5).map { _ in Double(bitPattern: UInt64(bitPattern: Int64(integer()))) }
                let pairs = Tensor(uninitialized: [count, length, width])
                let part = UnsafeRawBufferPointer(rebasing: bytes[place..<place + 4 * pairs.count])
                UnsafeMutableRawBufferPointer(start: pairs.bytes, count: part.count).copyMemory(from: part)
                place += part.count
                segments.append(Self(lanes: lanes, pairs: pairs, statistics: statistics))
            }
            return segments
        }
    }
}
