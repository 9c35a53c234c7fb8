// Which backend multiplies which matrices on this machine: measured once, kept in the user's cache, followed by every run from then on.

import Diagnostics
import Foundation
import Kernels
import Tensors

/// What choices of matrix backends depend on, and what they are kept under.
package struct MatrixProductMachine: Codable, Equatable, Sendable {
    /// The processor's name, as the system gives it.
    package var processor: String
    /// What multiplies, such as `OpenBLAS 0.3.21 SkylakeX, oneDNN 2.6.3 avx512_core_bf16`.
    package var libraries: String
    /// Threads that divide a product.
    package var threads: Int

    package init(processor: String, libraries: String, threads: Int) {
        self.processor = processor
        self.libraries = libraries
        self.threads = threads
    }

    /// This machine, with the threads that are set now.
    package static var current: MatrixProductMachine {
        MatrixProductMachine(processor: ProcessorMeasurement.processorName, libraries: currentLibraries, threads: Workers.count)
    }

    /// What this process multiplies matrices with.
    package static var currentLibraries: String {
        let blas = "OpenBLAS \(BLAS.version) \(BLAS.coreName)"
        let forced = MatrixProducts.forced.map { ", \($0.rawValue) forced" } ?? ""
        guard let version = OneDNN.version, let set = OneDNN.instructionSet else { return blas + forced }
        return "\(blas), oneDNN \(version) \(set)" + forced
    }

    /// A name for a file: small letters, digits and hyphens.
    fileprivate var fileName: String {
        let text = "\(processor) \(libraries) \(threads) threads".lowercased()
        let words = text.split { !($0.isASCII && ($0.isLetter || $0.isNumber || $0 == "." || $0 == "_")) }
        return "matrix-products-\(words.joined(separator: "-").prefix(200)).json"
    }
}

/// The choices of a machine, in a file of the user's cache. What was written first stays: two runs on one machine follow the same choices whenever
/// they start, and two sessions that measure at the same time end with those of the one that wrote first.
package struct MatrixProductCache: Sendable {
    /// What the file holds.
    private struct Contents: Codable {
        var machine: MatrixProductMachine
        var choices: MatrixChoices
    }

    /// The choices for some products, and what the user should know.
    package struct Answer {
        /// A backend for each class that was known or could be measured and kept. The rule serves the others.
        package var choices: MatrixChoices
        /// What was measured just now.
        package var measured: [(productClass: String, choice: ObservedProduct.Choice)] = []
        /// Lines for the user: why nothing could be kept, or that what was kept cannot be read.
        package var lines: [String] = []
    }

    private let directory: String?
    private let machine: MatrixProductMachine

    /// - Parameters:
    ///   - directory: where the files of all machines are; `nil` when there is no such place, and the rule decides.
    ///   - machine: whose choices these are.
    package init(directory: String?, machine: MatrixProductMachine = .current) {
        self.directory = directory
        self.machine = machine
    }

    /// The directory as the environment gives it: `$XDG_CACHE_HOME/mneme`, or `~/.cache/mneme`; `nil` without a home.
    package static func directory(environment: [String: String]) -> String? {
        if let cache = environment["XDG_CACHE_HOME"], cache.hasPrefix("/") { return "\(cache)/mneme" }
        guard let home = environment["HOME"], home.hasPrefix("/") else { return nil }
        return "\(home)/.cache/mneme"
    }

    /// The file of this machine; `nil` without a directory.
    package var path: String? { directory.map { "\($0)/\(machine.fileName)" } }

    /// The choices for products: those in the file, and measured ones, which go there, for classes that it lacks. Nothing is measured that cannot be
    /// kept, since the next run would have to measure it anew and might find otherwise: the rule decides there, and a line says so.
    ///
    /// - Parameters:
    ///   - products: one of each class.
    ///   - timing: takes the times; those of this machine by default.
    /// - Complexity: about 100 ms for each class that is not known yet, more for products that take longer than 20 ms.
    package func answer(
        for products: [ObservedProduct], timing: ObservedProduct.Timing = { ObservedProduct.measuredSeconds($0, $1) }
    ) -> Answer {
        guard let directory, let path else {
            return Answer(choices: MatrixChoices(), lines: ["no cache directory (set XDG_CACHE_HOME or HOME): a fixed rule chooses what multiplies matrices"])
        }
        var (known, damage) = read(path)
        var answer = Answer(choices: MatrixChoices(), lines: damage.map { [$0] } ?? [])
        let missing = products.filter { known.backends[$0.productClass] == nil }
        if !missing.isEmpty {
            do {
                try withLock(directory) {}
                answer.measured = missing.map { ($0.productClass, $0.fastest(timing: timing)) }
                known = try withLock(directory) {
                    var kept = read(path).choices
                    for (name, choice) in answer.measured where kept.backends[name] == nil { kept.backends[name] = choice.backend }
                    try write(kept, path)
                    return kept
                }
            } catch {
                answer.measured = []
                answer.lines.append("\(directory) cannot be written (\(systemReason(of: error))): a fixed rule chooses what multiplies matrices of new shapes")
            }
        }
        for product in products { answer.choices.backends[product.productClass] = known.backends[product.productClass] }
        return answer
    }

    /// The choices of the file, none where there is no file; and a line when there is one that cannot be used.
    private func read(_ path: String) -> (choices: MatrixChoices, damage: String?) {
        guard FileManager.default.fileExists(atPath: path) else { return (MatrixChoices(), nil) }
        guard let data = FileManager.default.contents(atPath: path), let contents = try? JSONDecoder().decode(Contents.self, from: data),
            contents.machine == machine, contents.choices.backends.keys.allSatisfy({ ObservedProduct(productClass: $0) != nil }),
            contents.choices.backends.values.allSatisfy(\.isAvailable)
        else { return (MatrixChoices(), "\(path) is damaged: what multiplies matrices is measured again") }
        return (contents.choices, nil)
    }

    private func write(_ choices: MatrixChoices, _ path: String) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let data = try encoder.encode(Contents(machine: machine, choices: choices)) + Data("\n".utf8)
        // Written beside it and renamed: a reader sees the old file or the new one.
        try data.write(to: URL(fileURLWithPath: path), options: .atomic)
    }

    /// Runs `body` while no other process on this machine does the same.
    private func withLock<Result>(_ directory: String, _ body: () throws -> Result) throws -> Result {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        let descriptor = open("\(directory)/.lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw NSError(domain: NSPOSIXErrorDomain, code: Int(errno)) }
        defer { close(descriptor) }
        // A file system without locks gives no reason to fail: renaming keeps the file whole, and the last to write wins there.
        while flock(descriptor, LOCK_EX) != 0, errno == EINTR {}
        return try body()
    }
}
