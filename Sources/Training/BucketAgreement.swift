// One size of gradient buckets for all ranks and all sessions of a run: where they are cut may show in the last bits of a sum.

import Collectives
import Diagnostics
import Foundation
import Storage

/// The bucket sizes of a run, as `gradient-buckets.json` in its directory holds them: one for each number and place of ranks that it ran on.
struct BucketAgreement {
    /// A size, and where it was measured.
    private struct Record: Codable, Equatable {
        var ranks: Int
        /// Ranks of each node; 1 where nodes have unequal numbers.
        var ranksPerNode: Int
        /// Whether gradients are summed along the fixed tree.
        var reproducible: Bool
        /// What was measured and chosen.
        var size: BucketSize
    }

    /// Bytes of a bucket.
    let bytes: Int
    /// The records to keep; `nil` where there is nothing new.
    private let records: [Record]?

    /// Finds the size that the run file gives, that an earlier session measured on as many ranks, or that is measured now. Collective.
    ///
    /// A gradient that is no larger than the usual bucket travels whole, and nothing is measured.
    ///
    /// - Parameters:
    ///   - gradientBytes: of the whole gradient.
    ///   - fresh: whether what earlier sessions measured counts no more.
    ///   - report: takes lines for the user, on rank 0.
    /// - Throws: `UserError`, the same on every rank.
    init(
        _ configuration: RunConfiguration, _ communicator: any Communicator, gradientBytes: Int, ranksPerNode: Int, fresh: Bool, report: (String) -> Void
    ) throws {
        if let bytes = configuration.parallel.bucketBytes {
            (self.bytes, records) = (bytes, nil)
            return
        }
        guard communicator.size > 1, gradientBytes > BucketSize.usual else {
            (bytes, records) = (BucketSize.usual, nil)
            return
        }
        var stored: [UInt8] = []
        let path = "\(configuration.directory)/\(RunDirectory.bucketsFile)"
        if communicator.rank == 0, !fresh, Directory.exists(path) != nil {
            // A record of measurements is no reason to keep a run from starting.
            do { stored = try DurableFile.read(path) } catch { report("\(error): bucket sizes are measured again, and the last bits may differ") }
        }
        stored = try communicator.broadcasted(stored, root: 0)
        var records = (try? JSONDecoder().decode([Record].self, from: Data(stored))) ?? []
        if records.isEmpty, !stored.isEmpty, communicator.rank == 0 {
            report("\(path): is no record of bucket sizes: they are measured again, and the last bits may differ")
        }
        let reproducible = configuration.parallel.reproducible
        let place = (communicator.size, ranksPerNode, reproducible)
        if let known = records.first(where: { ($0.ranks, $0.ranksPerNode, $0.reproducible) == place }) {
            (bytes, self.records) = (known.size.bytes, nil)
            return
        }
        let size = try BucketSize.measured(communicator, gradientBytes: gradientBytes, mode: reproducible ? .reproducible : .started)
        records.append(Record(ranks: communicator.size, ranksPerNode: ranksPerNode, reproducible: reproducible, size: size))
        (bytes, self.records) = (size.bytes, records)
    }

    /// Keeps what was measured in the run directory. To be called by rank 0, once the directory is this session's own.
    func store(in directory: String) throws {
        guard let records else { return }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        try DurableFile.replace("\(directory)/\(RunDirectory.bucketsFile)", by: try encoder.encode(records) + Data("\n".utf8))
    }
}
