// The number of worker threads belongs to the process: tests that set it take turns.

import Foundation
import Kernels

private let turn = NSRecursiveLock()

/// Runs `body` with a number of worker threads that no other test changes meanwhile, and sets the number back.
public func withThreads<Result>(_ count: Int, _ body: () throws -> Result) rethrows -> Result {
    turn.lock()
    defer { turn.unlock() }
    let before = Workers.count
    Workers.count = count
    defer { Workers.count = before }
    return try body()
}
