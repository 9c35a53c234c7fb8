// The end of a job's time, as schedulers tell it.

import Foundation
import Testing
import Training

@Suite struct JobDeadlineTests {
    @Test("the command line's word comes first, then the scheduler's command, then its variable")
    func sources() throws {
        let start = Date(timeIntervalSince1970: 1_800_000_000)
        let slurm = ["SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1800003600"]
        let given = try #require(JobDeadline.find(wallTime: 90, start: start, environment: slurm) { _ in nil })
        #expect(given.source == "--wall-time" && given.end == start.addingTimeInterval(90))
        let variable = try #require(JobDeadline.find(wallTime: nil, environment: slurm) { _ in nil })
        #expect(variable.source == "SLURM_JOB_END_TIME" && variable.end?.timeIntervalSince1970 == 1_800_003_600)
        var asked: [[String]] = []
        var answer: String? = "2031-01-02T03:04:05\n"
        let command = try #require(
            JobDeadline.find(wallTime: nil, environment: slurm) {
                asked.append($0)
                return answer
            })
        #expect(command.source == "squeue" && asked == [["squeue", "-h", "-j", "7", "-o", "%e"]])
        let first = try #require(command.end)
        answer = "2031-01-02T03:04:35\n"
        command.refresh()
        #expect(command.end == first.addingTimeInterval(30))
        answer = nil
        command.refresh()
        #expect(command.end == first.addingTimeInterval(30))
        for nothing in ["N/A", "NONE", "Unknown", ""] {
            #expect(JobDeadline.find(wallTime: nil, environment: ["SLURM_JOB_ID": "7"]) { _ in nothing } == nil)
        }
        #expect(JobDeadline.find(wallTime: nil, environment: [:]) { _ in "1" } == nil)
    }

    @Test("Flux and PBS say what is left")
    func others() throws {
        let flux = try #require(JobDeadline.find(wallTime: nil, environment: ["FLUX_JOB_ID": "f1"]) { _ in "3600\n" })
        #expect(abs(flux.secondsLeft - 3600) < 60)
        for unlimited in ["4294967295", "infinity", "nan"] {
            #expect(JobDeadline.find(wallTime: nil, environment: ["FLUX_JOB_ID": "f1"]) { _ in unlimited } == nil, "\(unlimited)")
        }
        let text = "Job Id: 12.server\n    Resource_List.walltime = 24:00:00\n    resources_used.walltime = 01:30:00\n"
        #expect(JobDeadline.pbsTimeLeft(text) == 81_000)
        #expect(JobDeadline.pbsTimeLeft("    Resource_List.walltime = 600\n") == 600)
        #expect(JobDeadline.pbsTimeLeft("    Resource_List.walltime = soon\n") == nil && JobDeadline.pbsTimeLeft("") == nil)
    }

    @Test(
        "times as people write them",
        arguments: [
            ("45s", 45.0), ("90m", 5400), ("1.5h", 5400), ("2d", 172_800), ("23:50:00", 85_800), ("1-12:00:00", 129_600), ("100:00:00", 360_000),
            ("", nil), ("h", nil), ("12", nil), ("1:2:3", nil), ("-5m", nil), ("nanh", nil), ("infs", nil), ("5w", nil),
        ])
    func times(_ text: String, _ seconds: Double?) { #expect(JobDeadline.seconds(of: text) == seconds) }

    @Test("a command that fails, is not there or prints nothing is no answer")
    func commands() {
        #expect(JobDeadline.output(["echo", "12"]) == "12\n")
        #expect(JobDeadline.output(["false"]) == nil && JobDeadline.output(["mneme-no-such-command"]) == nil)
    }
}
