// Machines that are a few files in a directory.

import Foundation
import Machine
import TestSupport

/// Makes a machine of the files given, by path, and runs `body` with it. A text that begins with `->` is a symbolic link.
func withMachine<Result>(_ files: [String: String], _ body: (SystemFiles) throws -> Result) throws -> Result {
    try withScratchDirectory { root in
        for (path, text) in files {
            let whole = root + path
            try FileManager.default.createDirectory(atPath: (whole as NSString).deletingLastPathComponent, withIntermediateDirectories: true)
            if text.hasPrefix("->") {
                try FileManager.default.createSymbolicLink(atPath: whole, withDestinationPath: String(text.dropFirst(2)))
            } else {
                try text.write(toFile: whole, atomically: false, encoding: .utf8)
            }
        }
        return try body(SystemFiles(root: root))
    }
}

/// A node of 8 cores in two NUMA domains and 16 GB, 12 GB of which are available; the process may run everywhere.
let plainNode = [
    "/sys/devices/system/cpu/online": "0-7\n", "/sys/devices/system/node/node0/cpulist": "0-3\n", "/sys/devices/system/node/node1/cpulist": "4-7\n",
    "/proc/self/status": "Name:\tmneme\nCpus_allowed:\tff\nCpus_allowed_list:\t0-7\n", "/proc/meminfo": "MemTotal:       16000000 kB\nMemAvailable:   12000000 kB\n",
    "/proc/self/cgroup": "0::/\n", "/proc/self/stat": "100 (mneme) S 1 1 1",
    "/proc/self/limits": "Limit                     Soft Limit           Hard Limit           Units\nMax open files            4096                 1048576              files\n",
]
