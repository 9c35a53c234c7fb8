// How a command that computes starts and ends: the right BLAS kernels, one communicator, errors that end every rank.

import Collectives
import Diagnostics
import Foundation
import Kernels
import Storage
import Tensors
import Training

enum ProgramStart {
    /// Sets what libraries read from the environment while they load, and executes the process again when that changes anything.
    ///
    /// OpenBLAS chooses its kernels once, while it loads, and an old one does not know a new processor: OPENBLAS_CORETYPE is set when its choice
    /// lies below what the processor can do. The C library keeps 7 freed blocks of a size at hand, fewer than SentencePiece frees for one sentence:
    /// GLIBC_TUNABLES raises that for commands that tokenise much, whose encoding then takes a fifth less time. (Commands that train do without it:
    /// oneDNN frees aligned blocks, which glibc would keep there and never take again.) Values that the user has set are left alone. Must run before
    /// MPI is initialised.
    static func prepareEnvironment(forManySmallBlocks: Bool = false) {
        var changes: [(name: String, value: String)] = []
        if getenv("OPENBLAS_CORETYPE") == nil,
            let wanted = betterCoreType(current: BLAS.coreName, instructionSets: Kernels.available.map(\.instructionSet))
        {
            changes.append(("OPENBLAS_CORETYPE", wanted))
        }
        if forManySmallBlocks, getenv("GLIBC_TUNABLES") == nil { changes.append(("GLIBC_TUNABLES", "glibc.malloc.tcache_count=1000")) }
        guard !changes.isEmpty else { return }
        for change in changes { setenv(change.name, change.value, 1) }
        execv("/proc/self/exe", CommandLine.unsafeArgv)
        // Only reached when the program cannot be executed again: it goes on more slowly.
        for change in changes { unsetenv(change.name) }
    }

    /// The core type to ask for; `nil` when OpenBLAS's own choice is as good.
    static func betterCoreType(current: String, instructionSets: [String]) -> String? {
        let wide = ["skylakex", "cooperlake", "sapphirerapids"]
        let medium = wide + ["haswell", "zen", "excavator", "steamroller", "piledriver"]
        if instructionSets.contains("avx512") { return wide.contains(current.lowercased()) ? nil : "SkylakeX" }
        if instructionSets.contains("avx2") { return medium.contains(current.lowercased()) ? nil : "Haswell" }
        return nil
    }

    /// One line for the user when OpenBLAS runs slower kernels than the processor allows, with what to do; `nil` when it does not.
    static var blasHint: String? {
        let current = BLAS.coreName
        guard let wanted = betterCoreType(current: current, instructionSets: Kernels.available.map(\.instructionSet)) else { return nil }
        guard let forced = ProcessInfo.processInfo.environment["OPENBLAS_CORETYPE"], forced != wanted else {
            return "hint: this OpenBLAS has no kernels for this processor's instruction set and runs its \(current) ones; "
                + "another build of it may be faster"
        }
        return
            "hint: OPENBLAS_CORETYPE=\(forced) makes BLAS run its \(current) kernels, below what this processor can do; unset it (or set \(wanted))"
    }

    /// Runs `body` with this process's communicator: MPI when mpirun or srun started the process, a single process otherwise.
    ///
    /// An error that all ranks share is printed once. An error of one rank alone is printed by it, and ends all ranks.
    /// - Parameter allocatesManySmallBlocks: as `prepareEnvironment` says.
    /// - Returns: never; the process exits with the code that `body` returned or that the error carries.
    static func run(allocatesManySmallBlocks: Bool = false, _ body: (any Communicator) throws -> ExitCode) -> Never {
        prepareEnvironment(forManySmallBlocks: allocatesManySmallBlocks)
        let environment = ProcessInfo.processInfo.environment
        guard MPICommunicator.isLaunchedByMPI(environment: environment) else {
            Foundation.exit(outcome(of: body, SingleProcess()).rawValue)
        }
        do {
            let communicator = try MPICommunicator.initialize(environment: environment)
            let code = outcome(of: body, communicator)
            try communicator.finalize(exitCode: code.rawValue)
            Foundation.exit(code.rawValue)
        } catch {
            CommandLineOutput.error("\(error)")
            Foundation.exit(((error as? UserError)?.exitCode ?? .software).rawValue)
        }
    }

    /// Where what is known of this machine is kept, as the environment says; `nil` without a home.
    static var cacheDirectory: String? { MatrixProductCache.directory(environment: ProcessInfo.processInfo.environment) }

    /// The environment variable that forces a backend of matrix products: `openblas` or `onednn`.
    static let matrixBackendVariable = "MNEME_MATRIX_BACKEND"

    private static func outcome(of body: (any Communicator) throws -> ExitCode, _ communicator: any Communicator) -> ExitCode {
        let environment = ProcessInfo.processInfo.environment
        // The library is loaded here, by the only thread that computes yet; everyone who asks for it later finds it.
        _ = OneDNN.isAvailable
        do {
            try Failpoint.arm(environment["MNEME_FAILPOINT"] ?? "", rank: communicator.rank)
            try chooseKernels(environment["MNEME_INSTRUCTION_SET"] ?? "", communicator)
            try BLAS.validate(coreType: environment[BLAS.coreTypeVariable] ?? "")
            if let name = environment[matrixBackendVariable], !name.isEmpty {
                MatrixProducts.force(try MatrixBackend.named(name, at: matrixBackendVariable))
            }
            Kernels.flushDenormals()
            SystemMemory.keepFreedMemory()
            MappedFile.endProcessOnLoss()
            endAllRanksWithoutMemory(communicator)
            Workers.count = min(try communicator.workerThreads(requested: nil).threads, Workers.largestCount)
            let code = try body(communicator)
            try StandardOutput.finish()
            return code
        } catch let error as UserError {
            try? StandardOutput.flush()
            if error.isShared || communicator.size == 1 {
                if communicator.rank == 0 { CommandLineOutput.error(error.description) }
                return error.exitCode
            }
            CommandLineOutput.error("rank \(communicator.rank): \(error.description)")
            communicator.abort(error.exitCode.rawValue)
        } catch {
            CommandLineOutput.error("rank \(communicator.rank): \(error)")
            communicator.abort(ExitCode.software.rawValue)
        }
    }

    /// Takes the kernels of the instruction set that is asked for, or of the largest one that all ranks have: their last bits differ between sets.
    /// Collective.
    private static func chooseKernels(_ wanted: String, _ communicator: any Communicator) throws {
        var name = wanted.isEmpty ? nil : wanted
        if communicator.size > 1 {
            // A rank that was told what to take does not hold the others back: whether all are alike is for training to ask.
            let known = Kernels.available.map(\.instructionSet)
            let common = try communicator.allReduced(name == nil ? known.count : .max, .minimum)
            if name == nil, common < known.count {
                name = known[common - 1]
                CommandLineOutput.note("rank \(communicator.rank): kernels \(known[common - 1]), the largest set that every rank has")
            }
        }
        try Kernels.choose(instructionSet: name, source: "MNEME_INSTRUCTION_SET")
    }

    /// Lets a rank that has no memory for a tensor say so and end all ranks. It gives back a little that was kept for that, since the message and
    /// the end want some too.
    private static func endAllRanksWithoutMemory(_ communicator: any Communicator) {
        nonisolated(unsafe) let (communicator, reserve) = (communicator, malloc(1 << 20))
        let who = communicator.size > 1 ? "rank \(communicator.rank): " : ""
        MemoryPool.shared.exhaustionHandler = { bytes in
            free(reserve)
            CommandLineOutput.error(
                "\(who)no memory for a tensor of \(bytes) bytes; in training use a smaller batch.lanes or batch.length, or more batch.groups; in use fewer --sequences, a smaller --beam or --batch")
            communicator.abort(ExitCode.configuration.rawValue)
        }
    }
}
