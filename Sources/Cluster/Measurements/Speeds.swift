// What ranks get of a node that compute at the same time: work over time, not the best moment of one of them.

import Collectives
import Kernels
import Tensors
import Training

/// A speed over all ranks.
package struct Speed: Codable, Sendable, Equatable {
    /// The slowest and the fastest rank's.
    package var minimum: Double
    package var maximum: Double
    /// All ranks' together.
    package var total: Double
}

/// A speed with one thread a rank, and with all that the ranks have.
package struct Speeds: Codable, Sendable, Equatable {
    package var oneThread: Speed
    package var allThreads: Speed

    /// Measures a speed of all ranks at the same time. Collective.
    ///
    /// - Parameters:
    ///   - threads: of this rank.
    ///   - measure: gets what lets ranks begin together; returns the rank's speed from then on.
    package static func measured(
        _ communicator: any Communicator, threads: Int, _ measure: (_ together: () throws -> Void) throws -> Double
    ) throws -> Speeds {
        func speed(_ count: Int) throws -> Speed {
            Workers.count = count
            let value = try measure { try communicator.barrier() } / 1e9
            let ends = try communicator.allReduced([value, -value], .minimum)
            return Speed(minimum: ends[0], maximum: -ends[1], total: try communicator.allReduced(value, .sum))
        }
        let several = try communicator.allReduced(threads, .maximum) > 1
        let one = try speed(1)
        return Speeds(oneThread: one, allThreads: several ? try speed(threads) : one)
    }
}
