// What the system has to give, and how the C library keeps what it got.

import CProcessor
import Foundation

/// The machine's memory, as this process may use it.
public enum SystemMemory {
    /// Bytes that this process can still take: what the system calls available, or what the control group leaves where that is less;
    /// `nil` where the system does not tell.
    public static var availableBytes: Int? {
        let limits = [machineBytes, groupBytes].compactMap { $0 }
        return limits.min()
    }

    private static var machineBytes: Int? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kilobytes * 1024
    }

    /// The limit less the use of this process's control group: version 2's files, or version 1's.
    private static var groupBytes: Int? {
        let groups = (try? String(contentsOfFile: "/proc/self/cgroup", encoding: .utf8)) ?? ""
        var remaining: Int?
        for line in groups.split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let isUnified = fields[1].isEmpty
            guard isUnified || fields[1].split(separator: ",").contains("memory") else { continue }
            let root = isUnified ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
            let (limitName, useName) = isUnified ? ("memory.max", "memory.current") : ("memory.limit_in_bytes", "memory.usage_in_bytes")
            // Inside a container the group's own path may not be mounted; its files are then at the root.
            for folder in ["\(root)\(fields[2])", root] {
                guard let limit = number(in: "\(folder)/\(limitName)"), let use = number(in: "\(folder)/\(useName)") else { continue }
                // Pages of files count as used, and are given back when others are wanted.
                remaining = min(remaining ?? .max, max(0, limit - max(0, use - fileBytes(in: "\(folder)/memory.stat", isUnified))))
                break
            }
        }
        return remaining
    }

    /// Bytes of files that a control group keeps in memory.
    private static func fileBytes(in file: String, _ isUnified: Bool) -> Int {
        let names = isUnified ? ["active_file", "inactive_file"] : ["total_active_file", "total_inactive_file"]
        let lines = ((try? String(contentsOfFile: file, encoding: .utf8)) ?? "").split(separator: "\n").map { $0.split(separator: " ") }
        return lines.filter { $0.count == 2 && names.contains(String($0[0])) }.reduce(0) { $0 + (Int($1[1]) ?? 0) }
    }

    private static func number(in file: String) -> Int? {
        (try? String(contentsOfFile: file, encoding: .utf8)).flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// Makes the C library keep memory that is freed, to be used again without new pages: objects and closures of a training step come and go
    /// by the thousand, and arrays by the megabyte. Only glibc can be told; elsewhere nothing happens.
    public static func keepFreedMemory() { mneme_keep_freed_memory() }

    /// Pages that the system has brought for the calling thread so far (for the whole process where it does not tell threads apart).
    public static var pageFaultsOfThread: Int { Int(mneme_thread_page_faults()) }
}
