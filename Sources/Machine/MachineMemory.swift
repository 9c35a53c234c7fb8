// The memory of a node, and what is left of it.

/// Memory as the whole node has it.
public struct MachineMemory: Codable, Sendable, Equatable {
    /// All bytes.
    public var total: Int
    /// Bytes that can be had without swapping.
    public var available: Int

    /// Reads it; `nil` where the system does not tell.
    public init?(_ files: SystemFiles = SystemFiles()) {
        guard let total = files.bytes("MemTotal", in: "/proc/meminfo"), let available = files.bytes("MemAvailable", in: "/proc/meminfo") else { return nil }
        (self.total, self.available) = (total, available)
    }
}
