// Gradients travel in buckets while the backward pass still runs.

/// Sums a flat gradient buffer over ranks, bucket by bucket, each as soon as its gradients are ready.
///
/// The buffer is cut into pieces of equal size from its end, since the gradients at its start finish last in a backward pass. Pieces
/// start in this order on every rank, whatever the order in which gradients become ready there: a piece that is ready early waits for the
/// ones before it. A parameter larger than a bucket lies in several; a bucket waits for every parameter that it holds a part of.
///
/// In a world of one rank every call returns at once.
///
/// - Source: Li et al., "PyTorch Distributed: Experiences on Accelerating Data Parallel Training", 2020, section 3.2.
public final class GradientBuckets {
    /// The elements of each bucket, in the order in which buckets start.
    public let buckets: [Range<Int>]

    /// The buckets that hold a part of a parameter, by parameter.
    private let bucketsOfParameter: [Range<Int>]
    /// How many parameters a bucket holds a part of.
    private let parametersInBucket: [Int]

    /// What starts the sum of a bucket, between `begin` and `finish`; nil in a world of one rank.
    private var start: ((Range<Int>) throws -> any PendingCollective)?
    private var isUnderWay = false
    private var isReady: [Bool]
    /// How many parameters of each bucket are not ready.
    private var missing: [Int]
    private let concurrency: Int
    private var pending: [any PendingCollective] = []
    /// How many of `pending`, from its start, are known to be complete.
    private var completedCount = 0

    /// How many buckets are on their way or complete since `begin`.
    public var startedCount: Int { pending.count }

    /// - Parameters:
    ///   - ranges: the elements of each parameter's gradient in the flat buffer, in any order, without overlap. Gaps are summed too.
    ///   - bucketBytes: the size of a bucket in bytes; the last one to start may be smaller.
    ///   - cuts: elements at which a bucket may begin, rising; `nil` for all. A bucket then is of as many bytes or a little less, or one cut's.
    ///   - concurrency: how many buckets may be on their way at once. Few are faster than many: the library takes memory for each, and
    ///     what it frees is warm for the next.
    public init(ranges: [Range<Int>], bucketBytes: Int = BucketSize.usual, cuts: [Int]? = nil, concurrency: Int = 4) {
        precondition(concurrency > 0, "\(concurrency) buckets at once")
        precondition(bucketBytes >= MemoryLayout<Float>.stride, "buckets of \(bucketBytes) bytes")
        let bucketCount = bucketBytes / MemoryLayout<Float>.stride
        let lowest = ranges.map(\.lowerBound).min() ?? 0
        let highest = ranges.map(\.upperBound).max() ?? 0
        precondition(lowest >= 0, "a parameter begins at element \(lowest)")
        var buckets: [Range<Int>] = []
        var end = highest
        while end > lowest {
            let even = max(lowest, end - bucketCount)
            let begin = cuts.map { cuts in cuts.first { $0 >= even && $0 < end } ?? cuts.last { $0 < end } ?? lowest } ?? even
            buckets.append(max(lowest, begin)..<end)
            end = max(lowest, begin)
        }
        bucketsOfParameter = ranges.map { range in
            guard !range.isEmpty, let first = buckets.firstIndex(where: { $0.overlaps(range) }), let last = buckets.lastIndex(where: { $0.overlaps(range) })
            else { return 0..<0 }
            return first..<last + 1
        }
        var parametersInBucket = [Int](repeating: 0, count: buckets.count)
        for bucket in bucketsOfParameter.joined() { parametersInBucket[bucket] += 1 }
        self.buckets = buckets
        self.concurrency = concurrency
        self.parametersInBucket = parametersInBucket
        missing = parametersInBucket
        isReady = Array(repeating: false, count: ranges.count)
        pending.reserveCapacity(buckets.count)
    }

    /// Opens the last backward pass of a step. Collective.
    ///
    /// - Parameters:
    ///   - gradients: the flat buffer, float32, borrowed and summed in place until `finish` returns.
    ///   - communicator: the ranks that sum.
    public func begin(gradients: UnsafeMutableBufferPointer<Float>, communicator: any Communicator) {
        let end = buckets.first?.upperBound ?? 0
        precondition(gradients.count >= end, "\(gradients.count) gradients, parameters end at \(end)")
        begin(communicator.size == 1 ? nil : { try communicator.startAllReduce(UnsafeMutableBufferPointer(rebasing: gradients[$0])) })
    }

    /// Opens the last backward pass of a step. Collective.
    ///
    /// - Parameter start: starts the sum of a bucket's elements, which goes on until `finish` returns; `nil` where there is nothing to sum.
    public func begin(_ start: ((Range<Int>) throws -> any PendingCollective)?) {
        precondition(!isUnderWay, "begin without the finish of the step before")
        isUnderWay = true
        self.start = start
        pending.removeAll(keepingCapacity: true)
        completedCount = 0
        for bucket in missing.indices { missing[bucket] = parametersInBucket[bucket] }
        for parameter in isReady.indices { isReady[parameter] = false }
    }

    /// Says that a parameter's gradient has its final value on this rank, and starts every bucket whose turn it is.
    ///
    /// - Parameter parameter: the parameter's place in `ranges`. Each may be marked once a step.
    public func markReady(_ parameter: Int) throws {
        precondition(isUnderWay, "markReady before begin")
        guard start != nil else { return }
        precondition(!isReady[parameter], "parameter \(parameter) is marked ready twice")
        isReady[parameter] = true
        for bucket in bucketsOfParameter[parameter] { missing[bucket] -= 1 }
        try poll()
    }

    /// Lets the library work on the buckets under way, and starts those whose turn it is. Cheap; call it between operations of the backward pass.
    public func poll() throws {
        guard let start else { return }
        try goOn()
        while pending.count < buckets.count, missing[pending.count] == 0, pending.count - completedCount < concurrency {
            pending.append(try start(buckets[pending.count]))
        }
    }

    /// Starts what was not started and waits until the whole buffer holds the sum. Collective.
    public func finish() throws {
        precondition(isUnderWay, "finish before begin")
        isUnderWay = false
        guard start != nil else { return }
        for bucket in missing.indices { missing[bucket] = 0 }
        while completedCount < buckets.count {
            try poll()
            if completedCount < buckets.count { try pending[completedCount].waitForPart() }
        }
        start = nil
    }

    /// Moves every bucket under way on: one of several parts begins its next part only here.
    private func goOn() throws {
        for bucket in completedCount..<pending.count where try pending[bucket].test() && bucket == completedCount { completedCount += 1 }
    }
}
