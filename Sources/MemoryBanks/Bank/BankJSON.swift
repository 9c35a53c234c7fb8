// Reading what JSONText writes.

import Diagnostics
import Foundation

/// JSON of manifests, logs and exchanges.
enum BankJSON {
    /// Reads members in snake_case.
    static var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return decoder
    }

    /// What is wrong with JSON text, in a few words.
    static func reason(_ error: any Error) -> String {
        func path(_ keys: [any CodingKey]) -> String { keys.map { $0.intValue.map { "[\($0)]" } ?? $0.stringValue }.joined(separator: ".") }
        switch error {
        case DecodingError.keyNotFound(let key, _): return "'\(key.stringValue)' is missing"
        case DecodingError.typeMismatch(_, let context): return "'\(path(context.codingPath))' is of another type"
        case DecodingError.valueNotFound(_, let context): return "'\(path(context.codingPath))' is null"
        case DecodingError.dataCorrupted(let context):
            return context.codingPath.isEmpty ? "it is not JSON" : "'\(path(context.codingPath))': \(context.debugDescription)"
        default: return "it is not JSON"
        }
    }
}
