import Foundation
import TestSupport
import Testing

/// `mneme bench tape`.
@Suite struct TapeBenchmarkTests {
    private let shortly = ["--seconds", "0", "--steps", "1", "--warm-up", "0"]

    @Test func oneObjectALine() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "tape", "--json"] + shortly)
        #expect(run.status == 0, "\(run.standardError)")
        let lines = run.standardOutput.split(separator: "\n")
        #expect(!lines.isEmpty)
        for line in lines {
            let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
            #expect(object?["workload"] as? String == "tape" && (object?["nanoseconds_both"] as? Double).map { $0 > 0 } == true)
        }
    }

    @Test func textForPeople() throws {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "tape"] + shortly)
        #expect(run.status == 0 && run.standardOutput.contains("ns forward and backward"))
    }
}
