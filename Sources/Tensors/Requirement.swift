// What callers must see to.

/// Stops the program with `message` when `condition` does not hold: an operation was given shapes that do not fit. Unlike a precondition's, the
/// message is printed by release builds too.
@inline(__always)
func require(_ condition: Bool, _ message: @autoclosure () -> String) {
    if !condition { stop(message()) }
}

@inline(never)
private func stop(_ message: String) -> Never { fatalError(message) }
