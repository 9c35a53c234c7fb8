// `mneme goodput`

import ArgumentParser
import Diagnostics
import Foundation
import Storage
import Training

struct GoodputCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "goodput",
        abstract: "Say where the time of a run went, over all its sessions.",
        discussion: """
            A session brings goodput.json in the run directory up to date at each checkpoint and at its end; seconds are means over its ranks. What a
            killed session did after its last checkpoint is not known; the steps that were done again are.

            Examples:
              mneme goodput checkpoints/copy-lstm
            """)

    @Argument(help: "A run directory.")
    var path: String

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        guard Directory.exists(path) == .directory else {
            throw UserError(.missingInput, "there is no such directory", at: path, advice: "name a run directory")
        }
        let goodput = RunGoodput(of: path)
        guard !goodput.sessions.isEmpty else {
            throw UserError(.missingInput, "no session has recorded its goodput", at: path, advice: "sessions do so at their checkpoints and at their end")
        }
        if json { return try JSONOutput.print(goodput) }
        try print("session began         ranks           steps   productive, s     ranks      data    saving evaluating  starting     other  again")
        for session in goodput.sessions {
            let seconds = [
                session.productive, session.waitingForRanks, session.waitingForData, session.saving, session.evaluating, session.starting, session.other,
            ].map { Self.padded(String(format: "%.1f", $0), 10) }
            let steps = Self.padded("\(session.firstStep)-\(session.lastStep)", 16)
            try print("\(session.began.padding(toLength: 21, withPad: " ", startingAt: 0))\(Self.padded("\(session.ranks)", 6))\(steps)      \(seconds.joined())\(Self.padded("\(session.repeatedSteps)", 7))")
        }
        try print(goodput.line)
    }

    private static func padded(_ text: String, _ width: Int) -> String { String(repeating: " ", count: max(0, width - text.count)) + text }
}
