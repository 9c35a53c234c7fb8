// The grid of a sweep: which keys vary, and the points that their values span.

import Configuration
import Diagnostics
import Foundation
import Storage

/// A key of the run file with the values that a sweep gives it.
public struct SweepAxis: Sendable, Equatable, Codable {
    /// The dotted name of the key.
    public let key: String
    /// The values as `--set` takes them.
    public let values: [String]

    /// The most points that a grid may have: each is a run.
    public static let mostPoints = 10_000

    /// Reads `key=value,value` or `key=first..last`; both may be mixed, and commas in brackets, braces and quotes part nothing.
    /// - Throws: `UserError` (.usage).
    public init(argument: String) throws {
        let place = "--vary \(argument)"
        guard let equals = argument.firstIndex(of: "="), equals != argument.startIndex else {
            throw UserError(.usage, "is written key=value,value or key=first..last", at: place)
        }
        key = argument[..<equals].trimmingCharacters(in: .whitespaces)
        var values: [String] = []
        for part in Self.parts(argument[argument.index(after: equals)...]) {
            guard !part.isEmpty else { throw UserError(.usage, "has an empty value", at: place, advice: "give at least one value between commas") }
            guard let range = part.wholeMatch(of: /([-+]?\d+)\.\.([-+]?\d+)/) else {
                values.append(part)
                continue
            }
            guard let first = Int(range.1), let last = Int(range.2), first <= last else {
                throw UserError(.usage, "\(part) is an empty range", at: place, advice: "give the smaller number first, as in 1..5")
            }
            // Counted before any is made.
            let (distance, overflow) = last.subtractingReportingOverflow(first)
            guard !overflow, distance < Self.mostPoints - values.count else { throw Self.tooMany(place) }
            values += (first...last).map { String($0) }
        }
        self.values = values
    }

    /// A grid that is too large.
    static func tooMany(_ place: String) -> UserError {
        UserError(.usage, "makes a sweep of more than \(mostPoints) points", at: place, advice: "give fewer values: each point is a run")
    }

    /// The text between the commas that stand outside of brackets, braces and quotes.
    private static func parts(_ text: Substring) -> [String] {
        var (parts, depth, quote) = ([""], 0, Character?.none)
        for character in text {
            if let open = quote {
                if character == open { quote = nil }
            } else if character == "\"" || character == "'" {
                quote = character
            } else if "[{".contains(character) {
                depth += 1
            } else if "]}".contains(character) {
                depth -= 1
            } else if character == ",", depth == 0 {
                parts.append("")
                continue
            }
            parts[parts.count - 1].append(character)
        }
        return parts.map { $0.trimmingCharacters(in: .whitespaces) }
    }
}

/// One run of a sweep.
public struct SweepPoint: Sendable {
    /// Its place in the grid, from 1; the last key varies fastest.
    public let number: Int
    /// The values of the keys that vary, in their order, as the resolved configuration writes them.
    public let settings: [(key: String, value: String)]
    /// What `--set` takes.
    public let overrides: [String]
    /// The run directory.
    public let directory: String
    /// What the run trains.
    public let configuration: RunConfiguration

    /// The run directory's name in that of the sweep: what tells the point from the others, the same however a value was typed.
    public var name: String { Directory.lastName(of: directory) }

    /// What decides what the run learns, apart from the keys that vary.
    var identity: [String: String] {
        let varied = Set(settings.map(\.key))
        let values = configuration.values.filter { $0.key.onResume != .free && !varied.contains($0.name) }
        return Dictionary(values.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
    }
}

/// All points of a sweep.
public struct SweepGrid: Sendable {
    /// The keys that vary.
    public let axes: [SweepAxis]
    /// The points, by number.
    public let points: [SweepPoint]
    /// The directory of the sweep, which holds those of its runs.
    public let directory: String

    /// Checks every point as a run of its own.
    ///
    /// - Parameters:
    ///   - file: the run file.
    ///   - overrides: what `--set` says of every point.
    ///   - axes: the keys that vary.
    ///   - directory: that of the sweep; `nil` for the run file's, with `-sweep` behind it.
    /// - Throws: `UserError`: (.usage) for a key that is named twice, values that are the same, or too many points; what ``RunConfiguration`` throws.
    /// - Complexity: one reading of the configuration for each point.
    public init(file: String, overrides: [String], axes: [SweepAxis], directory: String?) throws {
        guard file != "-" else {
            throw UserError(.usage, "each run of a sweep reads the run file, and standard input is read once", at: "-", advice: "name a file")
        }
        var count = 1
        let given = Set(overrides.compactMap { $0.split(separator: "=", maxSplits: 1).first.map { $0.trimmingCharacters(in: .whitespaces) } })
        for (index, axis) in axes.enumerated() {
            let place = "--vary \(axis.key)"
            guard axis.key != "run" else {
                throw UserError(.usage, "names the run directories, which a sweep does itself", at: place, advice: "say where they go with --output")
            }
            guard !axes[..<index].contains(where: { $0.key == axis.key }) else {
                throw UserError(.usage, "is given twice", at: place, advice: "give all its values in one --vary")
            }
            guard !given.contains(axis.key) else {
                throw UserError(.usage, "is given with --set too", at: place, advice: "leave one of them out")
            }
            let product = count.multipliedReportingOverflow(by: axis.values.count)
            guard !product.overflow, product.partialValue <= SweepAxis.mostPoints else { throw SweepAxis.tooMany(place) }
            count = product.partialValue
        }
        func read(_ chosen: [String], run: String?) throws -> RunConfiguration {
            let directory = try run.map { ["run=\(try JSONText.line($0))"] } ?? []
            do { return try RunConfiguration(contentsOf: file, overrides: overrides + chosen + directory) } catch let error as UserError {
                guard let place = error.place, axes.contains(where: { "\(place)=".hasPrefix("--set \($0.key)=") }) else { throw error }
                throw UserError(error.exitCode, error.what, at: "--vary" + place.dropFirst("--set".count), advice: error.advice)
            }
        }
        var points: [SweepPoint] = []
        var home = directory
        for number in 0..<count {
            var rest = number
            var chosen: [String] = []
            for axis in axes.reversed() {
                chosen.insert("\(axis.key)=\(axis.values[rest % axis.values.count])", at: 0)
                rest /= axis.values.count
            }
            let plain = try read(chosen, run: nil)
            let written = Dictionary(plain.values.map { ($0.name, $0.value) }, uniquingKeysWith: { $1 })
            let settings = zip(axes, chosen).map { axis, override in
                (key: axis.key, value: written[axis.key] ?? String(override.dropFirst(axis.key.count + 1)))
            }
            let sweep = home ?? plain.directory + "-sweep"
            home = sweep
            let path = Directory.path(of: Self.name(settings), in: sweep)
            points.append(
                SweepPoint(
                    number: number + 1, settings: settings, overrides: overrides + chosen, directory: path,
                    configuration: try read(chosen, run: path)))
        }
        if let twice = Dictionary(grouping: points, by: \.directory).values.filter({ $0.count > 1 }).min(by: { $0[0].number < $1[0].number }) {
            throw UserError(
                .usage, "points \(twice[0].number) and \(twice[1].number) are the same: \(twice[0].name)", at: "--vary",
                advice: "give each value once")
        }
        (self.axes, self.points, self.directory) = (axes, points, home ?? "")
    }

    /// A name that every file system and YAML take: `seed=1,learningRate=0.001`.
    private static func name(_ settings: [(key: String, value: String)]) -> String {
        let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-".utf8)
        func escaped(_ text: String) -> String {
            text.utf8.map { plain.contains($0) ? String(UnicodeScalar($0)) : String(format: "%%%02X", $0) }.joined()
        }
        let lasts = settings.map { $0.key.split(separator: ".").last.map(String.init) ?? $0.key }
        let name = zip(settings, lasts).map { setting, last in
            "\(escaped(lasts.count { $0 == last } == 1 ? last : setting.key))=\(escaped(setting.value))"
        }.joined(separator: ",")
        guard name.utf8.count > 180 else { return name }
        var hash = XXHash64()
        Array(name.utf8).withUnsafeBytes { hash.update($0) }
        return "\(name.prefix(160))-\(String(hash.finalized(), radix: 16))"
    }
}
