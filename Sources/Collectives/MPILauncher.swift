// Which launcher of MPI started this process: of which make it is, and where its libraries lie.

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What is known of the launcher that started this process.
package struct MPILauncher {
    /// What its ranks speak; nil where nothing tells.
    package let kind: MPILibrary.Kind?
    /// True where the launcher is known to be of that kind; false where it only speaks what such libraries speak first of all.
    package let isCertain: Bool
    /// The folders in which a library that was installed with it lies, the likeliest first.
    package let libraryFolders: [String]

    /// - Parameters:
    ///   - environment: the process's environment.
    ///   - ancestors: the programs of the processes that this one descends from, the nearest first; by default as the system tells them.
    package init(environment: [String: String], ancestors: [String]? = nil) {
        // The nearest is the one that started the ranks: mpirun may have been started by another launcher's process.
        let known = (ancestors ?? Self.ancestors()).lazy.compactMap { program in Self.kind(ofProgram: program).map { (program, $0) } }.first
        if let (program, kind) = known {
            (self.kind, isCertain, libraryFolders) = (kind, true, Self.libraryFolders(besideProgram: program))
            return
        }
        libraryFolders = []
        func has(_ names: String...) -> Bool { names.contains { environment[$0] != nil } }
        let (isOpenMPI, isHydra) = (has("OMPI_COMM_WORLD_SIZE"), has("HYDI_CONTROL_FD", "MPI_LOCALNRANKS", "MV2_COMM_WORLD_SIZE"))
        isCertain = isOpenMPI != isHydra
        // Of schedulers' launchers PMI is MPICH's way to find ranks, PMIx first of all Open MPI's.
        let hasPMI = has("PMI_RANK", "PMI_SIZE", "PMI_FD", "PALS_RANKID", "FLUX_JOB_SIZE")
        kind = isOpenMPI || has("JSM_NAMESPACE_SIZE") ? .openMPI : isHydra || hasPMI ? .mpich : nil
    }

    /// The kind of an MPI library's launcher or of its helper on a node; nil for every other program.
    private static func kind(ofProgram path: String) -> MPILibrary.Kind? {
        let name = path.split(separator: "/").last.map(String.init) ?? ""
        if ["orterun", "orted", "prterun", "prte", "prted"].contains(name) { return .openMPI }
        return name.hasPrefix("hydra_") || name == "mpiexec.hydra" ? .mpich : nil
    }

    private static func libraryFolders(besideProgram path: String) -> [String] {
        let prefix = path.split(separator: "/").dropLast(2).map { "/" + $0 }.joined()
        #if arch(x86_64)
            let debian = "lib/x86_64-linux-gnu"
        #else
            let debian = "lib/aarch64-linux-gnu"
        #endif
        // Intel MPI keeps its builds apart.
        return ["lib", "lib64", debian, "lib/release"].map { "\(prefix)/\($0)" }
    }

    /// The programs of the nearest processes that this one descends from, as far as the system shows them.
    private static func ancestors() -> [String] {
        var programs: [String] = []
        var process = getppid()
        while process > 1, programs.count < 8 {
            var buffer = [CChar](repeating: 0, count: 4096)
            let length = readlink("/proc/\(process)/exe", &buffer, buffer.count)
            programs.append(String(decoding: buffer.prefix(max(0, length)).map(UInt8.init(bitPattern:)), as: UTF8.self))
            guard let parent = parent(of: process) else { break }
            process = parent
        }
        return programs
    }

    private static func parent(of process: pid_t) -> pid_t? {
        guard let file = fopen("/proc/\(process)/stat", "r") else { return nil }
        defer { fclose(file) }
        var buffer = [UInt8](repeating: 0, count: 1024)
        let line = String(decoding: buffer.prefix(fread(&buffer, 1, buffer.count, file)), as: UTF8.self)
        // "pid (name) state parent ...": the name may hold anything, so look behind its last parenthesis.
        return line.lastIndex(of: ")").flatMap { line[$0...].split(separator: " ").dropFirst(2).first }.flatMap { pid_t($0) }
    }
}
