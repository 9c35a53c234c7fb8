// How many threads a rank may compute with, so that the ranks of a node together do not ask for more cores than it has.

import Foundation
import Machine

/// The number of threads that a rank computes with, and why.
public struct ThreadAllotment: Sendable {
    /// Threads of this rank, at least 1.
    public let threads: Int
    /// Whether no other rank of the node may run on this rank's cores.
    public let ownsCores: Bool
    /// One line for the start-up report.
    public let description: String
}

extension Communicator {
    /// Decides how many threads this rank computes with. Collective.
    ///
    /// A core that several ranks of a machine may use counts for each of them as its share. Ranks that a launcher has bound to cores of their
    /// own therefore keep all of theirs, and ranks that are not bound divide the machine, also where containers or daemons make several nodes of it.
    ///
    /// - Parameter requested: the number that the user asks for, which always holds; nil to decide here.
    public func workerThreads(requested: Int?) throws -> ThreadAllotment {
        let quota = ControlGroups().quota
        let own = RankPlace(
            node: nodeName, machine: SystemFiles().bootIdentity ?? nodeName, mask: affinityMask(), quota: quota?.processors, group: quota?.group)
        let everyRank = try allGather(Array(try JSONEncoder().encode(own))).map { try JSONDecoder().decode(RankPlace.self, from: Data($0)) }
        return allotThreads(own, among: everyRank, requested: requested)
    }
}

/// What a rank may use of its node.
package struct RankPlace: Codable {
    /// The node, as the launcher calls it.
    package var node: String
    /// The machine, which several nodes may be part of.
    package var machine: String
    /// The cores, one bit each, as the machine numbers them.
    package var mask: [UInt8]
    /// Cores' worth of time that the control group has, for all ranks of the node that are in it; `nil` for no limit.
    package var quota: Double?
    /// The control group, as the node calls it.
    package var group: String?

    package init(node: String, machine: String, mask: [UInt8], quota: Double? = nil, group: String? = nil) {
        (self.node, self.machine, self.mask, self.quota, self.group) = (node, machine, mask, quota, group)
    }
}

/// The threads of a rank among all.
package func allotThreads(_ own: RankPlace, among everyRank: [RankPlace], requested: Int?) -> ThreadAllotment {
    let neighbours = everyRank.filter { $0.machine == own.machine }
    let sharers = neighbours.count { $0.node == own.node && $0.group == own.group }
    return allotThreads(mask: own.mask, neighbours: neighbours.map(\.mask), requested: requested, quota: own.quota.map { $0 / Double(max(sharers, 1)) })
}

/// Divides cores between the ranks of one machine.
///
/// - Parameters:
///   - mask: the cores this rank may use, one bit each.
///   - neighbours: the masks of all ranks of the machine, this one's included.
///   - requested: the number of threads that the user asks for.
///   - quota: cores' worth of time that this rank's control group leaves it; `nil` for no limit. A thread more would only wait for the others.
package func allotThreads(mask: [UInt8], neighbours: [[UInt8]], requested: Int?, quota: Double? = nil) -> ThreadAllotment {
    func holds(_ mask: [UInt8], _ core: Int) -> Bool { core / 8 < mask.count && mask[core / 8] >> (core % 8) & 1 == 1 }
    let cores = (0..<mask.count * 8).filter { holds(mask, $0) }
    let sharers = cores.map { core in neighbours.count { holds($0, core) } }
    // A small addition, so that three thirds are one.
    let ofCores = sharers.reduce(0) { $0 + 1 / Double($1) }
    let isLimited = quota.map { $0 < ofCores } ?? false
    let share = max(1, Int(min(ofCores, quota ?? .infinity) + 1e-6))
    let available = cores.count == 1 ? "1 core" : "\(cores.count) cores"
    let most = sharers.max() ?? 1
    let limit = isLimited ? String(format: ", of whose time the control group gives it %.1f cores", quota ?? 0) : ""
    let sharing = (most > 1 ? "\(available) shared by \(most) ranks" : "\(available) of its own") + limit
    guard let requested else {
        return ThreadAllotment(threads: share, ownsCores: most == 1, description: "\(share) \(share == 1 ? "thread" : "threads") a rank: \(sharing)")
    }
    let threads = max(1, requested)
    let excess = threads > share ? ", more than its share of \(share)" : ""
    let unit = threads == 1 ? "thread" : "threads"
    return ThreadAllotment(threads: threads, ownsCores: most == 1, description: "\(threads) \(unit) a rank as requested: \(sharing)\(excess)")
}

/// Divides the processors that this thread may run on into parts of whole cores as equal as they can be, for commands that run side by side.
///
/// - Parameter count: the number of parts.
/// - Returns: the processors of each part, those of a core and of a package together; `nil` where there are fewer cores than parts.
public func processorShares(_ count: Int) -> [[Int32]]? {
    let mask = affinityMask()
    var cores: [[Int]: [Int32]] = [:]
    for processor in 0..<mask.count * 8 where mask[processor / 8] >> (processor % 8) & 1 == 1 {
        func topology(_ name: String) -> Int? {
            (try? String(contentsOfFile: "/sys/devices/system/cpu/cpu\(processor)/topology/\(name)", encoding: .utf8))
                .flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        }
        // Where the system does not tell, each processor is a core.
        let place = [topology("physical_package_id") ?? 0, topology("core_id") ?? processor]
        cores[place, default: []].append(Int32(processor))
    }
    guard cores.count >= count else { return nil }
    let ordered = cores.sorted { $0.key.lexicographicallyPrecedes($1.key) }.map(\.value)
    return (0..<count).map { part in ordered[part * ordered.count / count..<(part + 1) * ordered.count / count].flatMap(\.self) }
}

/// The cores that this thread may run on, one bit each, without zeros at the end; one core where the system does not tell.
private func affinityMask() -> [UInt8] {
    guard let status = try? String(contentsOfFile: "/proc/thread-self/status", encoding: .utf8),
        let line = status.split(separator: "\n").first(where: { $0.hasPrefix("Cpus_allowed:") })
    else { return [1] }
    return coreMask(hexadecimal: line.dropFirst("Cpus_allowed:".count))
}

/// A mask as Linux prints it: hexadecimal digits, the highest cores first, in groups parted by commas.
package func coreMask(hexadecimal text: some StringProtocol) -> [UInt8] {
    let digits = text.compactMap(\.hexDigitValue).reversed() as [Int]
    var mask = stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] | ($0 + 1 < digits.count ? digits[$0 + 1] << 4 : 0)) }
    while mask.count > 1, mask.last == 0 { mask.removeLast() }
    return mask.isEmpty || mask == [0] ? [1] : mask
}
