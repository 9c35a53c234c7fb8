// What lanes carry from batch to batch is in the checkpoint, whole, whoever wrote it.

import Foundation
import Testing
import TestSupport

@Suite struct LaneMemoryTests {
    @Test("the state of all lanes, written by two ranks, is shown")
    func inspected() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.carried, "run", in: scratch, "steps=4", "evaluation.every=never")
            try run.train(ranks: 2)
            let shown = try MPIRun.runAlone(executable: "mneme", arguments: ["memory", "inspect", run.directory, "--json"])
            #expect(shown.status == 0, "\(shown.standardError)")
            let rows = try #require(try JSONSerialization.jsonObject(with: Data(shown.standardOutput.utf8)) as? [[String: Any]])
            #expect(rows.count == 4, "hidden state and cell of two layers")
            for row in rows {
                #expect(row["lifetime"] as? String == "lane" && row["lanes"] as? Int == 8 && row["shape"] as? [Int] == [48])
                #expect(try #require(row["maximum"] as? Double) > 0 && #require(row["minimum"] as? Double) < 0)
            }
            let text = try MPIRun.runAlone(executable: "mneme", arguments: ["memory", "inspect", run.directory]).standardOutput
            #expect(text.contains("48 units, lifetime lane, initially 0; 8 lanes hold"))
        }
    }
}
