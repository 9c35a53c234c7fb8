// The communicator over MPI: every call of the library goes through one checked wrapper.

import CMPI
import Diagnostics

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// The ranks that mpirun, mpiexec or srun started.
///
/// There is one per process. Calls come from one thread at a time (the library is asked for `MPI_THREAD_SERIALIZED`). The order in which
/// the library adds is its own: the same at each run with the same number of ranks and the same buffer sizes, another at another number
/// of ranks. `ReproducibleTree` is for sums that do not depend on the number of ranks.
public final class MPICommunicator: Communicator {
    public let rank: Int
    public let size: Int
    public let localRank: Int
    public let localSize: Int
    public let nodeName: String
    public let libraryDescription: String
    /// What the library allows of threads, by its name in the standard.
    package let threadLevel: String

    private var comm: mneme_mpi_comm
    private var isFinalized = false
    /// The most elements that one call of the library is given. MPI counts are 32-bit; tests set a small limit.
    package var countLimit = Int(Int32.max)

    /// Starts MPI in this process. Collective over all processes that the launcher started.
    ///
    /// - Parameter environment: the process's environment, read to compare the launcher's world size with the library's.
    /// - Throws: `UserError` (.unavailable) when the library cannot start; `UserError` (.configuration) when the launcher started more
    ///   processes than the library sees, which happens when launcher and library are of different MPI implementations.
    public static func initialize(environment: [String: String] = [:]) throws -> MPICommunicator {
        let communicator = try MPICommunicator()
        if communicator.size == 1, let expected = launchedSize(environment: environment), expected > 1 {
            throw UserError(
                .configuration, "the launcher started \(expected) processes, but \(communicator.libraryDescription) sees one",
                advice: LaunchTable.advice(library: communicator.libraryDescription, environment: environment))
        }
        return communicator
    }

    /// The library that this program is linked with, and its version. May be asked before MPI starts.
    package static func linkedLibrary() throws -> String {
        let version = try text(mneme_mpi_library_version_capacity(), "MPI_Get_library_version") { mneme_mpi_get_library_version($0, &$1) }
        let firstLine = version.split(whereSeparator: { $0.isNewline || $0 == "," }).first ?? "MPI"
        return firstLine.split(whereSeparator: \.isWhitespace).joined(separator: " ")
    }

    private init() throws {
        var flag: Int32 = 0
        try Self.check("MPI_Initialized", mneme_mpi_initialized(&flag))
        precondition(flag == 0, "MPI was already initialized")
        var level: Int32 = 0
        try Self.check("MPI_Init_thread", mneme_mpi_init_thread(mneme_mpi_thread_serialized(), &level))
        try Self.check("MPI_Comm_set_errhandler", mneme_mpi_comm_return_errors(mneme_mpi_comm_world()))
        libraryDescription = try Self.linkedLibrary()
        threadLevel = level < mneme_mpi_thread_serialized() ? "MPI_THREAD_FUNNELED" : level == mneme_mpi_thread_serialized() ? "MPI_THREAD_SERIALIZED" : "MPI_THREAD_MULTIPLE"
        if level < mneme_mpi_thread_funneled() {
            throw UserError(
                .unavailable, "\(libraryDescription) gives thread level \(level), below MPI_THREAD_FUNNELED",
                advice: "use an MPI built with threads")
        }
        nodeName = try Self.text(mneme_mpi_processor_name_capacity(), "MPI_Get_processor_name") { mneme_mpi_get_processor_name($0, &$1) }

        // A communicator of our own, so that no message of another library in this process can meet one of ours.
        var world = mneme_mpi_comm_null()
        try Self.check("MPI_Comm_dup", mneme_mpi_comm_dup(mneme_mpi_comm_world(), &world))
        try Self.check("MPI_Comm_set_errhandler", mneme_mpi_comm_return_errors(world))
        let (worldRank, worldSize) = try Self.place(in: world)
        var node = mneme_mpi_comm_null()
        try Self.check("MPI_Comm_split_type", mneme_mpi_comm_split_by_node(world, Int32(worldRank), &node), rank: worldRank)
        (localRank, localSize) = try Self.place(in: node)
        try Self.check("MPI_Comm_free", mneme_mpi_comm_free(&node), rank: worldRank)
        (comm, rank, size) = (world, worldRank, worldSize)
    }

    /// Ends MPI in this process: the last call of a run that went well. Collective. A second call does nothing.
    public func finalize() throws {
        guard !isFinalized else { return }
        isFinalized = true
        try check("MPI_Comm_free", mneme_mpi_comm_free(&comm))
        try check("MPI_Finalize", mneme_mpi_finalize())
    }

    public func abort(_ exitCode: Int32) -> Never {
        _ = mneme_mpi_abort(mneme_mpi_comm_world(), exitCode)
        exit(exitCode)
    }

    // MARK: collectives

    public func barrier() throws {
        try check("MPI_Barrier", mneme_mpi_barrier(comm))
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Float>.stride, mneme_mpi_float(), reduction)
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Double>.stride, mneme_mpi_double(), reduction)
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Int64>.stride, mneme_mpi_int64(), reduction)
    }

    private func allReduce(_ bytes: UnsafeMutableRawBufferPointer, stride: Int, _ type: mneme_mpi_datatype, _ reduction: Reduction) throws {
        // Two megabytes a rank travel together: a library's own memory for larger pieces falls out of the caches and costs fresh pages.
        try forEachChunk(of: bytes.count / stride, limit: size << 21 / stride) { first, count in
            try check("MPI_Allreduce", mneme_mpi_all_reduce_in_place(bytes.baseAddress! + first * stride, count, type, reduction.operation, comm))
        }
    }

    public func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective {
        var requests: [mneme_mpi_request] = []
        try forEachChunk(of: values.count) { first, count in
            var request = mneme_mpi_request_null()
            try check(
                "MPI_Iallreduce",
                mneme_mpi_start_all_reduce_in_place(values.baseAddress! + first, count, mneme_mpi_float(), Reduction.sum.operation, comm, &request))
            requests.append(request)
        }
        return MPIPendingCollective(requests, rank: rank)
    }

    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws {
        precondition((0..<size).contains(root), "root \(root) of \(size) ranks")
        try forEachChunk(of: bytes.count) { first, count in
            try check("MPI_Bcast", mneme_mpi_broadcast(bytes.baseAddress! + first, count, Int32(root), comm))
        }
    }

    public func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var counts = [Int64](repeating: 0, count: size)
        try check("MPI_Allgather", mneme_mpi_all_gather_int64(Int64(bytes.count), &counts, comm))
        let total = counts.reduce(0) { $0 + Int($1) }
        guard total <= countLimit else {
            return try (0..<size).map { root in
                var part = root == rank ? bytes : [UInt8](repeating: 0, count: Int(counts[root]))
                try part.withUnsafeMutableBytes { try broadcast($0, root: root) }
                return part
            }
        }
        var all = [UInt8](repeating: 0, count: total)
        let shortCounts = counts.map(Int32.init)
        var offsets: [Int32] = []
        offsets.reserveCapacity(size)
        var offset: Int32 = 0
        for count in shortCounts {
            offsets.append(offset)
            offset += count
        }
        try check("MPI_Allgatherv", mneme_mpi_all_gather_bytes(bytes, Int32(bytes.count), &all, shortCounts, offsets, comm))
        return (0..<size).map { Array(all[Int(offsets[$0])..<Int(offsets[$0] + shortCounts[$0])]) }
    }

    public func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        var requests: [mneme_mpi_request] = []
        func start(
            _ messages: [Message], _ call: StaticString,
            _ body: (UnsafeMutableRawPointer, Int32, Int32, Int32, mneme_mpi_comm, UnsafeMutablePointer<mneme_mpi_request>) -> Int32
        ) throws {
            for message in messages {
                precondition((0..<size).contains(message.partner), "partner \(message.partner) of \(size) ranks")
                // Both ranks cut a message into the same pieces.
                try forEachChunk(of: message.bytes.count) { first, count in
                    var request = mneme_mpi_request_null()
                    try check(call, body(message.bytes.baseAddress! + first, count, Int32(message.partner), Int32(tag), comm, &request))
                    requests.append(request)
                }
            }
        }
        try start(incoming, "MPI_Irecv", mneme_mpi_start_receive)
        try start(outgoing, "MPI_Isend", mneme_mpi_start_send)
        return MPIPendingCollective(requests, rank: rank)
    }

    /// Cuts `total` elements into pieces of at most `limit` that a 32-bit count can express. No piece for `total` 0.
    private func forEachChunk(of total: Int, limit: Int = .max, _ body: (_ first: Int, _ count: Int32) throws -> Void) rethrows {
        var first = 0
        while first < total {
            let count = min(countLimit, limit, total - first)
            try body(first, Int32(count))
            first += count
        }
    }

    // MARK: errors

    private func check(_ call: StaticString, _ code: Int32) throws {
        try Failpoint.collective.pass()
        try Self.check(call, code, rank: rank)
    }

    /// Every call of the library passes here: an error becomes a `UserError` with the call's name, the library's text, and the rank.
    fileprivate static func check(_ call: StaticString, _ code: Int32, rank: Int? = nil) throws {
        guard code != mneme_mpi_success() else { return }
        var buffer = [CChar](repeating: 0, count: Int(mneme_mpi_error_string_capacity()) + 1)
        var length: Int32 = 0
        let hasText = mneme_mpi_error_string(code, &buffer, &length) == mneme_mpi_success()
        let text = hasText ? String(decoding: buffer.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self) : "error \(code)"
        throw UserError(
            .unavailable, "\(call) failed: \(text)", at: rank.map { "rank \($0)" },
            advice: "see whether a rank or the network was lost, then start again")
    }

    /// A text that the library writes into a buffer of `capacity` characters.
    private static func text(_ capacity: Int32, _ call: StaticString, _ write: (UnsafeMutablePointer<CChar>, inout Int32) -> Int32) throws -> String {
        var buffer = [CChar](repeating: 0, count: Int(capacity) + 1)
        var length: Int32 = 0
        try check(call, write(&buffer, &length))
        return String(decoding: buffer.prefix(Int(length)).map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private static func place(in comm: mneme_mpi_comm) throws -> (rank: Int, size: Int) {
        var (rank, size): (Int32, Int32) = (0, 0)
        try check("MPI_Comm_rank", mneme_mpi_comm_rank(comm, &rank))
        try check("MPI_Comm_size", mneme_mpi_comm_size(comm, &size))
        return (Int(rank), Int(size))
    }
}

extension Reduction {
    fileprivate var operation: mneme_mpi_op {
        switch self {
        case .sum: mneme_mpi_sum()
        case .minimum: mneme_mpi_minimum()
        case .maximum: mneme_mpi_maximum()
        }
    }
}

/// The requests of one started collective.
private final class MPIPendingCollective: PendingCollective {
    private var requests: [mneme_mpi_request]
    private var statuses: [MPI_Status]
    private let rank: Int

    init(_ requests: [mneme_mpi_request], rank: Int) {
        self.requests = requests
        self.rank = rank
        statuses = Array(repeating: MPI_Status(), count: requests.count)
    }

    func test() throws -> Bool {
        guard !requests.isEmpty else { return true }
        var flag: Int32 = 0
        try MPICommunicator.check("MPI_Testall", mneme_mpi_test_all(Int32(requests.count), &requests, &statuses, &flag), rank: rank)
        if flag != 0 { requests = [] }
        return flag != 0
    }

    func wait() throws {
        guard !requests.isEmpty else { return }
        try MPICommunicator.check("MPI_Waitall", mneme_mpi_wait_all(Int32(requests.count), &requests, &statuses), rank: rank)
        requests = []
    }
}
