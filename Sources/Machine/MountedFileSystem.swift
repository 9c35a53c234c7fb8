// Which file system a path lies on.

import Foundation

/// A mounted file system, as the system lists it.
public struct MountedFileSystem: Codable, Sendable, Equatable {
    /// Its kind: ext4, xfs, nfs4, lustre, tmpfs.
    public var type: String
    /// Where it is mounted.
    public var mountPoint: String
    /// The device or the server's export.
    public var source: String

    /// Kinds that all nodes of a cluster see alike.
    private static let sharedTypes = ["nfs", "nfs4", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph", "glusterfs", "fuse.glusterfs", "pvfs2", "orangefs", "wekafs", "panfs", "afs", "cifs", "smb3", "9p", "virtiofs", "ocfs2", "gfs2"]
    /// Whether other nodes may see the same files; `nil` for kinds that are not known.
    public var isShared: Bool? {
        if Self.sharedTypes.contains(type) { return true }
        return ["ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "tmpfs", "ramfs", "overlay", "f2fs"].contains(type) ? false : nil
    }

    /// The file system of a path, links and dots in which are resolved already.
    public init?(of path: String, _ files: SystemFiles = SystemFiles()) {
        var best: (mountPoint: String, fields: [Substring])?
        for line in (files.text("/proc/self/mountinfo") ?? "").split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 6 else { continue }
            let mountPoint = Self.unescaped(fields[4])
            guard path == mountPoint || path.hasPrefix(mountPoint == "/" ? "/" : mountPoint + "/") else { continue }
            // What is mounted later on the same place hides what was there.
            if mountPoint.utf8.count >= best?.mountPoint.utf8.count ?? 0 { best = (mountPoint, fields) }
        }
        guard let best, let dash = best.fields.firstIndex(of: "-"), dash + 2 < best.fields.count else { return nil }
        (type, mountPoint, source) = (String(best.fields[dash + 1]), best.mountPoint, Self.unescaped(best.fields[dash + 2]))
    }

    /// A name in which blanks, tabs, line ends and backslashes are written as three octal digits.
    private static func unescaped(_ text: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(text.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3, let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8) {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
