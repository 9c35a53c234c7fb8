// The one door to the HDF5 library: every call passes here, under one lock, and leaves as a result or as a UserError.

import CHDF5
import Diagnostics
import Foundation

/// What a call was meant to do with the file, which decides the exit code of its failure.
enum HDF5Purpose {
    /// Opening or reading a file that should be there.
    case reading
    /// Opening, for changes, a file that should be there.
    case updating
    /// Creating or writing.
    case writing
}

/// The process-wide state of the HDF5 library: its lock and its error stack.
///
/// Debian's serial build is not thread-safe, so every call runs inside ``locked(_:)``. A build that is thread-safe keeps one error stack
/// for each thread, which is why automatic printing is switched off again whenever another thread comes in.
public enum HDF5Library {
    /// The version of the linked library, such as `1.10.8`.
    public static var version: String {
        locked {
            var major: UInt32 = 0
            var minor: UInt32 = 0
            var release: UInt32 = 0
            H5get_libversion(&major, &minor, &release)
            return "\(major).\(minor).\(release)"
        }
    }

    /// Whether the linked library may itself be called from several threads.
    public static var isThreadSafe: Bool {
        locked {
            var answer = false
            H5is_library_threadsafe(&answer)
            return answer
        }
    }

    /// How many HDF5 objects (files, groups, datasets, attributes) of the files in and below `directory` the process holds open.
    package static func openObjectCount(under directory: String) -> Int {
        locked {
            var identifiers = [hid_t](repeating: 0, count: max(0, H5Fget_obj_count(mneme_h5f_every_file(), mneme_h5f_obj_all())))
            let found = H5Fget_obj_ids(mneme_h5f_every_file(), mneme_h5f_obj_all(), identifiers.count, &identifiers)
            return identifiers.prefix(max(0, found)).count { identifier in
                withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(PATH_MAX)) { name in
                    H5Fget_name(identifier, name.baseAddress, name.count) > 0 && String(cString: name.baseAddress!).hasPrefix(directory + "/")
                }
            }
        }
    }

    /// Guards the library, and remembers the thread that last used it.
    private final class Guardian: @unchecked Sendable {
        let lock = NSRecursiveLock()
        var lastThread: pthread_t?

        init() {
            // A background writer may still be inside the library when the process exits: the library must not tear itself down under it.
            H5dont_atexit()
        }
    }

    private static let guardian = Guardian()

    /// Runs `body` alone in the library. May be nested.
    package static func locked<Result>(_ body: () throws -> Result) rethrows -> Result {
        guardian.lock.lock()
        defer { guardian.lock.unlock() }
        let thread = pthread_self()
        if guardian.lastThread != thread {
            guardian.lastThread = thread
            H5Eset_auto2(mneme_h5e_default(), nil, nil)
        }
        return try body()
    }

    /// Makes one call, and turns a negative result into a `UserError` that joins the library's top message and its root cause.
    ///
    /// A call that reads has failed too where it leaves an error behind: the library goes on after some reads that fail, and then knows only a part
    /// of an object, such as a group without its last links.
    ///
    /// - Parameters:
    ///   - purpose: what the call was meant to do with the file.
    ///   - path: the file.
    ///   - action: what was tried, as it continues "cannot": `create dataset 'x'`. Evaluated only on failure.
    @discardableResult
    static func checked<Code: SignedInteger>(
        _ purpose: HDF5Purpose, _ path: String, _ action: @autoclosure () -> String, _ call: () -> Code
    ) throws -> Code {
        try locked {
            let code = call()
            if code < 0 { throw error(purpose, path, action()) }
            if purpose != .writing, H5Eget_num(mneme_h5e_default()) > 0 {
                let failure = error(purpose, path, action())
                if let opened = code as? hid_t { H5Idec_ref(opened) }
                throw failure
            }
            return code
        }
    }

    /// The error that describes what is on the library's error stack now; the stack is emptied.
    static func error(_ purpose: HDF5Purpose, _ path: String, _ action: String) -> UserError {
        var messages: [String] = []
        withUnsafeMutablePointer(to: &messages) { list in
            // Downward: from the function that we called to the innermost one.
            _ = H5Ewalk2(mneme_h5e_default(), H5E_WALK_DOWNWARD, { _, description, list in
                guard let text = description?.pointee.desc else { return 0 }
                list?.assumingMemoryBound(to: [String].self).pointee.append(String(cString: text))
                return 0
            }, list)
        }
        H5Eclear2(mneme_h5e_default())
        return HDF5ErrorText(messages).userError(purpose, path, action)
    }
}

/// The texts of an HDF5 error stack, outermost first, boiled down to one line.
struct HDF5ErrorText {
    private let top: String
    private let root: String
    /// The system's error number that the library quotes, where it quotes one.
    let systemError: Int32?

    init(_ messages: [String]) {
        systemError = messages.reversed().lazy.compactMap(HDF5ErrorText.quotedSystemError).first
        top = messages.first.map(HDF5ErrorText.shortened) ?? "unknown failure"
        root = messages.last.map(HDF5ErrorText.shortened) ?? top
    }

    /// The error as users see it.
    func userError(_ purpose: HDF5Purpose, _ path: String, _ action: String) -> UserError {
        let cause = top == root ? top : "\(top): \(root)"
        guard let systemError else {
            let code: ExitCode = purpose == .writing || root.contains("can't retrieve stat info") ? .inputOutput : .badData
            let advice = code == .badData ? "the file is damaged or not of this kind" : nil
            return UserError(code, "cannot \(action) (HDF5: \(cause))", at: path, advice: advice)
        }
        return UserError(
            HDF5ErrorText.exitCode(systemError, purpose), "cannot \(action): \(String(cString: strerror(systemError))) (HDF5: \(cause))", at: path,
            advice: HDF5ErrorText.advice(systemError))
    }

    private static func exitCode(_ systemError: Int32, _ purpose: HDF5Purpose) -> ExitCode {
        switch (systemError, purpose) {
        case (ENOENT, .reading), (ENOTDIR, .reading), (EISDIR, .reading), (EACCES, .reading), (EPERM, .reading): .missingInput
        case (ENOENT, .updating), (ENOTDIR, .updating), (EISDIR, .updating): .missingInput
        default: .inputOutput
        }
    }

    private static func advice(_ systemError: Int32) -> String? {
        switch systemError {
        case ENOSPC, EDQUOT: "free some space or choose another directory"
        case EFBIG: "raise the limit on file sizes"
        case EACCES, EPERM, EROFS: "check the permissions"
        case ENOENT, ENOTDIR, EISDIR: "check the path"
        default: nil
        }
    }

    /// The number in `..., errno = 28, ...`.
    private static func quotedSystemError(_ message: String) -> Int32? {
        guard let found = message.range(of: "errno = ") else { return nil }
        return Int32(message[found.upperBound...].prefix { $0.isNumber }).flatMap { $0 == 0 ? nil : $0 }
    }

    /// Without the library's details of times, descriptors and addresses, which change from run to run.
    private static func shortened(_ message: String) -> String {
        var text = message
        for detail in [": time = ", ": name = ", ": filename = ", ", filename = ", ", errno = "] {
            if let found = text.range(of: detail) { text = String(text[..<found.lowerBound]) }
        }
        return text
    }
}
