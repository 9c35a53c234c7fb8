// What a run file asks of the machines that it is to run on.

import Checkpoints
import Collectives
import Diagnostics
import Storage
import Training

/// The needs of a run on the ranks of a job.
package struct RunNeed {
    /// Bytes of each rank before activations.
    package var memory: [Int]
    /// What it keeps in its directory.
    package var checkpoints: CheckpointNeed
    /// The run directory.
    package var directory: String

    /// Builds the run's model without allocating it. Collective.
    ///
    /// - Parameter overrides: as `--set` takes them.
    /// - Throws: `UserError`, the same on every rank: what `mneme train` would refuse before it allocates anything.
    package init(runFile: String, overrides: [String] = [], _ communicator: any Communicator) throws {
        let (size, ranksPerNode) = (communicator.size, try communicator.ranksPerNode())
        let (configuration, need) = try communicator.onEveryRank {
            let configuration = try RunConfiguration(contentsOf: runFile, overrides: overrides)
            let task = try configuration.task.makeTask(configuration, savedIn: nil)
            return (configuration, try MemoryNeed(configuration, task, rank: communicator.rank, size: size, ranksPerNode: ranksPerNode))
        }
        var memory = [Int64](repeating: 0, count: size)
        memory[communicator.rank] = Int64(need.bytes)
        self.memory = try communicator.allReduced(memory, .maximum).map { Int($0) }
        directory = configuration.directory
        checkpoints = CheckpointNeed(configuration, need, shards: configuration.checkpointPerNode ? max(1, size / ranksPerNode) : size)
    }
}

extension CheckpointNeed {
    /// - Parameter shards: files of a checkpoint that hold data.
    package init(_ configuration: RunConfiguration, _ need: MemoryNeed, shards: Int) {
        let parity = configuration.checkpointParity ? need.checkpointBytes / max(shards, 1) : 0
        let present = (try? CheckpointStore(directory: configuration.directory).list().reduce(0) { $0 + $1.byteCount }) ?? 0
        self.init(
            bytes: need.checkpointBytes.addingReportingOverflow(parity).overflow ? .max : need.checkpointBytes + parity, kept: configuration.checkpointKeep, files: shards + 1 + (configuration.checkpointParity ? 1 : 0),
            present: present)
    }
}
