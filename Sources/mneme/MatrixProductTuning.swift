// mneme doctor --tune

import Diagnostics
import Foundation
import Tensors
import Training

/// Measures classes of matrix products for this machine's cache, and says what was found.
struct MatrixProductTuning: Encodable {
    struct Row: Encodable {
        var productClass: String
        var backend: String
        /// Milliseconds of each backend; `nil` for what was in the cache.
        var milliseconds: [String: Double]?
    }

    /// The file of this machine; `nil` without a cache.
    var file: String?
    var rows: [Row] = []
    /// Why nothing was kept.
    var remarks: [String] = []

    /// - Parameters:
    ///   - names: the classes; those of common layers where there are none.
    ///   - isMeasuring: false for ranks that only wait.
    /// - Throws: `UserError` (usage) for a name that is no class.
    init(_ names: [String], on isMeasuring: Bool) throws {
        let products = try (names.isEmpty ? Self.commonClasses : names).map { name in
            guard let product = ObservedProduct(productClass: name) else {
                throw UserError(
                    .usage, "'\(name)' is not a class of matrix products", at: "mneme doctor --tune",
                    advice: "write it as matrix-products.json of a run does, such as 'float32 nt 1024x4096x1024'")
            }
            return product
        }
        let cache = MatrixProductCache(directory: ProgramStart.cacheDirectory)
        file = cache.path
        guard isMeasuring else { return }
        guard MatrixProducts.haveChoice else {
            remarks = [
                MatrixProducts.forced.map { "\($0.rawValue) is forced: there is nothing to choose" }
                    ?? "OpenBLAS is the only library here: there is nothing to choose"
            ]
            return
        }
        let answer = cache.answer(for: products)
        let measured = Dictionary(answer.measured.map { ($0.productClass, $0.choice.seconds) }, uniquingKeysWith: { first, _ in first })
        remarks = answer.lines
        rows = answer.choices.backends.sorted { $0.key < $1.key }.map { name, backend in
            let times = measured[name].map { Dictionary(uniqueKeysWithValues: $0.map { ($0.backend.rawValue, $0.seconds * 1e3) }) }
            return Row(productClass: name, backend: backend.rawValue, milliseconds: times)
        }
    }

    /// Products of linear layers with 512 to 4096 rows and widths of 256 to 4096, forward and backward, up to 4 billion multiplications each.
    static var commonClasses: [String] {
        var names: [String] = []
        let widths = [256, 512, 1024, 2048, 4096]
        for rows in [512, 1024, 2048, 4096] {
            for inputs in widths {
                for outputs in widths where max(inputs, outputs) <= 4 * min(inputs, outputs) && rows * inputs * outputs <= 1 << 32 {
                    names.append("float32 nt \(rows)x\(outputs)x\(inputs)")
                    names.append("float32 nn \(rows)x\(inputs)x\(outputs)")
                    names.append("float32 tn \(outputs)x\(inputs)x\(rows)")
                    names.append("float32 tn \(outputs)x\(inputs)x\(rows) +")
                }
            }
        }
        return names
    }

    /// A table for people.
    var text: String {
        var lines = rows.map { row in
            let name = row.productClass.padding(toLength: max(34, row.productClass.count), withPad: " ", startingAt: 0)
            let backend = row.backend.padding(toLength: 9, withPad: " ", startingAt: 0)
            guard let times = row.milliseconds else { return "\(name) \(backend) (in the cache already)" }
            let texts = times.sorted { $0.key < $1.key }.map { $0.key + String(format: " %.3f ms", $0.value) }
            return "\(name) \(backend) \(texts.joined(separator: ", "))"
        }
        lines += remarks
        if let file, !rows.isEmpty { lines.append("kept in \(file); remove it to measure anew") }
        return lines.map { $0 + "\n" }.joined()
    }
}
