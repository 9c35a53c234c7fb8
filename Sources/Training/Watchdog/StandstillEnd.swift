// How a session ends that cannot go on.

import Collectives
import Diagnostics
import Foundation

/// Ends a session from the watchdog's thread, while the thread that trains waits in a collective and will not come back.
final class StandstillEnd: @unchecked Sendable {
    /// The run directory, on rank 0, once it is there: its record says why the session ended.
    var directory: RunDirectory?
    private let ledger: Ledger
    private let endProcess: (@Sendable (String) -> Void)?

    init(_ ledger: Ledger, _ endProcess: (@Sendable (String) -> Void)?) { (self.ledger, self.endProcess) = (ledger, endProcess) }

    @Sendable func end(_ reason: String) {
        // A file system that stands still must not keep the session: two seconds are for the record.
        if directory != nil {
            let isWritten = DispatchSemaphore(value: 0)
            Thread { [self] in
                try? directory?.end(.failed, step: max(0, ledger.entry.step - 1), exitCode: .unavailable, message: reason)
                isWritten.signal()
            }.start()
            _ = isWritten.wait(timeout: .now() + 2)
        }
        endProcess?(reason)
    }
}
