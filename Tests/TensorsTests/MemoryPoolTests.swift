// Memory that the system does not have, and a library that leaves the environment alone.

import Foundation
import Synchronization
import Tensors
import Testing

/// What a thread that reads the environment says, and is told.
private final class ReaderFlags: Sendable {
    let isReading = Atomic(false)
    let hasSeen = Atomic(false)
    let isDone = Atomic(false)
}

@Suite struct MemoryPoolTests {
    @Test("without a handler the program stops and says how much there was not")
    func noHandler() async throws {
        let result = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            _ = Storage(byteCount: 1 << 46, pool: MemoryPool())
        }
        let text = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(text.contains("no memory for a tensor of \(1 << 46) bytes"), "\(text)")
    }

    @Test("a handler ends the program as it likes, with the bytes that were asked for")
    func handler() async {
        await #expect(processExitsWith: .exitCode(42)) {
            let pool = MemoryPool()
            pool.exhaustionHandler = { bytes in exit(bytes == 1 << 46 ? 42 : 1) }
            _ = Storage(byteCount: 1 << 46, pool: pool)
        }
    }

    @Test("threads take and return blocks of one pool at the same time")
    func threads() {
        let pool = MemoryPool()
        nonisolated(unsafe) let shared = pool
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            for round in 0..<2_000 {
                let blocks = (0..<4).map { Storage(byteCount: 64 << (($0 + round + thread) % 5), pool: shared) }
                for (index, block) in blocks.enumerated() { block.pointer.storeBytes(of: thread * 10 + index, as: Int.self) }
                for (index, block) in blocks.enumerated() where block.pointer.load(as: Int.self) != thread * 10 + index {
                    Issue.record("a block was handed out twice")
                }
            }
        }
        #expect(pool.statistics.usedBytes == 0 && pool.statistics.peakUsedBytes <= pool.statistics.reservedBytes)
    }

    @Test("oneDNN is loaded without a change of the environment, which other threads may be reading")
    func environment() async {
        await #expect(processExitsWith: .success) {
            unsetenv("OMP_NUM_THREADS")
            let flags = ReaderFlags()
            let reader = Thread {
                while !flags.isDone.load(ordering: .relaxed) {
                    if getenv("OMP_NUM_THREADS") != nil { flags.hasSeen.store(true, ordering: .relaxed) }
                    flags.isReading.store(true, ordering: .relaxed)
                }
            }
            reader.start()
            while !flags.isReading.load(ordering: .relaxed) { usleep(100) }
            _ = OneDNN.isAvailable
            flags.isDone.store(true, ordering: .relaxed)
            exit(flags.hasSeen.load(ordering: .relaxed) ? 1 : 0)
        }
    }

    @Test(
        "oneDNN computes on the threads that ask it, and starts none",
        .enabled(if: OneDNN.isAvailable && FileManager.default.fileExists(atPath: "/proc/self/task")))
    func ownThreads() async {
        await #expect(processExitsWith: .success) {
            setenv("OMP_NUM_THREADS", "3", 1)
            let (a, c) = (Tensor(zeros: [256, 256]), Tensor(zeros: [256, 256]))
            func multiply() { multiplyMatrices(using: .oneDNN, into: MatrixResult(c), MatrixOperand(a), MatrixOperand(a), m: 256, n: 256, k: 256) }
            _ = OneDNN.isAvailable
            func threads() -> Int { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task").count) ?? 0 }
            let before = threads()
            multiply()
            exit(threads() == before ? 0 : 1)
        }
    }
}
