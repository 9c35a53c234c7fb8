import Foundation
import TestSupport
import Testing

/// `mneme bench --json`, run as a program.
enum BenchRun {
    /// What the command prints for the arguments, one value a line. The command must succeed.
    static func results<Result: Decodable>(_ arguments: [String]) throws -> [Result] {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["bench"] + arguments)
        #expect(run.status == 0, "\(run.standardError)")
        return try decode(run.standardOutput)
    }

    static func decode<Result: Decodable>(_ output: String) throws -> [Result] {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try output.split(separator: "\n").map { try decoder.decode(Result.self, from: Data($0.utf8)) }
    }
}
