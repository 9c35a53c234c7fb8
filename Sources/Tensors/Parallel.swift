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

/// The most chunks of rows that are summed by themselves.
private let mostChunks = 16

/// Runs `body` on ranges of R rows; what it adds to `sums` ([count]) ends up in `target`. The ranges are cut by R and C alone, each has sums of its own,
/// and these are added in the order of the rows: the result depends neither on the number of threads nor on timing.
func parallelRowSums(
    _ rows: Int, columns: Int, into target: UnsafeMutablePointer<Float>, count: Int,
    _ body: (_ first: Int, _ rows: Int, _ sums: UnsafeMutablePointer<Float>) -> Void
) {
    let chunks = min(mostChunks, rows / max(1, elementGrain / max(columns, 1)))
    guard chunks > 1 else { return body(0, rows, target) }
    let partial = Tensor(zeros: [chunks, count])
    let base = partial.floats
    Workers.parallel(chunks, minimum: 1) {
        for chunk in $0 {
            let rows = Workers.range(chunk, of: chunks, count: rows)
            body(rows.lowerBound, rows.count, base + chunk * count)
        }
    }
    for chunk in 0..<chunks { kernels.add(target, target, base + chunk * count, count) }
}
