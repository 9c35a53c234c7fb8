// How many threads a rank's BLAS may use, so that the ranks of a node together do not ask for more cores than it has.

#if canImport(Glibc)
import Glibc
#endif

/// The number of threads that a rank computes with, and why.
public struct ThreadAllotment: Sendable {
    /// Threads of this rank, at least 1.
    public let threads: Int
    /// One line for the start-up report.
    public let description: String
}

extension Communicator {
    /// Decides how many threads this rank's BLAS uses. Collective.
    ///
    /// A core that several ranks of a node may use counts for each of them as its share. Ranks that a launcher has bound to cores of their
    /// own therefore keep all of theirs, and ranks that are not bound divide the node.
    ///
    /// - Parameter requested: the number that the user asks for, which always holds; nil to decide here.
    public func blasThreads(requested: Int?) throws -> ThreadAllotment {
        let mask = affinityMask()
        let everyRank = try allGather(Array(nodeName.utf8) + [0] + mask)
        let neighbours = everyRank.compactMap { entry -> [UInt8]? in
            guard let end = entry.firstIndex(of: 0), entry[..<end].elementsEqual(nodeName.utf8) else { return nil }
            return Array(entry[(end + 1)...])
        }
        return allotThreads(mask: mask, neighbours: neighbours, requested: requested)
    }
}

/// Divides cores between the ranks of one node.
///
/// - Parameters:
///   - mask: the cores this rank may use, one bit each.
///   - neighbours: the masks of all ranks of the node, this one's included.
///   - requested: the number of threads that the user asks for.
package func allotThreads(mask: [UInt8], neighbours: [[UInt8]], requested: Int?) -> ThreadAllotment {
    func holds(_ mask: [UInt8], _ core: Int) -> Bool { core / 8 < mask.count && mask[core / 8] >> (core % 8) & 1 == 1 }
    let cores = (0..<mask.count * 8).filter { holds(mask, $0) }
    let sharers = cores.map { core in neighbours.count { holds($0, core) } }
    // A small addition, so that three thirds are one.
    let share = max(1, Int(sharers.reduce(0) { $0 + 1 / Double($1) } + 1e-6))
    let available = cores.count == 1 ? "1 core" : "\(cores.count) cores"
    let most = sharers.max() ?? 1
    let sharing = most > 1 ? "\(available) shared by \(most) ranks" : "\(available) of its own"
    guard let requested else {
        return ThreadAllotment(threads: share, description: "\(share) BLAS \(share == 1 ? "thread" : "threads") a rank: \(sharing)")
    }
    let excess = requested > share ? ", more than its share of \(share)" : ""
    return ThreadAllotment(threads: max(1, requested), description: "\(max(1, requested)) BLAS \(requested > 1 ? "threads" : "thread") a rank as requested: \(sharing)\(excess)")
}

/// The cores that this thread may run on, one bit each, without zeros at the end.
private func affinityMask() -> [UInt8] {
    #if os(Linux)
    var set = [cpu_set_t](repeating: cpu_set_t(), count: 8)
    if sched_getaffinity(0, set.count * MemoryLayout<cpu_set_t>.size, &set) == 0 {
        let bytes = set.withUnsafeBytes { Array($0) }
        if let last = bytes.lastIndex(where: { $0 != 0 }) { return Array(bytes[...last]) }
    }
    #endif
    return [1]
}
