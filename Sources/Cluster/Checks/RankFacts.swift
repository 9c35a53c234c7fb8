// What a rank knows of itself and of its node: what the checks look at.

import Collectives
import Diagnostics
import Foundation
import Kernels
import Machine
import Tensors
import Training

/// The facts of one rank. Checks are functions of the facts of all ranks, so that tests can make them up.
package struct RankFacts: Codable, Sendable, Equatable {
    /// A limit of a control group, for all processes that have the same group.
    package struct Limit: Codable, Sendable, Equatable {
        package var group: String
        /// Bytes, or cores' worth of time.
        package var amount: Double
        /// What is left of it.
        package var free: Double

        package init(group: String, amount: Double, free: Double) { (self.group, self.amount, self.free) = (group, amount, free) }
    }

    package var rank = 0
    package var node = ""
    package var processors: Processors
    /// What started the rank; `nil` where it was no launcher of MPI.
    package var launcher: LaunchingProcess?
    package var perTask: ProcessorsPerTask?
    package var quota: Limit?
    package var memory: MachineMemory?
    package var memoryLimit: Limit?
    /// Worker threads of the rank, as a run would have them.
    package var threads = 1

    package var version = MnemeVersion.current
    /// A hash of the executable file.
    package var program = ""
    package var instructionSet = ""
    /// What matrices are multiplied with.
    package var matrixLibraries = ""
    /// The MPI library with its version, or why there is none: a process that no launcher started says which it would take.
    package var mpi = ""
    /// Its file, and whose binary interface it is called by.
    package var mpiLibrary: String?
    package var mpiBinaryInterface: String?
    /// What the MPI library allows of threads; `nil` without it.
    package var threadLevel: String?
    /// The shared libraries that the rank has loaded.
    package var libraries: [String] = []
    /// Processes of the node that ran or wanted to, over the last minute.
    package var loadAverage = 0.0
    /// The most files that it may have open.
    package var openFiles = 0

    /// Reads the facts of this process and its machine.
    /// - Parameters:
    ///   - files: the machine's, or made up ones.
    ///   - environment: the process's.
    package init(_ files: SystemFiles = SystemFiles(), environment: [String: String]) {
        let groups = ControlGroups(files)
        processors = Processors(files, groups: groups)
        launcher = LaunchingProcess(files)
        perTask = ProcessorsPerTask(environment: environment)
        quota = groups.quota.map { Limit(group: $0.group, amount: $0.processors, free: $0.processors) }
        memory = MachineMemory(files)
        memoryLimit = groups.memory.map { Limit(group: $0.group, amount: Double($0.limit), free: Double($0.free)) }
        libraries = loadedLibraries(files)
        loadAverage = files.word("/proc/loadavg")?.split(separator: " ").first.flatMap { Double($0) } ?? 0
        let limits = (files.text("/proc/self/limits") ?? "").split(separator: "\n").first { $0.hasPrefix("Max open files") }
        openFiles = limits?.dropFirst("Max open files".count).split(separator: " ").first.map { Int($0) ?? .max } ?? .max
    }

    /// The facts of all ranks, by rank. Collective.
    /// - Parameter loadAverage: before anything was measured; `nil` for that of now.
    package static func gathered(
        _ communicator: any Communicator, _ files: SystemFiles = SystemFiles(), environment: [String: String], loadAverage: Double? = nil
    ) throws -> [RankFacts] {
        // Before the libraries of the process are listed.
        let library = Result { try MPILibrary.load(environment: environment) }
        var own = RankFacts(files, environment: environment)
        own.loadAverage = loadAverage ?? own.loadAverage
        (own.rank, own.node) = (communicator.rank, communicator.nodeName)
        own.threads = try communicator.workerThreads(requested: nil).threads
        own.program = ProgramIdentity.fingerprint
        own.instructionSet = Kernels.active.instructionSet
        own.matrixLibraries = BackendAgreement.libraries
        switch library {
        case .success(let library): (own.mpi, own.mpiLibrary, own.mpiBinaryInterface) = (library.version, library.path, library.binaryInterface)
        case .failure(let problem): own.mpi = "\(problem)"
        }
        own.threadLevel = (communicator as? MPICommunicator)?.threadLevel
        return try communicator.allGather(Array(try JSONEncoder().encode(own))).map { try JSONDecoder().decode(RankFacts.self, from: Data($0)) }
    }
}

extension [RankFacts] {
    /// The facts by node, in the order of the nodes' first ranks.
    var byNode: [(node: String, ranks: [RankFacts])] {
        var places: [String: Int] = [:]
        var nodes: [(node: String, ranks: [RankFacts])] = []
        for facts in self {
            if let place = places[facts.node] {
                nodes[place].ranks.append(facts)
            } else {
                places[facts.node] = nodes.count
                nodes.append((facts.node, [facts]))
            }
        }
        return nodes
    }
}
