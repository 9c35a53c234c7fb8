// For how long nothing may move, learnt from what was seen.

import Foundation

/// The longest standstills of a run's sections, and the limits that follow from them.
package struct StandstillLimits: Sendable, Equatable {
    private let settings: WatchdogSettings
    /// Seconds, by section.
    package private(set) var longest: [String: Double] = [:]

    package init(_ settings: WatchdogSettings) { self.settings = settings }

    /// Seconds that nothing may move in a section.
    package func limit(_ section: String) -> Double {
        longest[section].map { max(settings.atLeast, settings.factor * $0) } ?? settings.first
    }

    /// Takes notice of a standstill that has ended, in a section that has come to its end before or does so now.
    package mutating func observe(_ section: String, _ seconds: Double) { longest[section] = max(longest[section] ?? 0, seconds) }

    /// `evaluation 12.50, step 0.25`: what checkpoints keep.
    package var text: String {
        longest.sorted { $0.key < $1.key }.map { "\($0.key) \(String(format: "%.2f", $0.value))" }.joined(separator: ", ")
    }

    /// Takes what a checkpoint has kept, where it is more than what is known.
    /// - Returns: false for a text that is none of ``text``'s.
    package mutating func learn(_ text: String) -> Bool {
        for part in text.split(separator: ", ") {
            // A section's name may have spaces: `wait for the checkpoint 0.50`.
            guard let space = part.lastIndex(of: " "), space > part.startIndex, let seconds = Double(part[part.index(after: space)...]), seconds >= 0,
                seconds.isFinite
            else { return false }
            observe(String(part[..<space]), seconds)
        }
        return true
    }
}
