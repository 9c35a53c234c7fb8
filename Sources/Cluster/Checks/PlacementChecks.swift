// Whether ranks have the cores that they are meant to have, and no more threads than those can run.

import Foundation
import Machine

/// Where ranks may run, against what the scheduler gave and what the node has.
package enum PlacementChecks {
    package static func results(_ ranks: [RankFacts]) -> [CheckResult] { [binding(ranks), threads(ranks)] + quota(ranks) }

    /// What binds the ranks, and how to loosen it.
    private static func advice(_ facts: RankFacts) -> String {
        let program = facts.launcher?.program.split(separator: "/").last.map(String.init) ?? ""
        switch program {
        case "slurmstepd": return "give srun -c as well (since 22.05 it does not take it from sbatch), or export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"
        case "hydra_pmi_proxy", "hydra_bstrap_proxy", "mpiexec.hydra": return "give mpiexec -bind-to numa, or -bind-to none"
        case "mpirun", "orterun", "orted", "prterun", "prte", "prted", "mpiexec":
            return "give mpirun --bind-to none, or --map-by ppr:1:numa:PE=N with the cores of a NUMA domain; launch/mpirun does so"
        default: return "let the launcher bind ranks to as many cores as they shall have, or not at all"
        }
    }

    /// The cores that the job has on a node, as far as the system tells: those of its control group, and those of an mpirun, which is part of the job.
    /// A scheduler's daemon may run everywhere; where no group holds the job, it has what its ranks have.
    private static func ofJob(_ facts: RankFacts, used: Set<Int>) -> Set<Int> {
        let group = Set(facts.processors.ofGroup)
        guard let launcher = facts.launcher else { return group }
        if launcher.program.hasSuffix("/slurmstepd") || launcher.program.hasSuffix("/flux-shell") {
            return group.count < facts.processors.online.count ? group : used
        }
        return launcher.allowed.isEmpty ? group : group.intersection(launcher.allowed)
    }

    private static func binding(_ ranks: [RankFacts]) -> CheckResult {
        let name = "binding"
        // A scheduler that promises a number of cores, and ranks that may use fewer.
        for facts in ranks {
            guard let task = facts.perTask, facts.processors.allowed.count < task.count else { continue }
            let same = ranks.filter { $0.perTask == task && $0.processors.allowed.count < task.count }.map(\.rank)
            return .warn(
                name, "\(ranksListed(same)): \(task.variable) is \(task.count), but the rank may use \(cores(facts.processors.allowed))", advice(facts))
        }
        for (node, ranks) in ranks.byNode {
            let used = Set(ranks.flatMap(\.processors.allowed))
            let ofJob = ofJob(ranks[0], used: used)
            let idle = ofJob.subtracting(used)
            if !idle.isEmpty {
                return .warn(
                    name, "\(node): its \(quantityOfRanks(ranks.count)) may use \(cores(used)) of the \(ofJob.count) of the job, so \(processorList(idle)) \(idle.count == 1 ? "is" : "are") idle",
                    advice(ranks[0]))
            }
            // Ranks that are bound, but to the same core.
            let bound = ranks.filter { $0.processors.allowed.count < ofJob.count }
            for (index, facts) in bound.enumerated() {
                let same = bound[index...].filter { $0.processors.allowed == facts.processors.allowed }
                guard same.count > facts.processors.allowed.count else { continue }
                return .warn(name, "\(node): \(ranksListed(same.map(\.rank))) are bound to the same \(cores(facts.processors.allowed))", advice(facts))
            }
        }
        let first = ranks[0].processors
        let domains = first.domains.count > 1 ? ", \(first.domains.count) NUMA domains" : ""
        let isBound = ranks.contains { $0.processors.allowed.count < $0.processors.online.count }
        return .pass(
            name, isBound ? "\(ranksListed([0])) may use \(cores(first.allowed)) of \(first.online.count)\(domains)" : "no rank is bound; \(cores(first.online)) a node\(domains)")
    }

    private static func threads(_ ranks: [RankFacts]) -> CheckResult {
        let name = "threads"
        for (node, ranks) in ranks.byNode {
            let (threads, usable) = (ranks.reduce(0) { $0 + $1.threads }, Set(ranks.flatMap(\.processors.allowed)).count)
            guard threads > usable else { continue }
            return .warn(
                name, "\(node): \(quantityOfRanks(ranks.count)) with together \(threads) threads share \(usable == 1 ? "1 core" : "\(usable) cores")",
                "start at most \(usable) \(usable == 1 ? "rank" : "ranks") on the node: a step waits for the slowest of them")
        }
        let first = ranks[0]
        return .pass(name, "\(first.threads == 1 ? "1 thread" : "\(first.threads) threads") a rank, none more than the cores of its node")
    }

    private static func quota(_ ranks: [RankFacts]) -> [CheckResult] {
        let name = "CPU quota"
        for (node, ranks) in ranks.byNode {
            for facts in ranks {
                guard let quota = facts.quota else { continue }
                let sharers = ranks.filter { $0.quota?.group == quota.group }
                let threads = sharers.reduce(0) { $0 + $1.threads }
                guard Double(threads) > quota.amount + 1e-6 else { continue }
                return [
                    .warn(
                        name,
                        String(
                            format: "%@: the control group %@ gives %.2f cores' worth of time to %@ with %d %@", node, quota.group, quota.amount,
                            quantityOfRanks(sharers.count), threads, threads == 1 ? "thread" : "threads"),
                        "raise the quota (cpu.max, cpu.cfs_quota_us), or start fewer ranks: threads stand still when it is used up")
                ]
            }
        }
        return ranks.compactMap(\.quota).first.map { [.pass(name, String(format: "%.2f cores' worth of time", $0.amount))] } ?? []
    }

    private static func cores(_ numbers: some Collection<Int>) -> String { numbers.count == 1 ? "1 core (\(processorList(numbers)))" : "\(numbers.count) cores (\(processorList(numbers)))" }
    private static func quantityOfRanks(_ count: Int) -> String { count == 1 ? "1 rank" : "\(count) ranks" }
}
