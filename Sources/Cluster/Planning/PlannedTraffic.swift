// What travels between ranks for a step of a run, and how much of it hides behind computation.

import Collectives
import Training

/// The sums of a run's gradients, or, with local steps, of the groups' ways.
struct PlannedTraffic {
    /// Bytes of one copy of what is summed.
    let bytes: Int
    /// Of these, the bytes that are ready at the end of the backward pass only: the last bucket, or the model's first table where it is larger.
    let lastBytes: Int
    /// Bytes that travel at a time.
    let bucketBytes: Int
    /// Steps from one exchange to the next.
    let interval: Int
    /// Whether messages between nodes go on while the backward pass computes.
    let hides: Bool

    /// - Parameters:
    ///   - parameters: of the model.
    ///   - ranks: a library's own sums, which ranks that are no power of two take without a tree, wait for their end.
    init(_ run: PlannedRun, parameters: Int, ranks: Int) {
        let parallel = run.configuration.parallel
        let size = parallel.gradients.bytesPerElement
        bytes = Int(size * Double(parameters))
        bucketBytes = parallel.bucketBytes ?? BucketSize.usual
        let first = run.task.model.store.parameters.first?.shape.count ?? 0
        lastBytes = min(bytes, Int(size / 4 * Double(max(bucketBytes, 4 * first))))
        interval = parallel.localSteps?.interval ?? 1
        hides = parallel.localSteps == nil && (parallel.reproducible || ranks.nonzeroBitCount == 1)
    }
}
