// What the system tells of processes: the libraries that one has loaded, and who started it.

/// A launcher of ranks among the processes that this one descends from.
public struct LaunchingProcess: Codable, Sendable, Equatable {
    /// Its program, such as `/usr/bin/orterun`.
    public var program: String
    /// The processors that it may run on itself.
    public var allowed: [Int]
    /// The shared libraries that it has loaded; none where it belongs to somebody else.
    public var libraries: [String]

    private static let names = ["mpirun", "mpiexec", "orterun", "orted", "prterun", "prte", "prted", "hydra_pmi_proxy", "hydra_bstrap_proxy", "mpiexec.hydra", "slurmstepd", "flux-shell"]

    /// The nearest one; `nil` where nobody of that kind has started this process.
    public init?(_ files: SystemFiles = SystemFiles()) {
        var process = "self"
        for _ in 0..<16 {
            // After the name in brackets, which may hold anything: the state, then the parent.
            guard let status = files.text("/proc/\(process)/stat"), let end = status.lastIndex(of: ")") else { return nil }
            let fields = status[status.index(after: end)...].split(separator: " ")
            guard fields.count > 1, let parent = Int(fields[1]), parent > 0 else { return nil }
            process = "\(parent)"
            let program = files.target(of: "/proc/\(process)/exe") ?? files.word("/proc/\(process)/comm") ?? ""
            guard Self.names.contains(String(program.split(separator: "/").last ?? "")) else { continue }
            self.program = program
            allowed = files.value("Cpus_allowed_list", in: "/proc/\(process)/status").map(processorNumbers) ?? []
            libraries = loadedLibraries(files, process: process)
            return
        }
        return nil
    }
}

/// The paths of the shared libraries that a process has loaded, those included that it looked for while it ran; sorted.
public func loadedLibraries(_ files: SystemFiles = SystemFiles(), process: String = "self") -> [String] {
    let paths = (files.text("/proc/\(process)/maps") ?? "").split(separator: "\n").compactMap { line in line.firstIndex(of: "/").map { String(line[$0...]) } }
    return Set(paths.filter { $0.contains(/\.so(\.[0-9.]+)?$/) }).sorted()
}
