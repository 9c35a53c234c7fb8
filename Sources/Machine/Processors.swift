// The processors of a node, and which of them a process may use.

/// The numbers of a list such as `0-3,8,10-11`, in rising order.
public func processorNumbers(_ list: String) -> [Int] {
    var numbers: Set<Int> = []
    for part in list.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
        let ends = part.split(separator: "-").map { Int($0) }
        guard let first = ends.first ?? nil, let last = ends.last ?? nil, first >= 0, last >= first, last - first < 1 << 16 else { continue }
        numbers.formUnion(first...last)
    }
    return numbers.sorted()
}

/// Numbers as such a list.
public func processorList(_ numbers: some Collection<Int>) -> String {
    var ranges: [ClosedRange<Int>] = []
    for number in Set(numbers).sorted() {
        if let last = ranges.last, last.upperBound + 1 == number { ranges[ranges.count - 1] = last.lowerBound...number } else { ranges.append(number...number) }
    }
    return ranges.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }.joined(separator: ",")
}

/// Which processors there are, and which this process may use.
public struct Processors: Codable, Sendable, Equatable {
    /// Those of the node that are switched on.
    public var online: [Int]
    /// Those that the calling thread may run on.
    public var allowed: [Int]
    /// Those that the process's control group may use: all where it does not say.
    public var ofGroup: [Int]
    /// Those of each NUMA domain.
    public var domains: [[Int]]

    /// Reads those of this process.
    public init(_ files: SystemFiles = SystemFiles(), groups: ControlGroups) {
        allowed = (files.value("Cpus_allowed_list", in: "/proc/thread-self/status") ?? files.value("Cpus_allowed_list", in: "/proc/self/status")).map(processorNumbers) ?? [0]
        let online = files.word("/sys/devices/system/cpu/online").map(processorNumbers) ?? allowed
        self.online = online
        ofGroup = groups.processors ?? online
        domains = files.names(in: "/sys/devices/system/node").filter { $0.hasPrefix("node") && Int($0.dropFirst(4)) != nil }
            .sorted { (Int($0.dropFirst(4)) ?? 0) < (Int($1.dropFirst(4)) ?? 0) }
            .compactMap { files.word("/sys/devices/system/node/\($0)/cpulist").map(processorNumbers) }.filter { !$0.isEmpty }
    }
}

/// How many processors a scheduler has given each rank, by the variable that says so.
public struct ProcessorsPerTask: Codable, Sendable, Equatable {
    /// The variable.
    public var variable: String
    /// What it says.
    public var count: Int

    /// Reads it from a process's environment; `nil` where no scheduler says.
    public init?(environment: [String: String]) {
        for name in ["SLURM_CPUS_PER_TASK", "SRUN_CPUS_PER_TASK"] {
            guard let count = environment[name].flatMap({ Int($0) }), count > 0 else { continue }
            (variable, self.count) = (name, count)
            return
        }
        return nil
    }
}
