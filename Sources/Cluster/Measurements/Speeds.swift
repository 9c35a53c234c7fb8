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

    /// Measures speeds of all ranks at the same time, in rounds: a machine that others share is slower for some seconds and then faster. Collective.
    ///
    /// - Parameters:
    ///   - threads: of this rank.
    ///   - measures: each gets what lets ranks begin together; returns the rank's speed from then on.
    /// - Returns: of each measure, the means of three rounds.
    package static func measured(
        _ communicator: any Communicator, threads: Int, _ measures: [(_ together: () throws -> Void) throws -> Double]
    ) throws -> [Speeds] {
        let rounds = 3
        let counts = try communicator.allReduced(threads, .maximum) > 1 ? [1, threads] : [1]
        var means = [[Double]](repeating: [Double](repeating: 0, count: counts.count), count: measures.count)
        for _ in 0..<rounds {
            for (kind, measure) in measures.enumerated() {
                for (place, count) in counts.enumerated() {
                    Workers.count = count
                    means[kind][place] += try measure { try communicator.barrier() } / Double(rounds) / 1e9
                }
            }
        }
        func speed(_ value: Double) throws -> Speed {
            let ends = try communicator.allReduced([value, -value], .minimum)
            return Speed(minimum: ends[0], maximum: -ends[1], total: try communicator.allReduced(value, .sum))
        }
        return try means.map { Speeds(oneThread: try speed($0[0]), allThreads: try speed($0[$0.count - 1])) }
    }
}
