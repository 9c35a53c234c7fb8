// What the system has to give, and how the C library keeps what it got.

import CProcessor
import Machine

/// The machine's memory, as this process may use it.
public enum SystemMemory {
    /// Bytes that this process can still take: what the system calls available, or what the control groups leave where that is less;
    /// `nil` where the system does not tell.
    public static var availableBytes: Int? { [MachineMemory()?.available, ControlGroups().memory?.free].compactMap { $0 }.min() }

    /// Makes the C library keep memory that is freed, to be used again without new pages: objects and closures of a training step come and go
    /// by the thousand, and arrays by the megabyte. Only glibc can be told; elsewhere nothing happens.
    public static func keepFreedMemory() { mneme_keep_freed_memory() }

    /// Pages that the system has brought for the calling thread so far (for the whole process where it does not tell threads apart).
    public static var pageFaultsOfThread: Int { Int(mneme_thread_page_faults()) }
}
