// What matrix products of a step come to: multiplications and additions, and the time in them.

import Synchronization

/// Counts the matrix products of the process, whoever computes them, between `begin()` and `end()`. Costs a clock reading a product while it counts, and
/// next to nothing else.
package enum ProductCount {
    /// What was counted.
    package struct Total: Sendable, Equatable {
        /// Products as the libraries got them; one that is divided between threads counts as several.
        package var products = 0
        /// Multiplications and additions: 2 M N K of each.
        package var flops = 0
        /// Time in them, added up over threads.
        package var seconds = 0.0
    }

    private static let isCounting = Atomic<Bool>(false)
    private static let products = Atomic<Int>(0)
    private static let flops = Atomic<Int>(0)
    private static let nanoseconds = Atomic<Int>(0)

    /// Begins at zero. Between products, by one thread.
    package static func begin() {
        products.store(0, ordering: .relaxed)
        flops.store(0, ordering: .relaxed)
        nanoseconds.store(0, ordering: .relaxed)
        isCounting.store(true, ordering: .relaxed)
    }

    /// Ends. Between products, by the same thread.
    package static func end() -> Total {
        isCounting.store(false, ordering: .relaxed)
        return Total(
            products: products.load(ordering: .relaxed), flops: flops.load(ordering: .relaxed), seconds: Double(nanoseconds.load(ordering: .relaxed)) * 1e-9)
    }

    /// Runs one product, which says whether it was computed.
    @inline(__always)
    static func counted(_ m: Int, _ n: Int, _ k: Int, _ body: () -> Bool) -> Bool {
        isCounting.load(ordering: .relaxed) ? timed(2 * m * n * k, body) : body()
    }

    @inline(never)
    private static func timed(_ work: Int, _ body: () -> Bool) -> Bool {
        let start = ContinuousClock.now
        guard body() else { return false }
        nanoseconds.add(Int((ContinuousClock.now - start) / .nanoseconds(1)), ordering: .relaxed)
        flops.add(work, ordering: .relaxed)
        products.add(1, ordering: .relaxed)
        return true
    }
}
