// How fast two ranks exchange bytes, within a node and between nodes.

import Collectives

/// The time of an exchange in both directions, as a fixed part and a rate.
package struct Link: Codable, Sendable, Equatable {
    /// Seconds of the smallest exchange.
    package var latencySeconds: Double
    /// Bytes a second in each direction: of one pair within a node, of all pairs of a node together between nodes.
    package var bytesPerSecond: Double

    package init(latencySeconds: Double, bytesPerSecond: Double) { (self.latencySeconds, self.bytesPerSecond) = (latencySeconds, bytesPerSecond) }
}

/// Measured exchanges.
package struct Links: Codable, Sendable, Equatable {
    /// Two ranks of a node; `nil` where no node has two.
    package var insideNode: Link?
    /// A node with another; `nil` with one node.
    package var betweenNodes: Link?

    package init(insideNode: Link?, betweenNodes: Link?) { (self.insideNode, self.betweenNodes) = (insideNode, betweenNodes) }

    /// Lets neighbours within each node exchange at the same time, then each node with the next one, all its ranks at once. Collective.
    ///
    /// - Parameter nodes: the node of each rank.
    package static func measured(_ communicator: any Communicator, nodes: [String], bytes: Int = 4 << 20) throws -> Links {
        let order = nodes.reduce(into: [String]()) { if !$0.contains($1) { $0.append($1) } }
        let members = order.map { node in nodes.indices.filter { nodes[$0] == node } }
        let place = order.firstIndex(of: nodes[communicator.rank]) ?? 0
        let local = members[place].firstIndex(of: communicator.rank) ?? 0
        func member(_ node: Int, _ local: Int) -> Int? {
            members.indices.contains(node) && members[node].indices.contains(local) ? members[node][local] : nil
        }
        let inside = try measured(communicator, partner: member(place, local ^ 1), pairsOfNode: 1, bytes: bytes)
        let pairs = members.map(\.count).min() ?? 1
        let between = order.count > 1 ? try measured(communicator, partner: local < pairs ? member(place ^ 1, local) : nil, pairsOfNode: pairs, bytes: bytes) : nil
        return Links(insideNode: inside, betweenNodes: between)
    }

    /// The exchange of the slowest pair; `nil` where no rank has a partner.
    private static func measured(_ communicator: any Communicator, partner: Int?, pairsOfNode: Int, bytes: Int) throws -> Link? {
        guard try communicator.allReduced(partner == nil ? 0 : 1, .maximum) == 1 else { return nil }
        let (outgoing, incoming) = ([UInt8](repeating: 1, count: bytes), UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 64))
        defer { incoming.deallocate() }
        func seconds(_ count: Int, repeats: Int) throws -> Double {
            var times: [Double] = []
            for attempt in -1..<repeats {
                try communicator.barrier()
                let start = ContinuousClock.now
                if let partner {
                    try outgoing.withUnsafeBytes { try communicator.exchange(UnsafeRawBufferPointer(rebasing: $0[..<count]), UnsafeMutableRawBufferPointer(rebasing: incoming[..<count]), with: partner) }
                }
                if attempt >= 0 { times.append((ContinuousClock.now - start) / .seconds(1)) }
            }
            return try communicator.allReduced(times, .maximum).sorted()[repeats / 2]
        }
        let (small, large) = (try seconds(8, repeats: 21), try seconds(bytes, repeats: 7))
        return Link(latencySeconds: small, bytesPerSecond: Double(bytes * pairsOfNode) / max(large - small, 1e-9))
    }
}
