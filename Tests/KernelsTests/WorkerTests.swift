// The worker pool: every element once, the same division every time, and no call that is lost.

import Foundation
import Kernels
import TestSupport
import Testing

@Suite("Workers")
struct WorkerTests {
    @Test("every element is in exactly one range, at least the minimum long", arguments: 1...5)
    func ranges(_ threads: Int) {
        withThreads(threads) {
            for count in [0, 1, 2, 3, 7, 64, 65, 1000, 4097] {
                for minimum in [1, 2, 10, 64, 5000] {
                    var seen = [Int](repeating: 0, count: count)
                    var lengths = [Int](repeating: 0, count: Workers.largestCount)
                    seen.withUnsafeMutableBufferPointer { seen in
                        lengths.withUnsafeMutableBufferPointer { lengths in
                            nonisolated(unsafe) let (seen, lengths) = (seen, lengths)
                            Workers.parallel(count, minimum: minimum) { range in
                                for index in range { seen[index] += 1 }
                                lengths[Workers.index] += range.count
                            }
                        }
                    }
                    #expect(seen.allSatisfy { $0 == 1 })
                    let used = lengths.filter { $0 > 0 }
                    #expect(used.count == min(count, max(1, min(threads, count / minimum))))
                    #expect(used.count <= 1 || used.min()! >= minimum && used.max()! - used.min()! <= 1)
                    #expect(used.count == Workers.parts(count, minimum: minimum))
                }
            }
        }
    }

    /// A sum whose bits depend on where it is divided.
    private func dividedSum(_ values: [Float]) -> Float {
        var parts = [Float](repeating: 0, count: Workers.largestCount)
        parts.withUnsafeMutableBufferPointer { parts in
            nonisolated(unsafe) let parts = parts
            Workers.parallel(values.count, minimum: 10) { range in
                var sum: Float = 0
                for index in range { sum += values[index] }
                parts[Workers.index] = sum
            }
        }
        return parts.reduce(0, +)
    }

    @Test("the division is the same at every run", arguments: 1...5)
    func repeats(_ threads: Int) {
        let values = (0..<10_001).map { 1 / Float($0 + 1) }
        withThreads(threads) {
            let first = dividedSum(values)
            for _ in 0..<200 { #expect(dividedSum(values) == first) }
        }
    }

    @Test("ten thousand small calls", arguments: [1, 2, 3, 5])
    func manyCalls(_ threads: Int) {
        var sums = [Int](repeating: 0, count: 16 * Workers.largestCount)
        withThreads(threads) {
            sums.withUnsafeMutableBufferPointer { sums in
                nonisolated(unsafe) let sums = sums
                for _ in 0..<10_000 { Workers.parallel(7, minimum: 1) { sums[16 * Workers.index] += $0.count } }
            }
        }
        #expect(sums.reduce(0, +) == 70_000)
    }

    @Test("calls after a pause find their threads")
    func pauses() {
        var sums = [Int](repeating: 0, count: 64)
        withThreads(3) {
            sums.withUnsafeMutableBufferPointer { sums in
                nonisolated(unsafe) let sums = sums
                for _ in 0..<20 {
                    usleep(2000)
                    Workers.parallel(3, minimum: 1) { sums[16 * Workers.index] += $0.count }
                }
            }
        }
        // A call that finds the pool taken, by another test's thread, runs all its parts itself; every other one has a part for each thread.
        #expect(sums[16] == sums[32] && sums[0] == 60 - 2 * sums[16] && sums.reduce(0, +) == 60)
    }

    @Test("a call within a part runs inline, in one range")
    func nested() {
        var counts = [Int](repeating: 0, count: 16 * 4)
        withThreads(4) {
            counts.withUnsafeMutableBufferPointer { counts in
                nonisolated(unsafe) let counts = counts
                Workers.forEach(tasks: 8) { _ in
                    let outer = Workers.index
                    #expect(Workers.isWithinPart)
                    Workers.parallel(100, minimum: 1) { range in
                        #expect(range == 0..<100 && Workers.index == outer)
                        counts[16 * outer] += range.count
                    }
                }
            }
            #expect(!Workers.isWithinPart && Workers.index == 0)
        }
        #expect(stride(from: 0, to: 64, by: 16).map { counts[$0] } == [200, 200, 200, 200])
    }

    @Test("tasks are dealt out in blocks", arguments: [1, 2, 3])
    func tasks(_ threads: Int) {
        var owners = [Int](repeating: -1, count: 11)
        withThreads(threads) {
            owners.withUnsafeMutableBufferPointer { owners in
                nonisolated(unsafe) let owners = owners
                Workers.forEach(tasks: 11) { owners[$0] = Workers.index }
            }
        }
        #expect(owners == owners.sorted() && Set(owners) == Set(0..<threads))
    }

    @Test("two threads that ask at once both get the same sums")
    func contention() {
        let values = (0..<10_001).map { 1 / Float($0 + 1) }
        withThreads(3) {
            let expected = dividedSum(values)
            DispatchQueue.concurrentPerform(iterations: 4) { _ in
                for _ in 0..<500 { #expect(dividedSum(values) == expected) }
            }
        }
    }

    #if arch(x86_64)
        @Test("denormals are zero in every part, the caller's too, and the caller's mode is set back", arguments: [1, 3])
        func denormals(threads: Int) {
            let small = Float.leastNormalMagnitude
            var products = [Float](repeating: 1, count: 3)
            withThreads(threads) {
                products.withUnsafeMutableBufferPointer { products in
                    nonisolated(unsafe) let products = products
                    Workers.forEach(tasks: 3) { products[$0] = small * (0.25 + Float($0) * 0.125) }
                }
            }
            #expect(products == [0, 0, 0])
            #expect(products.map { small * (0.25 + $0) } == [small / 4, small / 4, small / 4])
        }
    #endif

    @Test("pinning keeps to the processors of the process")
    func pinning() {
        // More threads than processors are never pinned.
        withThreads(min(Workers.largestCount, Workers.usableProcessors + 1)) { #expect(!Workers.pin()) }
    }
}
