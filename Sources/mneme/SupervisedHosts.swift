// The hosts that a supervised run is started on, and whether they answer.

import Diagnostics
import Foundation
import Storage
import Training

/// Asks hosts for a sign of life, and names those that are to be used to the launcher.
final class SupervisedHosts {
    /// How long a host may take to answer, in seconds.
    private static let limit = 20.0

    private var pool: HostPool
    private let requests: StopRequests
    private let environment: [String: String]
    private let hostFile: String

    /// The hosts of the environment; `nil` where there is but one, or no list of them.
    /// - Throws: `UserError` where a list cannot be read, or there are not enough hosts for the spares.
    init?(environment: [String: String], spares: Int, requests: StopRequests) throws {
        (self.environment, self.requests) = (environment, requests)
        hostFile = NSTemporaryDirectory() + "mneme-hosts-\(ProcessInfo.processInfo.processIdentifier)"
        let file = ["MNEME_HOSTFILE", "PBS_NODEFILE", "LSB_DJOB_HOSTFILE"].lazy.compactMap { environment[$0] }.first { !$0.isEmpty }
        var text: String?
        if let file {
            text = String(decoding: try DurableFile.read(file), as: UTF8.self)
        } else if environment["SLURM_JOB_NODELIST"] != nil {
            text = JobDeadline.output(["scontrol", "show", "hostnames"])
        }
        guard let text else {
            guard spares == 0 else {
                throw UserError(
                    .usage, "there is no list of hosts of which any could be spared", at: "--spares",
                    advice: "name a host file in MNEME_HOSTFILE, or start it in a job of Slurm, PBS or LSF")
            }
            return nil
        }
        pool = try HostPool(hostFile: text, spares: spares)
        if pool.used.count == 1, spares == 0 { return nil }
    }

    deinit { unlink(hostFile) }

    /// Tells the launcher which hosts to use, where it would use others.
    /// - Throws: `UserError` (.unavailable) where none is left.
    func choose() throws {
        guard !pool.used.isEmpty else {
            throw UserError(.unavailable, "every host has failed twice", advice: "look at the hosts, and hand the job in again: it goes on from its last checkpoint")
        }
        guard pool.isChanged else { return }
        try DurableFile.replace(hostFile, by: Array(pool.hostFile.utf8))
        setenv("MNEME_HOSTFILE", hostFile, 1)
    }

    /// Counts the hosts that a session's last words blame, and leaves those out that do not answer twice.
    ///
    /// - Parameters:
    ///   - message: the last words, if any.
    ///   - backOff: seconds between two questions to a host.
    /// - Returns: whether any host has failed.
    func settle(message: String?, backOff: Double) throws -> Bool {
        var haveFailed = false
        func fail(_ name: String, _ reason: String) {
            CommandLineOutput.note("mneme supervise: \(pool.fail(name, reason))")
            haveFailed = true
        }
        let blamed = pool.blamed(in: message ?? "")
        var silent = try silentHosts()
        for name in blamed where !silent.contains(name) { fail(name, "has kept the others waiting") }
        while !silent.isEmpty, requests.count == 0 {
            for name in silent { fail(name, "does not answer") }
            let end = Date().addingTimeInterval(backOff)
            while Date() < end, requests.count == 0 { requests.wait(seconds: 0.1) }
            silent = try silentHosts()
        }
        return haveFailed
    }

    /// Which of the hosts in use do not answer.
    private func silentHosts() throws -> [String] {
        let nothing = open("/dev/null", O_WRONLY)
        defer { close(nothing) }
        let own = [ProcessInfo.processInfo.hostName, "localhost"]
        var asked = try pool.used.filter { !own.contains($0.name) }.map { (name: $0.name, question: try ChildCommand(question(to: $0.name), output: nothing)) }
        var silent: [String] = []
        let end = Date().addingTimeInterval(Self.limit)
        while !asked.isEmpty {
            requests.wait(seconds: 0.02)
            let isLate = Date() > end || requests.count > 0
            asked = try asked.filter { name, question in
                guard let code = try question.ended() else {
                    if isLate {
                        silent.append(name)
                        // The second request kills.
                        question.stop()
                        question.stop()
                    }
                    return !isLate
                }
                if code != 0 { silent.append(name) }
                return false
            }
        }
        return pool.used.map(\.name).filter(silent.contains)
    }

    /// What a host is asked: to do nothing.
    private func question(to host: String) -> [String] {
        if let agent = environment["MNEME_AGENT"], !agent.isEmpty { return agent.split(separator: " ").map(String.init) + [host, "true"] }
        if environment["SLURM_JOB_ID"] != nil { return ["srun", "--overlap", "--quiet", "-N1", "-n1", "-w", host, "true"] }
        return ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", host, "true"]
    }
}
