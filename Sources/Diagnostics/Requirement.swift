// What callers have to make sure of.

/// Stops the program with `message` when `condition` does not hold: a defect of ours, such as shapes that do not fit an operation.
///
/// Unlike a precondition's, the message is printed by release builds too, with the place of the call.
@inlinable @inline(__always)
package func require(_ condition: Bool, _ message: @autoclosure () -> String, file: StaticString = #fileID, line: UInt = #line) {
    if !condition { failRequirement(message(), file: file, line: line) }
}

/// The end of a `require` that does not hold.
@usableFromInline @inline(never)
package func failRequirement(_ message: String, file: StaticString, line: UInt) -> Never { fatalError(message, file: file, line: line) }
