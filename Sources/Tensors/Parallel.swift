// How operations are cut for the worker threads.
//
// Legend: n elements, R rows, C columns.

import Kernels
import Synchronization

private let grain = Atomic<Int>(1 << 14)

/// Elements of an elementwise operation below which a second thread costs more than it saves. Tests lower it.
package var elementGrain: Int {
    get { grain.load(ordering: .relaxed) }
    set { grain.store(newValue, ordering: .relaxed) }
}

/// Runs `body` on ranges of 0 ..< n. Elementwise work: no result depends on the cut.
@inline(__always)
func parallelElements(_ count: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
    Workers.parallel(count, minimum: elementGrain) { body($0.lowerBound, $0.count) }
}

/// Runs `body` on ranges of R rows of C elements each.
@inline(__always)
func parallelRows(_ rows: Int, columns: Int, _ body: (_ first: Int, _ count: Int) -> Void) {
    Workers.parallel(rows, minimum: max(1, elementGrain / max(columns, 1))) { body($0.lowerBound, $0.count) }
}

/// Runs `body` on ranges of R rows; what it adds to `sums` ([count]) ends up in `target`. Each thread has sums of its own, which are added in the
/// order of the threads: the result depends on the number of threads, never on timing.
func parallelRowSums(
    _ rows: Int, columns: Int, into target: UnsafeMutablePointer<Float>, count: Int,
    _ body: (_ first: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
) {
    let minimum = max(1, elementGrain / max(columns, 1))
    guard Workers.count > 1, rows >= 2 * minimum else { return body(0, rows, target) }
    let threads = Workers.count
    let partial = Tensor(zeros: [threads, count])
    let base = partial.floats
    Workers.parallel(rows, minimum: minimum) { body($0.lowerBound, $0.count, base + Workers.index * count) }
    for thread in 0..<threads { kernels.add(target, target, base + thread * count, count) }
}
