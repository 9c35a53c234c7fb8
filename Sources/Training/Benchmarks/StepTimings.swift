// Times a step again and again, and counts what it asks of the system meanwhile.

import Collectives
import Tensors

/// The times of timed steps, those of the slowest rank, and what the steps of this rank asked of the system.
package struct StepTimings: Sendable {
    /// Seconds of each timed step, the shortest first.
    package let seconds: [Double]
    /// Blocks that the tensor pool asked of the system, a step.
    package let systemAllocationsPerStep: Double
    /// Pages that the system had to bring for this process, a step.
    package let pageFaultsPerStep: Double

    /// Runs a step until there are enough timed ones. Collective.
    ///
    /// - Parameter step: gets the step's number, from 1, those of the warm-up included.
    package static func measured(
        _ settings: BenchmarkSettings, _ communicator: any Communicator, step: (_ number: Int) throws -> Void
    ) throws -> StepTimings {
        for number in 0..<settings.warmUpSteps { try step(number + 1) }
        var seconds: [Double] = []
        seconds.reserveCapacity(1 << 16)
        try communicator.barrier()
        let (allocations, faults) = (MemoryPool.shared.statistics.systemAllocations, ProcessorMeasurement.pageFaults)
        var (total, isEnough) = (0.0, false)
        while !isEnough {
            let start = ContinuousClock.now
            try step(settings.warmUpSteps + seconds.count + 1)
            let time = start.duration(to: .now).seconds
            seconds.append(time)
            total += time
            let isLong = seconds.count >= settings.minimumSteps && total >= settings.seconds
            isEnough = try communicator.allReduced(isLong ? 1 : 0, .maximum) == 1
        }
        let count = Double(seconds.count)
        let allocationsPerStep = Double(MemoryPool.shared.statistics.systemAllocations - allocations) / count
        let faultsPerStep = Double(ProcessorMeasurement.pageFaults - faults) / count
        return StepTimings(
            seconds: try communicator.allReduced(seconds, .maximum).sorted(), systemAllocationsPerStep: allocationsPerStep,
            pageFaultsPerStep: faultsPerStep)
    }

    /// The time that a share `p` of the steps did not exceed, between two steps in proportion.
    package func quantile(_ p: Double) -> Double { Self.quantile(p, of: seconds) }

    /// The same of any values, the smallest first; at least one.
    package static func quantile(_ p: Double, of values: [Double]) -> Double {
        let place = p * Double(values.count - 1)
        let lower = Int(place)
        let upper = min(lower + 1, values.count - 1)
        return values[lower] + (values[upper] - values[lower]) * (place - Double(lower))
    }
}
