// Paths in run files, which may name variables of the environment: $MNEME_DATA/babi.

import Configuration
import Diagnostics
import Foundation

extension ConfigurationSection {
    /// The path under a key, with $NAME and ${NAME} replaced by variables of the environment. The resolved configuration keeps it as it was written.
    /// - Throws: `UserError` (.configuration) when the key is missing or a variable is not set.
    func path(_ key: String, _ meaning: String, onResume: ResumeRule? = nil) throws -> String {
        try expanded(string(key, meaning, onResume: onResume), key)
    }

    /// The same for a key that may be left out.
    func optionalPath(_ key: String, _ meaning: String, defaultText: String? = nil, onResume: ResumeRule? = nil) throws -> String? {
        try optionalString(key, meaning, defaultText: defaultText, onResume: onResume).map { try expanded($0, key) }
    }

    private func expanded(_ text: String, _ key: String) throws -> String {
        try expandingVariables(text) {
            error(key, "names the environment variable \($0), which is not set", advice: "export \($0), or write the path out")
        }
    }
}

/// Replaces $NAME and ${NAME}; letters, digits and underscores make a name.
package func expandingVariables(
    _ text: String, environment: [String: String] = ProcessInfo.processInfo.environment, missing: (String) -> UserError
) throws -> String {
    var result = ""
    var rest = text[...]
    while let dollar = rest.firstIndex(of: "$") {
        result += rest[..<dollar]
        rest = rest[rest.index(after: dollar)...]
        let isBraced = rest.first == "{"
        if isBraced { rest = rest.dropFirst() }
        let name = rest.prefix { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "_") }
        rest = rest.dropFirst(name.count)
        guard !name.isEmpty, !isBraced || rest.first == "}" else { throw missing(isBraced ? "${\(name)" : "$\(name)") }
        if isBraced { rest = rest.dropFirst() }
        guard let value = environment[String(name)] else { throw missing(String(name)) }
        result += value
    }
    return result + rest
}
