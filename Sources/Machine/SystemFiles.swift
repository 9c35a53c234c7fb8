// The files in which the system tells about the machine and its processes.

import Foundation

/// `/proc` and `/sys` under a directory that stands for `/`, so that a test can make up a machine.
public struct SystemFiles: Sendable {
    /// What comes before every path; nothing for this machine.
    public let root: String

    /// The files of this machine, or those below `root`.
    public init(root: String = "") { self.root = root }

    /// A file's whole text; `nil` where it cannot be read. Its size is not asked for: the system does not tell it for such files.
    public func text(_ path: String) -> String? {
        guard let file = FileHandle(forReadingAtPath: root + path) else { return nil }
        var bytes = Data()
        while let part = try? file.read(upToCount: 1 << 16), !part.isEmpty { bytes += part }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// A file's text without white space at its ends; `nil` where it cannot be read or is empty.
    public func word(_ path: String) -> String? {
        text(path).map { $0.trimmingCharacters(in: .whitespacesAndNewlines) }.flatMap { $0.isEmpty ? nil : $0 }
    }

    /// What this start of the machine is known by, the same in all its containers; `nil` where the system does not tell.
    public var bootIdentity: String? { word("/proc/sys/kernel/random/boot_id") }

    /// The whole number that a file holds.
    public func number(_ path: String) -> Int? { word(path).flatMap { Int($0) } }

    /// What follows `name:` in a file of such lines, such as `/proc/self/status`.
    public func value(_ name: String, in path: String) -> String? {
        text(path)?.split(separator: "\n").first { $0.hasPrefix(name + ":") }.map { $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces) }
    }

    /// Bytes of a line such as `MemTotal:  1024 kB`.
    public func bytes(_ name: String, in path: String) -> Int? {
        value(name, in: path)?.split(separator: " ").first.flatMap { Int($0) }.map { $0 * 1024 }
    }

    /// The names in a directory, in no order; none where it cannot be listed.
    public func names(in path: String) -> [String] { (try? FileManager.default.contentsOfDirectory(atPath: root + path)) ?? [] }

    /// What a symbolic link points to.
    public func target(of link: String) -> String? { try? FileManager.default.destinationOfSymbolicLink(atPath: root + link) }
}
