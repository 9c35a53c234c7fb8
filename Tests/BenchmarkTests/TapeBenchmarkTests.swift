import Foundation
import TestSupport
import Testing
import Training

/// `mneme bench tape`, run as a program.
@Suite struct TapeBenchmarkTests {
    @Test func everyOperationHasItsTimes() throws {
        let run = try MPIRun.runAlone(
            executable: "mneme", arguments: ["bench", "tape", "--json", "--seconds", "0", "--steps", "40", "--warm-up", "1"])
        #expect(run.status == 0, "\(run.standardError)")
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        let figures = try run.standardOutput.split(separator: "\n").map { try decoder.decode(TapeFigures.self, from: Data($0.utf8)) }
        #expect(figures.count == 9 && Set(figures.map(\.length)) == [32, 10_000])
        for one in figures {
            #expect(one.workload == "tape" && one.nanosecondsRecorded > 0 && one.nanosecondsBoth > one.nanosecondsRecorded, "\(one.operation)")
        }
        let text = try MPIRun.runAlone(executable: "mneme", arguments: ["bench", "tape", "--seconds", "0", "--steps", "1"])
        #expect(text.standardOutput.contains("ns recorded") && text.standardOutput.contains("softmax of scores"))
    }
}
