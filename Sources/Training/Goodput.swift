// Where the time of a run went, over all its sessions: goodput.json.

import Collectives
import Diagnostics
import Foundation
import Storage

/// The seconds of one session, the mean over its ranks, by what they were for.
public struct SessionGoodput: Codable, Sendable, Equatable {
    /// When the session began, UTC, ISO 8601.
    public var began: String
    /// Ranks.
    public var ranks: Int
    /// The step that the session took up.
    public var firstStep: Int
    /// The last step that is accounted for.
    public var lastStep: Int
    /// Steps of this session that one before had done already, and lost.
    public var repeatedSteps: Int
    /// Forward and backward passes and updates.
    public var productive = 0.0
    /// In collectives of steps: for slower ranks, and for the network.
    public var waitingForRanks = 0.0
    /// For batches.
    public var waitingForData = 0.0
    /// For checkpoints, so far as training stood still.
    public var saving = 0.0
    /// Evaluations.
    public var evaluating = 0.0
    /// Before the first step: reading corpora and checkpoints, choosing backends.
    public var starting = 0.0
    /// Logging and all else.
    public var other = 0.0

    /// All seconds.
    public var total: Double { productive + waitingForRanks + waitingForData + saving + evaluating + starting + other }

    /// Seconds of steps that had to be done again.
    public var repeated: Double {
        let steps = lastStep - firstStep
        return steps > 0 ? (productive + waitingForRanks + waitingForData) * Double(min(repeatedSteps, steps)) / Double(steps) : 0
    }

    /// The figures by name, in the order of a report.
    public var parts: [(name: String, seconds: Double)] {
        [
            ("productive", productive - repeated * productive / max(productive + waitingForRanks + waitingForData, 1e-9)), ("steps done again", repeated),
            ("waiting for ranks", waitingForRanks - repeated * waitingForRanks / max(productive + waitingForRanks + waitingForData, 1e-9)),
            ("waiting for data", waitingForData - repeated * waitingForData / max(productive + waitingForRanks + waitingForData, 1e-9)),
            ("saving", saving), ("evaluating", evaluating), ("starting", starting), ("other", other),
        ]
    }
}

/// The goodput of a run.
public struct RunGoodput: Codable, Sendable, Equatable {
    static let fileName = "goodput.json"

    /// The sessions, oldest first.
    public var sessions: [SessionGoodput] = []

    /// No session.
    public init() {}

    /// Reads that of a run directory; one without sessions where there is none that can be read: it is a record, not a state.
    public init(of directory: String) {
        self = (try? DurableFile.read("\(directory)/\(Self.fileName)")).flatMap { try? JSONDecoder().decode(RunGoodput.self, from: Data($0)) } ?? RunGoodput()
    }

    /// Seconds by what they were for, over all sessions, in the order of a report.
    public var parts: [(name: String, seconds: Double)] {
        sessions.map(\.parts).reduce(into: SessionGoodput(began: "", ranks: 0, firstStep: 0, lastStep: 0, repeatedSteps: 0).parts) { sums, parts in
            for index in sums.indices { sums[index].seconds += parts[index].seconds }
        }
    }

    /// One line: the share of productive time, and where the rest went.
    public var line: String {
        let total = max(parts.reduce(0) { $0 + $1.seconds }, 1e-9)
        let rest = parts.dropFirst().filter { $0.seconds >= 0.001 * total }.sorted { $0.seconds > $1.seconds }
        return String(format: "goodput %.1f %% of %.0f s in %@", 100 * parts[0].seconds / total, total, quantity(sessions.count, "session"))
            + (rest.isEmpty ? "" : "; ") + rest.map { String(format: "%@ %.1f %%", $0.name, 100 * $0.seconds / total) }.joined(separator: ", ")
    }
}

/// Keeps the goodput of the session under way.
package final class GoodputLedger {
    private let ledger: Ledger
    private let communicator: any Communicator
    /// Rank 0's record; `nil` on others.
    private var run: RunGoodput?
    private var session: SessionGoodput
    private let directory: String

    /// - Parameters:
    ///   - lastKnown: the last step that the sessions before are known to have done. Rank 0 knows it.
    package init(_ ledger: Ledger, _ communicator: any Communicator, directory: String, step: Int, lastKnown: Int) {
        (self.ledger, self.communicator, self.directory) = (ledger, communicator, directory)
        run = communicator.rank == 0 ? RunGoodput(of: directory) : nil
        if step == 0 { run?.sessions = [] }
        session = SessionGoodput(
            began: Date.now.formatted(.iso8601), ranks: communicator.size, firstStep: step, lastStep: step, repeatedSteps: max(0, lastKnown - step))
    }

    /// Brings the record up to date. Collective.
    /// - Returns: the run's line, on rank 0.
    package func record(step: Int) throws -> String? {
        var seconds = [Double](repeating: 0, count: 7)
        for (section, spent) in ledger.spent {
            let (own, waiting) = (spent.own / .seconds(1), spent.waiting / .seconds(1))
            switch section {
            case "step":
                seconds[0] += own
                seconds[1] += waiting
            case "data": seconds[2] += own + waiting
            case "save", "publish", "wait for the checkpoint": seconds[3] += own + waiting
            case "evaluation": seconds[4] += own + waiting
            case "start", "restore", "rehearsal": seconds[5] += own + waiting
            default: seconds[6] += own + waiting
            }
        }
        let mean = try communicator.allReduced(seconds, .sum).map { $0 / Double(communicator.size) }
        session.lastStep = step
        (session.productive, session.waitingForRanks, session.waitingForData, session.saving) = (mean[0], mean[1], mean[2], mean[3])
        (session.evaluating, session.starting, session.other) = (mean[4], mean[5], mean[6])
        guard var run else { return nil }
        run.sessions.append(session)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        // A record that cannot be written costs no run.
        if let bytes = try? encoder.encode(run) { try? DurableFile.replace("\(directory)/\(RunGoodput.fileName)", by: Array(bytes) + [UInt8(ascii: "\n")]) }
        return run.line
    }
}
