// The hosts of an allocation: on which of them a run is started, and which of them are left out.

import Diagnostics

/// Hosts of which some are used and the rest wait as spares. One that has failed twice is left out, and a spare takes its place where there is one.
///
/// - Source: what Horovod's elastic mode calls a blacklist, but with the number of failures that PBS and LSF sites use to drain a node.
public struct HostPool: Sendable {
    /// A host, with the lines of the host file that name it.
    public struct Host: Sendable, Equatable {
        public let name: String
        var lines: [String]
    }

    /// Failures after which a host is left out.
    private static let mostFailures = 2

    private var hosts: [Host]
    private let usedCount: Int
    private var failures: [String: Int] = [:]
    /// Whether a run is to be started on other hosts than the launcher would take by itself.
    public private(set) var isChanged: Bool

    /// - Parameters:
    ///   - hostFile: the text of a host file as launchers read them: a host on a line, `name slots=N` or `name:N`, or a line for each slot; `#` begins a
    ///     comment.
    ///   - spares: how many of the last hosts wait.
    /// - Throws: `UserError` (.usage) where no host would be used.
    public init(hostFile: String, spares: Int = 0) throws {
        hosts = []
        for line in hostFile.split(whereSeparator: \.isNewline).map({ $0.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces) }) where !line.isEmpty {
            let name = String(line.prefix { !$0.isWhitespace && $0 != ":" })
            if let index = hosts.firstIndex(where: { $0.name == name }) { hosts[index].lines.append(line) } else { hosts.append(Host(name: name, lines: [line])) }
        }
        usedCount = hosts.count - spares
        isChanged = spares > 0
        guard usedCount > 0 else {
            throw UserError(
                .usage, "\(quantity(spares, "spare")) of \(quantity(hosts.count, "host")) leave none to run on", at: "--spares",
                advice: "ask for more hosts, or for fewer spares")
        }
    }

    /// The hosts that the run is started on.
    public var used: [Host] { Array(hosts.prefix(usedCount)) }

    /// The host file of `used`.
    public var hostFile: String { used.flatMap(\.lines).map { $0 + "\n" }.joined() }

    /// Counts a failure of a host.
    /// - Returns: what has become of it, for the user.
    public mutating func fail(_ name: String, _ reason: String) -> String {
        failures[name, default: 0] += 1
        guard failures[name, default: 0] >= Self.mostFailures, let index = hosts.firstIndex(where: { $0.name == name }) else { return "\(name) \(reason)" }
        hosts.remove(at: index)
        isChanged = true
        let next = hosts.count >= usedCount ? "\(hosts[usedCount - 1].name) takes its place" : "\(quantity(hosts.count, "host")) left"
        return "\(name) \(reason), for the second time: it is left out, \(next)"
    }

    /// Which of the hosts in use the last words of a session blame: those of ranks that did not answer or did not move
    /// (``StandstillVerdict``), or that computed other bits than their neighbours (``CrossCheck``).
    public func blamed(in message: String) -> [String] {
        used.map(\.name).filter { name in
            [name, String(name.prefix { $0 != "." })].contains {
                message.contains("(\($0), process ") || message.contains("(\($0)) computes other bits than both")
            }
        }
    }
}
