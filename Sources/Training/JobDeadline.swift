// When the scheduler will end the job that a session runs in.

import Foundation

/// The end of a job's time, from whoever knows it: the command line, the scheduler's variable, or its own command, which is asked again now and then,
/// since operators extend and shorten limits.
public final class JobDeadline {
    /// Where the end is known from: `--wall-time`, `SLURM_JOB_END_TIME`, `squeue`, `flux job timeleft`, `qstat`.
    public let source: String
    /// When the job ends; `nil` where it has no limit.
    public private(set) var end: Date?
    private let ask: () -> Date?

    private init?(_ source: String, _ ask: @escaping () -> Date?) {
        guard let end = ask() else { return nil }
        (self.source, self.end, self.ask) = (source, end, ask)
    }

    /// Asks who knows it for the end of the job's time.
    /// - Parameters:
    ///   - wallTime: seconds from `start` on, as the command line says; comes before what a scheduler says.
    ///   - environment: the scheduler's variables.
    ///   - output: what a command prints; `nil` where it cannot be run or fails.
    /// - Returns: `nil` where nobody knows of an end.
    public static func find(
        wallTime: Double?, start: Date = Date(), environment: [String: String], output: @escaping ([String]) -> String? = JobDeadline.output
    ) -> JobDeadline? {
        if let wallTime { return JobDeadline("--wall-time") { start.addingTimeInterval(wallTime) } }
        if let job = environment["SLURM_JOB_ID"] {
            // The command knows of a limit that was changed; the variable, which Slurm 23.02 brought, does not.
            return JobDeadline("squeue") { output(["squeue", "-h", "-j", job, "-o", "%e"]).flatMap(slurmTime) }
                ?? environment["SLURM_JOB_END_TIME"].flatMap(Double.init).flatMap { seconds in
                    JobDeadline("SLURM_JOB_END_TIME") { Date(timeIntervalSince1970: seconds) }
                }
        }
        if environment["FLUX_JOB_ID"] != nil {
            return JobDeadline("flux job timeleft") { output(["flux", "job", "timeleft"]).flatMap(fluxTimeLeft).map { Date(timeIntervalSinceNow: $0) } }
        }
        if let job = environment["PBS_JOBID"] {
            return JobDeadline("qstat") { output(["qstat", "-f", job]).flatMap(pbsTimeLeft).map { Date(timeIntervalSinceNow: $0) } }
        }
        return nil
    }

    /// Asks again. Where there is no answer, the one before stays.
    public func refresh() { end = ask() ?? end }

    /// Seconds until the job ends.
    public var secondsLeft: Double { end?.timeIntervalSinceNow ?? .infinity }

    /// The seconds of `45s`, `90m`, `24h`, `2d`, `23:50:00` and `1-12:00:00`; `nil` for any other text.
    public static func seconds(of text: String) -> Double? {
        let units: [Character: Double] = ["s": 1, "m": 60, "h": 3600, "d": 86400]
        if let unit = text.last.flatMap({ units[$0] }) { return Double(text.dropLast()).flatMap { $0 >= 0 && $0.isFinite ? $0 * unit : nil } }
        guard let match = text.wholeMatch(of: /(?:(\d{1,4})-)?(\d{1,5}):(\d\d):(\d\d)/) else { return nil }
        let numbers = [match.1 ?? "0", match.2, match.3, match.4].compactMap { Double($0) }
        return numbers[0] * 86400 + numbers[1] * 3600 + numbers[2] * 60 + numbers[3]
    }

    // MARK: What schedulers print

    /// `2026-11-28T13:20:00`, in the time of the place.
    package static func slurmTime(_ text: String) -> Date? {
        let formatter = DateFormatter()
        formatter.locale = Locale(identifier: "en_US_POSIX")
        formatter.dateFormat = "yyyy-MM-dd'T'HH:mm:ss"
        return formatter.date(from: text.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// Whole seconds; a job without a limit has 4,294,967,295 or `infinity`.
    package static func fluxTimeLeft(_ text: String) -> Double? {
        Double(text.trimmingCharacters(in: .whitespacesAndNewlines)).flatMap { $0.isFinite && $0 < Double(UInt32.max) ? $0 : nil }
    }

    /// `Resource_List.walltime` minus `resources_used.walltime`, each `hours:minutes:seconds` or seconds.
    package static func pbsTimeLeft(_ text: String) -> Double? {
        func seconds(_ name: String) -> Double? {
            for line in text.split(separator: "\n") {
                let parts = line.split(separator: "=", maxSplits: 1).map { $0.trimmingCharacters(in: .whitespaces) }
                guard parts.count == 2, parts[0] == name else { continue }
                var sum = 0.0
                for number in parts[1].split(separator: ":") {
                    guard let number = Double(number) else { return nil }
                    sum = sum * 60 + number
                }
                return sum
            }
            return nil
        }
        return seconds("Resource_List.walltime").map { $0 - (seconds("resources_used.walltime") ?? 0) }
    }

    /// What a command prints, if it ends well within five seconds.
    public static func output(_ command: [String]) -> String? {
        let process = Process()
        let pipe = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = command
        (process.standardOutput, process.standardError, process.standardInput) = (pipe, FileHandle.nullDevice, FileHandle.nullDevice)
        let hasEnded = DispatchSemaphore(value: 0)
        process.terminationHandler = { _ in hasEnded.signal() }
        guard (try? process.run()) != nil else { return nil }
        guard hasEnded.wait(timeout: .now() + 5) == .success else {
            process.terminate()
            return nil
        }
        guard process.terminationStatus == 0 else { return nil }
        return (try? pipe.fileHandleForReading.readToEnd()).flatMap { String(decoding: $0, as: UTF8.self) }
    }
}
