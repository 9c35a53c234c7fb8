// With what a benchmark runs, and for how long.

import Kernels
import Tensors

/// What all benchmarks take from the command line.
package struct BenchmarkSettings: Sendable {
    /// Threads of a rank.
    package var threads = 1
    /// The arithmetic of activations and matrix products.
    package var precision = Precision.float32
    /// Timed steps go on for so long, and until `minimumSteps` are made.
    package var seconds = 10.0
    /// Steps before the timed ones.
    package var warmUpSteps = 2
    package var minimumSteps = 5
    /// Training: replaces the workload's dropout rate.
    package var dropout: Float?
    /// Training: whether time is added up by operation.
    package var profiles = false
    /// Attention: the most positions.
    package var longest = 16_384
    /// Search, bank and memorizing: the rows among which is searched.
    package var searchRows = 1_000_000
    /// Bank: where it is made.
    package var scratchDirectory = "."
    /// Where this machine's choices of matrix backends are kept; `nil` for nowhere.
    package var cacheDirectory: String?

    package init() {}

    /// Makes this process compute with the threads asked for.
    package func applyThreads() { Workers.count = threads }

    /// Lays out the parameters of a model that runs in this precision.
    package func allocate(_ store: ParameterStore, gradients: Bool) {
        store.allocate(seed: TrainingWorkload.seed, gradients: gradients, activations: precision.activations)
    }
}
