// What a run file says about the watchdog.

import Configuration

/// The section `watchdog`: for how long nothing may move.
public struct WatchdogSettings: Sendable, Equatable {
    /// Whether a session of several ranks ends when nothing moves.
    public var isEnabled = true
    /// Seconds that nothing may move wherever it is.
    public var atLeast = 30.0
    /// How many times the longest standstill that was seen in a section.
    public var factor = 3.0
    /// Seconds that nothing may move in a section that has not come to its end before.
    public var first = 1800.0

    /// The settings of a run file that says nothing of it.
    public init() {}

    /// Reads the section.
    /// - Throws: `UserError` (.configuration).
    init(_ section: ConfigurationSection) throws {
        isEnabled = try section.bool(
            "enabled", "Ranks that wait for one that does not move name it, and end the session with code 69.", default: isEnabled)
        atLeast = try section.double(
            "atLeast", "Seconds that nothing may move, however short the standstills so far were.", default: atLeast, in: 1...)
        factor = try section.double(
            "factor", "How many times as long as the longest standstill seen in a section the next one may be.", default: factor, in: 1...)
        first = try section.double(
            "first", "Seconds that nothing may move in a section that no session of the run has come to the end of.", default: first, in: 1...)
    }
}
