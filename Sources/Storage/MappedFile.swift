// A file mapped into memory.

import CStorage
import Diagnostics
import Foundation

/// The bytes of a file, mapped to be read; unmapped when it goes out of use, so whoever reads the bytes keeps hold of it.
public final class MappedFile: @unchecked Sendable {
    /// All of the file.
    public let bytes: UnsafeRawBufferPointer
    private let number: CInt

    /// Maps a file.
    /// - Parameter check: looks at the file's size before it is mapped.
    /// - Throws: what `check` throws, and `UserError` where the file is absent, no file, empty or cannot be mapped.
    public init(_ path: String, checkingSize check: (Int) throws -> Void = { _ in }) throws {
        let (descriptor, size) = try DurableFile.openRegular(path)
        defer { close(descriptor) }
        try check(size)
        guard size > 0 else { throw UserError(.badData, "is empty", at: path) }
        guard let base = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), base != MAP_FAILED else {
            throw UserError(.inputOutput, "cannot be mapped into memory: \(systemReason())", at: path)
        }
        bytes = UnsafeRawBufferPointer(start: base, count: size)
        number = mneme_remember_mapping(base, UInt(size), path)
    }

    deinit {
        mneme_forget_mapping(number)
        munmap(UnsafeMutableRawPointer(mutating: bytes.baseAddress), bytes.count)
    }

    /// Lets the process end with a line that names the file, and with `exitCode`, when bytes of a mapped file are not there any more because it was cut off
    /// or its device has failed: no code can go on from there. Without this the system ends the process, by SIGBUS. For the program to call, once.
    public static func endProcessOnLoss(_ exitCode: ExitCode = .inputOutput) {
        guard mneme_end_on_lost_mapping(exitCode.rawValue) == 0 else { preconditionFailure("SIGBUS cannot be caught") }
    }
}
