// Stored expected values, real data, and the program under test.

import CZlib
import Foundation
import Testing

enum MetricFixtures {
    /// The folder of expected values.
    static let golden = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Golden")

    /// The folder of real data, where the environment names one.
    static let data = ProcessInfo.processInfo.environment["MNEME_DATA"].map { URL(fileURLWithPath: $0) }

    static let metrics: MetricGolden = decode(golden.appendingPathComponent("metrics.json"))

    static func decode<Value: Decodable>(_ file: URL) -> Value {
        do {
            return try JSONDecoder().decode(Value.self, from: Data(contentsOf: file))
        } catch {
            fatalError("\(file.path): \(error)")
        }
    }

    /// The lines of a text file, without the empty one after the last line feed.
    static func lines(_ file: URL) throws -> [String] {
        var lines = String(decoding: try Data(contentsOf: file), as: UTF8.self).unicodeScalars.split(
            separator: "\n", omittingEmptySubsequences: false)
        if lines.last?.isEmpty == true { lines.removeLast() }
        return lines.map { String($0) }
    }

    /// The columns of a tab-separated file.
    static func table(_ file: URL) throws -> [[String]] {
        try lines(file).map { $0.split(separator: "\t", omittingEmptySubsequences: false).map(String.init) }
    }

    /// The bytes of a file compressed by gzip.
    static func decompressed(_ file: URL) throws -> Data {
        let handle = try #require(gzopen(file.path, "rb"))
        defer { gzclose(handle) }
        var data = Data()
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = gzread(handle, &buffer, UInt32(buffer.count))
            try #require(count >= 0, "\(file.path) does not decompress")
            if count == 0 { return data }
            data.append(contentsOf: buffer[..<Int(count)])
        }
    }
}

/// The expected values of metrics.json.
struct MetricGolden: Decodable, Sendable {
    let bleu: [Corpus]
    let rouge: [Summary]

    struct Corpus: Decodable, Sendable, CustomStringConvertible {
        let name: String
        let hypotheses: [String]
        let references: [[String]]
        let bleu: [BLEUCase]
        let chrf: [ChrFCase]
        var description: String { name }
    }

    struct BLEUCase: Decodable, Sendable {
        let tokenizer: String
        let lowercase: Bool
        let effective: Bool
        let score: Double
        let precisions: [Double]
        let brevity: Double
        let hypothesisLength: Int
        let referenceLength: Int
        let matches: [Int]
        let totals: [Int]
        let line: String
        let signature: String
    }

    struct ChrFCase: Decodable, Sendable {
        let wordOrder: Int
        let lowercase: Bool
        let beta: Int
        let score: Double
        let name: String
        let signature: String
    }

    struct Summary: Decodable, Sendable {
        let reference: String
        let other: String
        let prediction: String
        let stemmer: Bool
        let single: [[Double]]
        let multiple: [[Double]]
    }
}

/// A generator of the same numbers every time (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
