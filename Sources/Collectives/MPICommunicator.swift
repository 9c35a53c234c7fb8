// The communicator over MPI: every call of the library goes through one checked wrapper.

import CMPI
import Diagnostics
import Dispatch

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
    public private(set) var rank: Int
    public private(set) var size: Int
    public private(set) var localRank: Int
    public private(set) var localSize: Int
    public let nodeName: String
    public let libraryDescription: String
    /// What the library allows of threads, by its name in the standard.
    package let threadLevel: String

    private let library: MPILibrary
    /// The library's functions.
    private let mpi: UnsafePointer<mneme_mpi_calls>
    private var comm: mneme_mpi_handle
    private var isFinalized = false
    /// Whether the library was started so that ranks can outlive others.
    private let toleratesFaults: Bool
    private var hasLostRanks = false
    /// Whether the last agreement has failed.
    private var hasDisagreed = false
    /// Collectives that were started, and may be under way when a rank is lost.
    private var started: [MPIPendingCollective] = []
    /// The most elements that one call of the library is given. MPI counts are 32-bit; tests set a small limit.
    package var countLimit = Int(Int32.max)

    /// Loads the library (`MPILibrary.load`) and starts MPI in this process. Collective over all processes that the launcher started.
    ///
    /// - Parameter environment: the process's environment, read to find the library, and to compare the launcher with it.
    /// - Throws: `UserError` (.unavailable) when the library cannot start; `UserError` (.configuration) when there is no library, and when the
    ///   launcher is of another MPI implementation than the library, or started more processes than the library sees.
    public static func initialize(environment: [String: String] = [:]) throws -> MPICommunicator {
        let library = try MPILibrary.load(environment: environment)
        try requireLauncher(environment: environment, library: library.version)
        let toleratesFaults = environment["OMPI_MCA_mpi_ft_enable"] == "1"
        // An error of something that belongs to no communicator any more, such as a message to a rank that was lost, would end the process.
        if toleratesFaults { setenv("OMPI_MCA_mpi_initial_errhandler", "mpi_errors_return", 0) }
        let communicator = try MPICommunicator(library, toleratesFaults: toleratesFaults)
        if communicator.size == 1, let expected = launchedSize(environment: environment), expected > 1 {
            throw UserError(
                .configuration, "the launcher started \(expected) processes, but \(communicator.libraryDescription) sees one",
                advice: LaunchTable.advice(library: communicator.libraryDescription, environment: environment))
        }
        return communicator
    }

    private init(_ library: MPILibrary, toleratesFaults: Bool) throws {
        let mpi = library.calls
        var flag: Int32 = 0
        try library.check("MPI_Initialized", mpi.pointee.initialized(&flag))
        precondition(flag == 0, "MPI was already initialized")
        var level: Int32 = 0
        try library.check("MPI_Init_thread", mpi.pointee.init_thread(mpi.pointee.thread_serialized, &level))
        try library.check("MPI_Comm_set_errhandler", mpi.pointee.comm_return_errors(mpi.pointee.world))
        libraryDescription = library.version
        let serialized = mpi.pointee.thread_serialized
        threadLevel = level < serialized ? "MPI_THREAD_FUNNELED" : level == serialized ? "MPI_THREAD_SERIALIZED" : "MPI_THREAD_MULTIPLE"
        if level < mpi.pointee.thread_funneled {
            throw UserError(
                .unavailable, "\(libraryDescription) gives thread level \(level), below MPI_THREAD_FUNNELED",
                advice: "use an MPI built with threads")
        }
        nodeName = try library.text(mpi.pointee.processor_name_capacity, "MPI_Get_processor_name", mpi.pointee.get_processor_name)

        // A communicator of our own, so that no message of another library in this process can meet one of ours.
        var world = mneme_mpi_handle()
        try library.check("MPI_Comm_dup", mpi.pointee.comm_dup(mpi.pointee.world, &world))
        try library.check("MPI_Comm_set_errhandler", mpi.pointee.comm_return_errors(world))
        (rank, size) = try library.place(in: world)
        (localRank, localSize) = try Self.placeOnNode(library, world, rank)
        (self.library, self.mpi) = (library, mpi)
        comm = world
        self.toleratesFaults = toleratesFaults && mpi.pointee.comm_shrink != nil
    }

    /// A rank's number among those of its node, and how many they are. Collective.
    private static func placeOnNode(_ library: MPILibrary, _ comm: mneme_mpi_handle, _ rank: Int) throws -> (rank: Int, size: Int) {
        var node = mneme_mpi_handle()
        try library.check("MPI_Comm_split_type", library.calls.pointee.comm_split_by_node(comm, Int32(rank), &node), rank: rank)
        let place = try library.place(in: node)
        try library.check("MPI_Comm_free", library.calls.pointee.comm_free(&node), rank: rank)
        return place
    }

    /// Ends MPI in this process: the last call of a run that went well. Collective. A second call does nothing.
    /// - Parameter exitCode: what the process ends with at once where the library cannot end because ranks were lost.
    public func finalize(exitCode: Int32 = 0) throws {
        guard !isFinalized else { return }
        isFinalized = true
        if hasLostRanks {
            // All files are closed by now. The library may wait for the dead.
            fflush(nil)
            let end = DispatchWorkItem { _exit(exitCode) }
            DispatchQueue.global().asyncAfter(deadline: .now() + 3, execute: end)
        }
        try check("MPI_Comm_free", mpi.pointee.comm_free(&comm))
        try check("MPI_Finalize", mpi.pointee.finalize())
    }

    public func abort(_ exitCode: Int32) -> Never {
        _ = mpi.pointee.abort(mpi.pointee.world, exitCode)
        exit(exitCode)
    }

    // MARK: lost ranks

    public var outlivesLostRanks: Bool { toleratesFaults }

    public func agrees(_ isWell: Bool) throws -> Bool {
        guard toleratesFaults, size > 1, let agree = mpi.pointee.comm_agree else {
            return size == 1 ? isWell : try allReduced(isWell ? 1 : 0, .minimum) == 1
        }
        try Failpoint.collective.pass()
        var flag: Int32 = isWell ? 1 : 0
        let isAgreed = agree(comm, &flag) == 0 && flag == 1
        hasDisagreed = !isAgreed
        return isAgreed
    }

    public func leaveLostRanks() throws -> [Int] {
        guard toleratesFaults, let revoke = mpi.pointee.comm_revoke, let shrink = mpi.pointee.comm_shrink else {
            throw UserError(.unavailable, "\(libraryDescription) cannot go on without a rank that is lost", advice: "start again")
        }
        _ = revoke(comm)
        endStarted()
        // Others may wait in an agreement: each rank comes to every one of them.
        if !hasDisagreed { _ = try agrees(false) }
        hasDisagreed = false
        var living = mneme_mpi_handle()
        try check("MPIX_Comm_shrink", shrink(comm, &living))
        try check("MPI_Comm_set_errhandler", mpi.pointee.comm_return_errors(living))
        var before = comm
        let (oldRank, sizeBefore) = (rank, size)
        comm = living
        (rank, size) = try library.place(in: living)
        (localRank, localSize) = try Self.placeOnNode(library, living, rank)
        hasLostRanks = hasLostRanks || size < sizeBefore
        let oldRanks = try allGather(withUnsafeBytes(of: Int64(oldRank)) { Array($0) }).map { Int($0.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) }) }
        // One that cannot be freed costs little.
        _ = mpi.pointee.comm_free(&before)
        guard size < sizeBefore else { throw UserError(.unavailable, "no rank is lost", at: "rank \(rank)") }
        return oldRanks
    }

    /// Waits until the library lets go of the buffers of what was under way.
    private func endStarted() {
        for collective in started { collective.end() }
        started = []
    }

    /// Keeps an eye on what was started, where it may have to be ended.
    private func kept(_ collective: MPIPendingCollective) -> MPIPendingCollective {
        guard toleratesFaults else { return collective }
        if started.count >= 64 { started.removeAll(where: \.isEmpty) }
        started.append(collective)
        collective.tolerance = FaultTolerance(revoke: { [unowned self] in _ = mpi.pointee.comm_revoke?(comm) }) { [unowned self] in
            var flag: Int32 = 0
            return mpi.pointee.comm_is_revoked?(comm, &flag) != 0 || flag != 0
        }
        return collective
    }

    // MARK: collectives

    public func barrier() throws {
        try check("MPI_Barrier", mpi.pointee.barrier(comm))
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Float>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Float>.stride, mpi.pointee.float_type, reduction)
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Double>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Double>.stride, mpi.pointee.double_type, reduction)
    }

    public func allReduce(_ values: UnsafeMutableBufferPointer<Int64>, _ reduction: Reduction) throws {
        try allReduce(UnsafeMutableRawBufferPointer(values), stride: MemoryLayout<Int64>.stride, mpi.pointee.int64_type, reduction)
    }

    private func allReduce(_ bytes: UnsafeMutableRawBufferPointer, stride: Int, _ type: mneme_mpi_handle, _ reduction: Reduction) throws {
        // Two megabytes a rank travel together: a library's own memory for larger pieces falls out of the caches and costs fresh pages.
        try forEachChunk(of: bytes.count / stride, limit: size << 21 / stride) { first, count in
            try check("MPI_Allreduce", mpi.pointee.all_reduce_in_place(bytes.baseAddress! + first * stride, count, type, operation(reduction), comm))
        }
    }

    private func operation(_ reduction: Reduction) -> mneme_mpi_handle {
        switch reduction {
        case .sum: mpi.pointee.sum
        case .minimum: mpi.pointee.minimum
        case .maximum: mpi.pointee.maximum
        }
    }

    public func startAllReduce(_ values: UnsafeMutableBufferPointer<Float>) throws -> any PendingCollective {
        var requests: [MPIRequest] = []
        try forEachChunk(of: values.count) { first, count in
            requests.append(0)
            try check(
                "MPI_Iallreduce",
                mpi.pointee.start_all_reduce_in_place(
                    values.baseAddress! + first, count, mpi.pointee.float_type, mpi.pointee.sum, comm, &requests, Int32(requests.count - 1)))
        }
        return kept(MPIPendingCollective(requests, library, rank: rank))
    }

    public func broadcast(_ bytes: UnsafeMutableRawBufferPointer, root: Int) throws {
        precondition((0..<size).contains(root), "root \(root) of \(size) ranks")
        try forEachChunk(of: bytes.count) { first, count in
            try check("MPI_Bcast", mpi.pointee.broadcast(bytes.baseAddress! + first, count, Int32(root), comm))
        }
    }

    public func allGather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var counts = [Int64](repeating: 0, count: size)
        try check("MPI_Allgather", mpi.pointee.all_gather_int64(Int64(bytes.count), &counts, comm))
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
        try check("MPI_Allgatherv", mpi.pointee.all_gather_bytes(bytes, Int32(bytes.count), &all, shortCounts, offsets, comm))
        return (0..<size).map { Array(all[Int(offsets[$0])..<Int(offsets[$0] + shortCounts[$0])]) }
    }

    public func startMessages(_ outgoing: [Message], _ incoming: [Message], tag: Int) throws -> any PendingCollective {
        var requests: [MPIRequest] = []
        func start(
            _ messages: [Message], _ call: StaticString,
            _ body: (UnsafeMutableRawPointer, Int32, Int32, Int32, mneme_mpi_handle, UnsafeMutableRawPointer, Int32) -> Int32
        ) throws {
            for message in messages {
                precondition((0..<size).contains(message.partner), "partner \(message.partner) of \(size) ranks")
                // Both ranks cut a message into the same pieces.
                try forEachChunk(of: message.bytes.count) { first, count in
                    requests.append(0)
                    let code = body(
                        message.bytes.baseAddress! + first, count, Int32(message.partner), Int32(tag), comm, &requests, Int32(requests.count - 1))
                    try check(call, code)
                }
            }
        }
        try start(incoming, "MPI_Irecv", mpi.pointee.start_receive)
        let received = requests.count
        try start(outgoing, "MPI_Isend", mpi.pointee.start_send)
        return kept(MPIPendingCollective(requests, firstSent: received, library, rank: rank))
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
        try library.check(call, code, rank: rank)
    }
}

/// Room for one request of the library.
private typealias MPIRequest = UInt64

/// What a communicator offers whose ranks can outlive others.
private struct FaultTolerance {
    /// Ends the calls of all ranks.
    let revoke: () -> Void
    let isRevoked: () -> Bool
}

/// The requests of one started collective.
private final class MPIPendingCollective: PendingCollective {
    private var requests: [MPIRequest]
    /// 32 bytes for each request.
    private var statuses: [UInt64]
    private let library: MPILibrary
    private let rank: Int
    /// The first request that sends a message; those before it receive, or are collectives.
    private let firstSent: Int
    /// Where ranks can outlive others.
    var tolerance: FaultTolerance?
    /// When it was first looked at.
    private var waitingSince: ContinuousClock.Instant?

    init(_ requests: [MPIRequest], firstSent: Int? = nil, _ library: MPILibrary, rank: Int) {
        (self.requests, self.library, self.rank) = (requests, library, rank)
        self.firstSent = firstSent ?? requests.count
        statuses = Array(repeating: 0, count: 4 * requests.count)
    }

    /// Whether nothing is under way.
    var isEmpty: Bool { requests.isEmpty }

    /// Gives the library five seconds to have done with what comes in, well or badly, and gives the rest up.
    func end() {
        let end = ContinuousClock.now + .seconds(5)
        while .now < end, !requests.indices.prefix(firstSent).allSatisfy({ (try? test(at: $0)) ?? true }) {}
        requests = []
    }

    /// Whether a request is over. One that is over is freed, but what was sent is only looked at for the first quarter of a second: freed while it is on its
    /// way to a rank that was lost just now, it would end the process (Open MPI 5.0).
    /// - Throws: `UserError` (.unavailable) where it has failed.
    private func test(at index: Int) throws -> Bool {
        var (flag, error): (Int32, Int32) = (0, 0)
        let mpi = library.calls.pointee
        if waitingSince == nil { waitingSince = .now }
        let frees = index < firstSent || waitingSince.map { ContinuousClock.now - $0 > .seconds(0.25) } ?? false
        let code = frees
            ? withUnsafeMutablePointer(to: &requests[index]) { mpi.test_all(1, $0, &statuses, &flag) } : mpi.look_at(&requests, Int32(index), &flag, &error)
        try library.check("MPI_Test", code != 0 ? code : error, rank: rank)
        return flag != 0
    }

    /// Whether every request is over, where ranks can outlive others.
    /// - Throws: `UserError` (.unavailable) where one has failed, or the ranks that are left begin to leave.
    private func isOver(_ tolerance: FaultTolerance) throws -> Bool {
        do {
            if try requests.indices.allSatisfy({ try test(at: $0) }) { return true }
            // What is on its way to a lost rank fails late, what comes from it at once: whoever waits for that tells the others.
            guard !tolerance.isRevoked() else { throw UserError(.unavailable, "a rank is lost, and the others leave", at: "rank \(rank)") }
            return false
        } catch {
            // Whoever waits gives its buffers up when this throws.
            tolerance.revoke()
            end()
            throw error
        }
    }

    func test() throws -> Bool {
        guard !requests.isEmpty else { return true }
        if let tolerance, try !isOver(tolerance) { return false }
        var flag: Int32 = 0
        try library.check("MPI_Testall", library.calls.pointee.test_all(Int32(requests.count), &requests, &statuses, &flag), rank: rank)
        if flag != 0 { requests = [] }
        return flag != 0
    }

    func wait() throws {
        guard !requests.isEmpty else { return }
        if let tolerance { while try !isOver(tolerance) {} }
        for index in requests.indices { try library.check("MPI_Wait", library.calls.pointee.wait_for(&requests, Int32(index)), rank: rank) }
        requests = []
    }
}
