// How a flat buffer is cut, and in which order its pieces start.

import Collectives
import Testing

/// Records what is started; completes each sum when told to.
private final class RecordingCommunicator: Communicator {
    final class Pending: PendingCollective {
        var isComplete = false
        var waits = 0
        func test() -> Bool { isComplete }
        func wait() {
            waits += 1
            isComplete = true
        }
    }

    let (rank, size, localRank, localSize, nodeName, libraryDescription) = (0, 2, 0, 2, "recording", "recording")
    let base: UnsafeMutablePointer<Float>
    var started: [Range<Int>] = []
    var pending: [Pending] = []

    init(base: UnsafeMutablePointer<Float>) { self.base = base }

    func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) -> any PendingCollective {
        let first = values.baseAddress.map { $0 - base } ?? 0
        started.append(first..<first + values.count)
        pending.append(Pending())
        return pending[pending.count - 1]
    }

    func barrier() {}
    func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) {}
    func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) {}
    func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) {}
    func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) {}
    func allGather(_ bytes: [UInt8]) -> [[UInt8]] { [bytes, bytes] }
    func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) -> any PendingCollective { Pending() }
    func abort(_ exitCode: Int32) -> Never { preconditionFailure("abort \(exitCode)") }
}

@Suite struct GradientBucketsTests {
    @Test func cutsFromTheEnd() {
        #expect(GradientBuckets(ranges: [0..<10, 10..<13, 13..<25], bucketBytes: 40).buckets == [15..<25, 5..<15, 0..<5])
        #expect(GradientBuckets(ranges: [4..<8], bucketBytes: 4 << 20).buckets == [4..<8])
        #expect(GradientBuckets(ranges: [8..<12, 0..<4], bucketBytes: 16).buckets == [8..<12, 4..<8, 0..<4])
        #expect(GradientBuckets(ranges: []).buckets.isEmpty)
        #expect(GradientBuckets(ranges: [3..<3]).buckets.isEmpty)
    }

    @Test func startsInTheFixedOrder() throws {
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: 30)
        gradients.initialize(repeating: 1)
        defer { gradients.deallocate() }
        let buckets = GradientBuckets(ranges: [0..<10, 10..<20, 20..<30], bucketBytes: 40)
        let communicator = RecordingCommunicator(base: gradients.baseAddress!)
        buckets.begin(gradients: gradients, communicator: communicator)
        try buckets.markReady(1)
        #expect(communicator.started.isEmpty)
        try buckets.markReady(2)
        #expect(communicator.started == [20..<30, 10..<20])
        communicator.pending[1].isComplete = true
        try buckets.poll()
        try buckets.finish()
        #expect(communicator.started == [20..<30, 10..<20, 0..<10])
        #expect(communicator.pending.allSatisfy { $0.isComplete })
    }

    @Test func aLargeParameterLiesInSeveralBuckets() throws {
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: 105)
        gradients.initialize(repeating: 1)
        defer { gradients.deallocate() }
        let buckets = GradientBuckets(ranges: [0..<100, 100..<105], bucketBytes: 160)
        let communicator = RecordingCommunicator(base: gradients.baseAddress!)
        buckets.begin(gradients: gradients, communicator: communicator)
        try buckets.markReady(1)
        #expect(communicator.started.isEmpty)
        try buckets.markReady(0)
        #expect(communicator.started == [65..<105, 25..<65, 0..<25])
        try buckets.finish()
        #expect(communicator.pending.map(\.waits) == [1, 1, 1])
    }

    @Test func fewBucketsAreOnTheirWayAtOnce() throws {
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: 50)
        gradients.initialize(repeating: 1)
        defer { gradients.deallocate() }
        let buckets = GradientBuckets(ranges: [0..<50], bucketBytes: 40, concurrency: 2)
        let communicator = RecordingCommunicator(base: gradients.baseAddress!)
        buckets.begin(gradients: gradients, communicator: communicator)
        try buckets.markReady(0)
        #expect(communicator.started == [40..<50, 30..<40])
        try buckets.poll()
        #expect(buckets.startedCount == 2)
        communicator.pending[0].isComplete = true
        try buckets.poll()
        #expect(communicator.started.last == 20..<30)
        try buckets.finish()
        #expect(communicator.started.count == 5)
        #expect(communicator.pending.allSatisfy { $0.isComplete })
    }

    @Test func aStepBeginsAgain() throws {
        let gradients = UnsafeMutableBufferPointer<Float>.allocate(capacity: 20)
        gradients.initialize(repeating: 1)
        defer { gradients.deallocate() }
        let buckets = GradientBuckets(ranges: [0..<10, 10..<20], bucketBytes: 40)
        for _ in 0..<3 {
            let communicator = RecordingCommunicator(base: gradients.baseAddress!)
            buckets.begin(gradients: gradients, communicator: communicator)
            try buckets.markReady(0)
            #expect(communicator.started.isEmpty)
            try buckets.finish()
            #expect(communicator.started == [10..<20, 0..<10])
        }
    }
}
