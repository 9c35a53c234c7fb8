// Words of messages that depend on a number or on the system.

import Foundation

/// A number of things: `1 fact`, `2 facts`, `0 facts`.
/// - Parameters:
///   - noun: in the singular.
///   - plural: the noun with an s where none is given.
public func quantity(_ count: Int, _ noun: String, _ plural: String? = nil) -> String { "\(count) \(count == 1 ? noun : plural ?? noun + "s")" }

/// The system's words for an error number, such as `No such file or directory`; for the last error of this thread where none is given.
public func systemReason(_ code: Int32 = errno) -> String { String(cString: strerror(code)) }

/// The system's reason for an error of Foundation's, such as `No such file or directory`; Foundation's own words where it keeps none.
public func systemReason(of error: any Error) -> String {
    let cause = (error as NSError).userInfo[NSUnderlyingErrorKey] as? NSError ?? error as NSError
    if cause.domain == NSPOSIXErrorDomain { return String(cString: strerror(Int32(cause.code))) }
    switch CocoaError.Code(rawValue: cause.code) {
    case _ where cause.domain != NSCocoaErrorDomain: break
    case .fileNoSuchFile, .fileReadNoSuchFile: return String(cString: strerror(ENOENT))
    case .fileReadNoPermission, .fileWriteNoPermission: return String(cString: strerror(EACCES))
    case .fileWriteOutOfSpace: return String(cString: strerror(ENOSPC))
    default: break
    }
    return error.localizedDescription
}
