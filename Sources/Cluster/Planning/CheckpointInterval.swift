// How often to save, and what is left of the time, on machines that fail now and then.

import Foundation

/// Checkpoints against failures that come at random, once in `meanTimeBetweenFailures` on average.
///
/// Sources: Young 1974, "A first order approximation to the optimum checkpoint interval"; Daly 2006, "A higher order estimate of the optimum checkpoint
/// interval for restart dumps".
package struct CheckpointInterval: Sendable, Equatable {
    /// Seconds that a save keeps training from going on.
    package var save: Double
    /// Seconds from a failure until training goes on from the newest checkpoint.
    package var restart: Double
    /// Seconds, of the whole job.
    package var meanTimeBetweenFailures: Double

    package init(save: Double, restart: Double, meanTimeBetweenFailures: Double) {
        (self.save, self.restart, self.meanTimeBetweenFailures) = (save, restart, meanTimeBetweenFailures)
    }

    /// Seconds of work between two saves: sqrt(2 save M).
    package var young: Double { (2 * save * meanTimeBetweenFailures).squareRoot() }

    /// Seconds of work between two saves, of higher order.
    package var daly: Double {
        guard save < 2 * meanTimeBetweenFailures else { return meanTimeBetweenFailures }
        let part = (save / (2 * meanTimeBetweenFailures)).squareRoot()
        return young * (1 + part / 3 + part * part / 9) - save
    }

    /// The share of the time that is work which stays, with so many seconds of work between two saves.
    package func goodput(interval: Double) -> Double {
        guard interval > 0 else { return 0 }
        let mean = meanTimeBetweenFailures
        return interval / (mean * exp(restart / mean) * expm1((interval + save) / mean))
    }
}
