// How ranks ask each other what they are doing when MPI does not answer: a few bytes over TCP.

import Diagnostics
import Foundation

#if canImport(Glibc)
import Glibc
#else
import Darwin
#endif

/// What a rank says of itself when another asks.
public struct RankReport: Codable, Sendable, Equatable {
    /// Its number, 0 ..< size.
    public var rank: Int
    /// The name of its node.
    public var node: String
    /// The number of its process there.
    public var process: Int32
    /// What it is doing.
    public var entry: Ledger.Entry
    /// For how many seconds nothing has changed there.
    public var still: Double
    /// How many seconds that may be.
    public var limit: Double

    /// A report; `still` and `limit` in seconds.
    public init(rank: Int, node: String, process: Int32, entry: Ledger.Entry, still: Double, limit: Double) {
        (self.rank, self.node, self.process) = (rank, node, process)
        (self.entry, self.still, self.limit) = (entry, still, limit)
    }
}

/// A rank's place at which the others may ask, and the way to theirs.
///
/// Whoever asks must know a word that rank 0 has made up for this session: the port is open to the network. An answer is one line of JSON. Not for
/// several threads at once, but for another one than that which computes.
public final class LedgerExchange: @unchecked Sendable {
    /// Where a rank is asked.
    public struct Peer: Codable, Sendable, Equatable {
        /// Its number, 0 ..< size.
        public var rank: Int
        /// The name of its node.
        public var node: String
        /// The number of its process there.
        public var process: Int32
        /// The TCP port that it listens at.
        public var port: UInt16
        /// IPv4 addresses of its node, in network byte order.
        public var addresses: [UInt32]

        /// A rank's place; `addresses` in network byte order.
        public init(rank: Int, node: String, process: Int32, port: UInt16, addresses: [UInt32]) {
            (self.rank, self.node, self.process) = (rank, node, process)
            (self.port, self.addresses) = (port, addresses)
        }
    }

    /// Every rank, this one too, by rank.
    public let peers: [Peer]
    private let mine: Int
    private let word: [UInt8]
    private let listener: Int32

    private static let wordLength = 32

    /// Opens this rank's place, and learns those of the others. Collective.
    /// - Throws: `UserError` (.unavailable) where no port can be opened.
    public init(_ communicator: any Communicator) throws {
        let (listener, port) = try communicator.onEveryRank { try Self.listen() }
        let peer = Peer(
            rank: communicator.rank, node: communicator.nodeName, process: getpid(), port: port, addresses: Self.addresses())
        let proposal = (0..<Self.wordLength).map { _ in UInt8.random(in: UInt8(ascii: "a")...UInt8(ascii: "z")) }
        word = try communicator.broadcasted(proposal, root: 0)
        let decoder = JSONDecoder()
        peers = try communicator.allGather([UInt8](JSONEncoder().encode(peer))).map { try decoder.decode(Peer.self, from: Data($0)) }
        mine = communicator.rank
        self.listener = listener
    }

    deinit { close(listener) }

    // MARK: Answering

    /// Answers whoever asks within `milliseconds`.
    public func answer(for milliseconds: Int32, _ report: () -> RankReport) {
        var event = pollfd(fd: listener, events: Int16(POLLIN), revents: 0)
        guard poll(&event, 1, milliseconds) > 0 else { return }
        let descriptor = accept(listener, nil, nil)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // Nobody is waited for: a question is a few bytes, which come at once.
        var limit = timeval(tv_sec: 0, tv_usec: 200_000)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var question = [UInt8](repeating: 0, count: Self.wordLength)
        guard recv(descriptor, &question, question.count, Int32(MSG_WAITALL)) == question.count, question == word,
            let answer = try? JSONEncoder().encode(report())
        else { return }
        _ = answer.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
    }

    // MARK: Asking

    /// What the other ranks say, by rank; `nil` for this one and for those who do not answer within `seconds` at any of their addresses.
    public func ask(within seconds: Double) -> [RankReport?] {
        var answers = [RankReport?](repeating: nil, count: peers.count)
        // A few hundred at a time: descriptors are limited.
        for first in stride(from: 0, to: peers.count, by: 256) {
            let group = peers[first..<min(first + 256, peers.count)].filter { $0.rank != mine }
            let rounds = group.map { addresses(of: $0).count }.max() ?? 0
            for round in 0..<rounds {
                let asked = group.filter { answers[$0.rank] == nil && round < addresses(of: $0).count }
                for answer in ask(asked.map { ($0, addresses(of: $0)[round]) }, within: seconds / Double(rounds)) { answers[answer.rank] = answer }
            }
        }
        return answers
    }

    /// Where a rank is asked from here: on the same node there is no need of a network.
    private func addresses(of peer: Peer) -> [UInt32] { peer.node == peers[mine].node ? [UInt32(INADDR_LOOPBACK).bigEndian] : peer.addresses }

    private func ask(_ asked: [(peer: Peer, address: UInt32)], within seconds: Double) -> [RankReport] {
        struct Call {
            var descriptor: Int32
            var isAsked = false
            var answer: [UInt8] = []
        }
        var calls = asked.map { Call(descriptor: Self.connect(to: $0.address, $0.peer.port)) }
        defer { for call in calls where call.descriptor >= 0 { close(call.descriptor) } }
        var reports: [RankReport] = []
        let end = ContinuousClock.now + .seconds(seconds)
        while true {
            let left = (end - .now) / .seconds(1)
            let open = calls.indices.filter { calls[$0].descriptor >= 0 }
            guard left > 0, !open.isEmpty else { return reports }
            var events = open.map { pollfd(fd: calls[$0].descriptor, events: Int16(calls[$0].isAsked ? POLLIN : POLLOUT), revents: 0) }
            guard poll(&events, nfds_t(events.count), Int32(left * 1000) + 1) > 0 else { return reports }
            for (index, event) in zip(open, events) where event.revents != 0 {
                let descriptor = calls[index].descriptor
                func finish() {
                    close(descriptor)
                    calls[index].descriptor = -1
                }
                if !calls[index].isAsked {
                    calls[index].isAsked = true
                    let sent = word.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
                    if sent != word.count { finish() }
                    continue
                }
                var buffer = [UInt8](repeating: 0, count: 4096)
                let count = recv(descriptor, &buffer, buffer.count, 0)
                if count > 0, calls[index].answer.count < 1 << 16 {
                    calls[index].answer += buffer[..<count]
                } else if count >= 0 || errno != EAGAIN {
                    finish()
                    let report = try? JSONDecoder().decode(RankReport.self, from: Data(calls[index].answer))
                    // Who answers there may be a later process.
                    if let report, report.rank == asked[index].peer.rank { reports.append(report) }
                }
            }
        }
    }

    // MARK: Sockets

    private static func listen() throws -> (Int32, UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isOpen = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                descriptor >= 0 && bind(descriptor, $0, length) == 0 && Glibc.listen(descriptor, 512) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard isOpen else {
            throw UserError(
                .unavailable, "no TCP port can be opened: \(String(cString: strerror(errno)))", at: "watchdog",
                advice: "set watchdog.enabled to false to go without")
        }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    private static func connect(to address: UInt32, _ port: UInt16) -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return -1 }
        var target = sockaddr_in()
        target.sin_family = sa_family_t(AF_INET)
        target.sin_port = port.bigEndian
        target.sin_addr.s_addr = address
        let status = withUnsafePointer(to: &target) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        if status == 0 || errno == EINPROGRESS { return descriptor }
        close(descriptor)
        return -1
    }

    /// The addresses of this node's interfaces that are up, but for the loopback.
    private static func addresses() -> [UInt32] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        return sequence(first: list, next: { $0?.pointee.ifa_next }).compactMap { item -> UInt32? in
            guard let item = item?.pointee, let address = item.ifa_addr, address.pointee.sa_family == sa_family_t(AF_INET) else { return nil }
            guard item.ifa_flags & UInt32(IFF_UP) != 0, item.ifa_flags & UInt32(IFF_LOOPBACK) == 0 else { return nil }
            return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { $0.pointee.sin_addr.s_addr }
        }
    }
}
