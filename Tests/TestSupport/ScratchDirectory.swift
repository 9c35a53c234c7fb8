// Directories that live as long as one test, and a disk that is quickly full.

import Foundation

/// Makes an empty directory, runs `body` with its path, and removes it.
package func withScratchDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("mneme-test-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    return try body(directory)
}

/// A file system in memory with room for next to nothing. Mounting one takes privileges.
package enum TinyDisk {
    /// Whether this process may mount one.
    package static let isPermitted: Bool = (try? withTinyDisk(kilobytes: 64) { _ in }) != nil

    struct NotPermitted: Error {}
}

/// Mounts a file system of `kilobytes`, runs `body` with its directory, and takes it away.
package func withTinyDisk<Result>(kilobytes: Int, _ body: (String) throws -> Result) throws -> Result {
    try withScratchDirectory { directory in
        guard mount("tmpfs", directory, "tmpfs", 0, "size=\(kilobytes)k") == 0 else { throw TinyDisk.NotPermitted() }
        defer { umount2(directory, Int32(MNT_DETACH)) }
        return try body(directory)
    }
}
