// What a check of a node or a job says.

import Foundation

/// One check: what was found, whether that is well, and what to do where it is not.
package struct CheckResult: Codable, Sendable, Equatable {
    /// How serious it is.
    package enum Verdict: String, Codable, Sendable, Comparable {
        /// All is well.
        case pass
        /// A run works, but not as it could.
        case warn
        /// A run would fail, or compute what it should not.
        case fail

        package static func < (a: Verdict, b: Verdict) -> Bool { a.order < b.order }
        private var order: Int { self == .pass ? 0 : self == .warn ? 1 : 2 }
    }

    /// What was looked at, in one or two words.
    package var check: String
    package var verdict: Verdict
    /// What was found, in one line.
    package var finding: String
    /// What to do about it, as an imperative sentence; `nil` where all is well.
    package var advice: String?

    package static func pass(_ check: String, _ finding: String) -> CheckResult {
        CheckResult(check: check, verdict: .pass, finding: finding, advice: nil)
    }

    package static func warn(_ check: String, _ finding: String, _ advice: String) -> CheckResult {
        CheckResult(check: check, verdict: .warn, finding: finding, advice: advice)
    }

    package static func fail(_ check: String, _ finding: String, _ advice: String) -> CheckResult {
        CheckResult(check: check, verdict: .fail, finding: finding, advice: advice)
    }
}

extension [CheckResult] {
    /// The most serious verdict.
    package var verdict: CheckResult.Verdict { map(\.verdict).max() ?? .pass }

    /// The one line of a node health check: `OK: ...`, or `ERROR: ...` with every check that failed.
    package func line(node: String) -> String {
        let failed = filter { $0.verdict == .fail }
        if failed.isEmpty {
            let warnings = filter { $0.verdict == .warn }.map { "\($0.check): \($0.finding)" }
            return "OK: mneme on \(node): \(count) checks" + (warnings.isEmpty ? "" : "; " + warnings.joined(separator: "; "))
        }
        return "ERROR: mneme on \(node): " + failed.map { "\($0.check): \($0.finding); \($0.advice ?? "")" }.joined(separator: "; ")
    }
}

/// Ranks by number, up to eight, then how many more: `rank 3`, `ranks 0, 1 and 12 more`.
func ranksListed(_ ranks: [Int]) -> String {
    if ranks.count == 1 { return "rank \(ranks[0])" }
    let shown = ranks.prefix(8).map(String.init)
    if ranks.count > 8 { return "ranks " + shown.joined(separator: ", ") + " and \(ranks.count - 8) more" }
    return "ranks " + shown.dropLast().joined(separator: ", ") + " and " + (shown.last ?? "")
}

/// Bytes as GB with one digit, or as MB where that would be less than one.
func bytesShown(_ bytes: Int) -> String {
    bytes >= 1_000_000_000 ? String(format: "%.1f GB", Double(bytes) / 1e9) : String(format: "%.0f MB", Double(bytes) / 1e6)
}
