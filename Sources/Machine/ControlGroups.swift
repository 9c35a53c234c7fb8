// What the control groups of a process let it have: Linux's limits on memory and processors, of version 1 and 2.
//
// Source: the kernel's documentation, admin-guide/cgroup-v2.rst and admin-guide/cgroup-v1.

/// The limits of a process's control groups. A limit of a group holds for all below it, so each is the tightest of the process's own group and those
/// above: a scheduler sets it for the job, not for the task.
public struct ControlGroups: Sendable {
    /// A limit on memory.
    public struct Memory: Sendable, Equatable {
        /// Bytes that the group may have.
        public var limit: Int
        /// Bytes that are left of them; pages of files count as left, since they are given back when others are wanted.
        public var free: Int
        /// The group's directory.
        public var group: String
    }

    /// A limit on processor time.
    public struct Quota: Sendable, Equatable {
        /// Processors' worth of time.
        public var processors: Double
        /// The group's directory: processes that have the same share one quota.
        public var group: String
    }

    /// The limit with the least memory left; `nil` without one.
    public let memory: Memory?
    /// The least quota; `nil` without one.
    public let quota: Quota?
    /// The processors that the process's group may use; `nil` where it does not say.
    public let processors: [Int]?

    /// Reads those of this process.
    public init(_ files: SystemFiles = SystemFiles()) {
        var memories: [Memory] = []
        var quotas: [Quota] = []
        var processors: [Int]?
        for line in (files.text("/proc/self/cgroup") ?? "").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false).map(String.init)
            guard fields.count == 3 else { continue }
            let controllers = fields[1].split(separator: ",").map(String.init)
            let isUnified = controllers.isEmpty
            for group in Self.groups(fields[2], mounts: Self.mounts(fields[1], isUnified: isUnified), files) {
                if isUnified || controllers.contains("memory") { memories += Self.memory(group, isUnified: isUnified, files).map { [$0] } ?? [] }
                if isUnified || controllers.contains("cpu") { quotas += Self.quota(group, isUnified: isUnified, files).map { [$0] } ?? [] }
                if isUnified || controllers.contains("cpuset"), processors == nil {
                    processors = (files.word("\(group)/cpuset.cpus.effective") ?? files.word("\(group)/cpuset.effective_cpus")).map(processorNumbers)
                }
            }
        }
        memory = memories.min { $0.free < $1.free }
        quota = quotas.min { $0.processors < $1.processors }
        self.processors = processors.flatMap { $0.isEmpty ? nil : $0 }
    }

    private static func mounts(_ controllers: String, isUnified: Bool) -> [String] {
        if isUnified { return ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] }
        // Controllers that are mounted together have a directory of both names, and usually links of one name each.
        return ([controllers] + controllers.split(separator: ",").map(String.init)).map { "/sys/fs/cgroup/\($0)" }
    }

    /// The directories of a group and of those above it that can be seen, the group's own first. Within a container its own may not be mounted.
    private static func groups(_ path: String, mounts: [String], _ files: SystemFiles) -> [String] {
        guard let mount = mounts.first(where: { files.names(in: $0).contains { $0.contains(".") } }) else { return [] }
        var parts = path.split(separator: "/").map(String.init)
        var groups: [String] = []
        while !parts.isEmpty {
            groups.append(([mount] + parts).joined(separator: "/"))
            parts.removeLast()
        }
        return groups + [mount]
    }

    private static func memory(_ group: String, isUnified: Bool, _ files: SystemFiles) -> Memory? {
        let (limitName, useName) = isUnified ? ("memory.max", "memory.current") : ("memory.limit_in_bytes", "memory.usage_in_bytes")
        // Version 1 says "no limit" with the largest number of whole pages.
        guard let limit = files.number("\(group)/\(limitName)"), limit < 1 << 62 else { return nil }
        let names = isUnified ? ["active_file", "inactive_file"] : ["total_active_file", "total_inactive_file"]
        let statistics = (files.text("\(group)/memory.stat") ?? "").split(separator: "\n").map { $0.split(separator: " ") }
        let ofFiles = statistics.filter { $0.count == 2 && names.contains(String($0[0])) }.reduce(0) { $0 + (Int($1[1]) ?? 0) }
        let use = files.number("\(group)/\(useName)") ?? 0
        return Memory(limit: limit, free: max(0, limit - max(0, use - ofFiles)), group: group)
    }

    private static func quota(_ group: String, isUnified: Bool, _ files: SystemFiles) -> Quota? {
        let numbers: [Int?]
        if isUnified {
            numbers = (files.word("\(group)/cpu.max") ?? "").split(separator: " ").map { Int($0) }
        } else {
            numbers = [files.number("\(group)/cpu.cfs_quota_us"), files.number("\(group)/cpu.cfs_period_us")]
        }
        guard numbers.count == 2, let quota = numbers[0], let period = numbers[1], quota > 0, period > 0 else { return nil }
        return Quota(processors: Double(quota) / Double(period), group: group)
    }
}
