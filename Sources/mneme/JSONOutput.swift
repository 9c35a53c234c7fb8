// Figures for programs: what every command prints with --json.

import Diagnostics

/// One JSON value on one line of standard output: members in the order of their declaration, in snake_case, NaN and infinity as null (see `JSONText`).
enum JSONOutput {
    /// Prints the value.
    static func print(_ value: some Encodable) throws { try StandardOutput.print(JSONText.line(value)) }
}
