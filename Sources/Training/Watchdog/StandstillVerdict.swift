// Who keeps the others waiting.

import Collectives

/// What a rank that waits makes of the ledgers of all ranks.
package enum StandstillVerdict: Equatable {
    /// Somebody has not come yet and is within his own limit: wait.
    case patience
    /// The session cannot go on, and why.
    case end(String)

    /// - Parameters:
    ///   - mine: the rank that waits in a collective, beyond its limit.
    ///   - answers: what the others have answered, by rank; `nil` for the rank itself, and for those that do not answer.
    ///   - peers: every rank.
    package init(mine: RankReport, answers: [RankReport?], peers: [LedgerExchange.Peer]) {
        let mute = peers.filter { $0.rank != mine.rank && answers[$0.rank] == nil }.map {
            "rank \($0.rank) (\($0.node), process \($0.process)) does not answer: it is stopped, its node is down or the link to it is cut"
        }
        let late = answers.compactMap { $0 }.filter { $0.entry.sequence < mine.entry.sequence }
        let stuck = late.filter { $0.still > $0.limit }.map { report in
            "rank \(report.rank) (\(report.node), process \(report.process)) has not come to it and does not move: \(Self.place(report))"
        }
        let guilty = mute + stuck
        guard !guilty.isEmpty || late.isEmpty else {
            self = .patience
            return
        }
        let waiting =
            "nothing has moved for \(Int(mine.still)) s in \(mine.entry.collective) \(mine.entry.sequence) (\(mine.entry.bytes) bytes), "
            + "step \(mine.entry.step), \(mine.entry.sections.joined(separator: " > "))"
        let shown = guilty.prefix(4).joined(separator: "; ") + (guilty.count > 4 ? "; and \(guilty.count - 4) more" : "")
        self = .end("\(waiting): " + (guilty.isEmpty ? "all ranks have come to it, so the network or the MPI library stands still" : shown))
    }

    private static func place(_ report: RankReport) -> String {
        let entry = report.entry
        let last = entry.isInside ? "in \(entry.collective) \(entry.sequence)" : "after \(entry.collective) \(entry.sequence)"
        return "it has been in \(entry.sections.joined(separator: " > ")) \(last) for \(Int(report.still)) s"
    }
}
