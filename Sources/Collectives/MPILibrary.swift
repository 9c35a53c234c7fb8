// The MPI library of this process: which one is loaded, and how each of its calls is checked.

import CMPI
import Diagnostics

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The MPI library that this process has loaded. A process that no launcher started needs none.
public struct MPILibrary {
    /// Libraries by what they speak: with the launcher that starts their ranks, and with a program.
    package enum Kind: String, CaseIterable {
        case openMPI = "openmpi"
        /// MPICH, Intel MPI, MVAPICH and HPE's MPI.
        case mpich
        /// A library with the binary interface of the standard, of whatever make.
        case standard

        /// The names that the system's loader looks for.
        var fileNames: [String] {
            switch self {
            case .openMPI: ["libmpi.so.40"]
            // Debian's MPICH and HPE's have names of their own.
            case .mpich: ["libmpi.so.12", "libmpich.so.12", "libmpi_cray.so.12"]
            case .standard: ["libmpi_abi.so.1", "libmpi_abi.so.0"]
            }
        }
    }

    /// The environment variable that names the library: `openmpi`, `mpich`, `standard`, or the path of its file.
    public static let variable = "MNEME_MPI"

    /// Name and version, such as "Open MPI v4.1.4".
    public let version: String
    /// Whose binary interface it is called by: "Open MPI", "MPICH" or "MPI-5".
    public let binaryInterface: String
    /// The file, links resolved.
    public let path: String
    /// The table that every call goes through; it stays where it is until the process ends.
    let calls: UnsafePointer<mneme_mpi_calls>

    /// Loads the library that `MNEME_MPI` names; otherwise that of the launcher that started this process, from the folder beside it where it
    /// lies there; otherwise the first that the system's loader finds. Where one is loaded, or was preloaded, it is that one. May be called before
    /// MPI starts, and first of all by the only thread that there is.
    ///
    /// - Parameter environment: the process's environment.
    /// - Throws: `UserError` (.configuration) when there is none, with what to do.
    public static func load(environment: [String: String]) throws -> MPILibrary {
        var problems: [String] = []
        let launcher = MPILauncher(environment: environment)
        for file in try candidates(environment: environment, launcher: launcher) {
            guard let problem = mneme_mpi_load(file) else { return try MPILibrary(loaded: ()) }
            problems.append(String(cString: problem))
        }
        let named = environment[variable].flatMap { $0.isEmpty ? nil : "\(variable)=\($0)" }
        let whose = named ?? launcher.kind.map { "the launcher, which is \($0.make)'s," } ?? "MPI"
        throw UserError(
            .configuration, "no library for \(whose) can be loaded: \(problems.first ?? "there is no name for it")",
            advice: "install or load the MPI library whose launcher starts the ranks, or set \(variable) to openmpi, mpich, standard or a libmpi's path")
    }

    /// The files to try, the best first.
    package static func candidates(environment: [String: String], launcher: MPILauncher) throws -> [String] {
        var kinds = Kind.allCases
        switch environment[variable] ?? "" {
        case "":
            if let kind = launcher.kind {
                // What only an environment tells may mean several libraries.
                kinds = launcher.isCertain ? [kind, .standard] : [kind] + kinds.filter { $0 != kind }
            }
        case let file where file.contains("/") || file.contains(".so"): return [file]
        case let name:
            guard let kind = Kind(rawValue: name) else {
                throw UserError(
                    .configuration, "'\(name)' is no MPI library", at: variable,
                    advice: "set it to openmpi, mpich, standard or the path of a libmpi, or unset it")
            }
            kinds = [kind]
        }
        var files: [String] = []
        for kind in kinds {
            // Only a launcher of the same make lies beside its library.
            let folders = kind == launcher.kind || kind == .standard ? launcher.libraryFolders : []
            for name in kind.fileNames {
                files += folders.map { folder in "\(folder)/\(name)" }.filter { access($0, R_OK) == 0 }
                files.append(name)
            }
        }
        return files
    }

    private init(loaded: ()) throws {
        calls = mneme_mpi_loaded()!
        path = String(cString: mneme_mpi_path())
        binaryInterface = String(cString: calls.pointee.abi)
        let text = try Self.text(calls, calls.pointee.library_version_capacity, "MPI_Get_library_version", calls.pointee.get_library_version)
        let firstLine = text.split(whereSeparator: { $0.isNewline || $0 == "," }).first ?? "MPI"
        version = firstLine.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    // MARK: calls

    /// Every call of the library passes here: an error becomes a `UserError` with the call's name, the library's text, and the rank.
    func check(_ call: StaticString, _ code: Int32, rank: Int? = nil) throws { try Self.check(calls, call, code, rank: rank) }

    /// A text that the library writes into a buffer of `capacity` characters.
    func text(_ capacity: Int32, _ call: StaticString, _ write: TextCall) throws -> String { try Self.text(calls, capacity, call, write) }

    /// This process's number in a communicator, and the number of processes.
    func place(in comm: mneme_mpi_handle) throws -> (rank: Int, size: Int) {
        var (rank, size): (Int32, Int32) = (0, 0)
        try check("MPI_Comm_rank", calls.pointee.comm_rank(comm, &rank))
        try check("MPI_Comm_size", calls.pointee.comm_size(comm, &size))
        return (Int(rank), Int(size))
    }

    typealias TextCall = (UnsafeMutablePointer<CChar>, UnsafeMutablePointer<Int32>) -> Int32

    private static func check(_ calls: UnsafePointer<mneme_mpi_calls>, _ call: StaticString, _ code: Int32, rank: Int? = nil) throws {
        guard code != 0 else { return }
        var buffer = [CChar](repeating: 0, count: Int(calls.pointee.error_string_capacity) + 1)
        var length: Int32 = 0
        let hasText = calls.pointee.error_string(code, &buffer, &length) == 0
        let text = hasText ? String(decoding: buffer.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self) : "error \(code)"
        throw UserError(
            .unavailable, "\(call) failed: \(text)", at: rank.map { "rank \($0)" },
            advice: "see whether a rank or the network was lost, then start again")
    }

    private static func text(
        _ calls: UnsafePointer<mneme_mpi_calls>, _ capacity: Int32, _ call: StaticString, _ write: TextCall
    ) throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(capacity) + 1)
        var length: Int32 = 0
        try check(calls, call, write(&buffer, &length))
        return String(decoding: buffer.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }
}

extension MPILibrary.Kind {
    /// The make, for people.
    var make: String { self == .openMPI ? "Open MPI" : self == .mpich ? "MPICH" : "MPI" }

    /// The make of a library with this name and version.
    init(version: String) { self = ["Open MPI", "Spectrum", "FUJITSU"].contains { version.contains($0) } ? .openMPI : .mpich }
}
