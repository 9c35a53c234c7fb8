// Golden vectors: a JSON index beside a file of little-endian numbers (Golden/generate_transformers.py writes both).

import Foundation
import Models
import NeuralNetworks
import Tensors
import Testing

/// One stored case.
struct GoldenFixture {
    private struct Entry: Decodable {
        let name: String
        let type: String
        let shape: [Int]
        let offset: Int
    }

    struct Sizes: Decodable {
        let vocabulary, context, layers, width, heads, feedForward: Int
        let labelSmoothing: Float
    }

    private struct Index: Decodable {
        let configuration: Sizes
        let tensors: [Entry]
    }

    let sizes: Sizes
    private let tensors: [String: Tensor]

    init(_ name: String) throws {
        func read(_ fileExtension: String) throws -> Data {
            try Data(contentsOf: #require(Bundle.module.url(forResource: name, withExtension: fileExtension, subdirectory: "Golden")))
        }
        let index = try JSONDecoder().decode(Index.self, from: read("json"))
        let data = try read("golden")
        var tensors: [String: Tensor] = [:]
        for entry in index.tensors {
            let shape = Shape(entry.shape)
            let words: [UInt32] = data.withUnsafeBytes { bytes in
                (0..<shape.count).map { UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: entry.offset + 4 * $0, as: UInt32.self)) }
            }
            tensors[entry.name] =
                entry.type == "int32" ? Tensor(words.map { Int32(bitPattern: $0) }, shape) : Tensor(words.map { Float(bitPattern: $0) }, shape)
        }
        sizes = index.configuration
        self.tensors = tensors
    }

    subscript(name: String) -> Tensor {
        get throws { try #require(tensors[name], "no golden tensor \(name)") }
    }

    /// The names after `prefix`.
    func names(_ prefix: String) -> Set<String> {
        Set(tensors.keys.filter { $0.hasPrefix(prefix) }.map { String($0.dropFirst(prefix.count)) })
    }

    func transformer(_ layout: TransformerConfiguration.Layout) -> TransformerConfiguration {
        var configuration = TransformerConfiguration(
            layout, layers: sizes.layers, width: sizes.width, heads: sizes.heads, feedForward: sizes.feedForward)
        (configuration.context, configuration.labelSmoothing) = (sizes.context, sizes.labelSmoothing)
        return configuration
    }

    func recurrent(_ cell: RecurrentCell) -> RecurrentLanguageModel.Configuration {
        var configuration = RecurrentLanguageModel.Configuration(RecurrentLayersConfiguration(cell, layers: sizes.layers, units: sizes.width))
        configuration.labelSmoothing = sizes.labelSmoothing
        return configuration
    }

    /// Allocates the model's parameters and gives them the stored values.
    func load(into model: any LanguageModel, activations: DataType = .float32) throws {
        model.store.allocate(seed: 1, activations: activations)
        #expect(Set(model.store.parameters.map(\.name)) == names("parameter/"))
        for parameter in model.store.parameters {
            let stored = try self["parameter/\(parameter.name)"]
            try #require(stored.shape == parameter.shape, "\(parameter.name)")
            parameter.value.floats.update(from: stored.floats, count: stored.count)
        }
        model.store.refreshOperands()
    }
}

/// max |a - b| / max |b|: the error of a tensor relative to its largest element. Not a bound on the error of small elements.
func relativeError(_ a: [Float], _ b: [Float]) -> Float {
    guard a.count == b.count else { return .infinity }
    var (difference, largest): (Float, Float) = (0, 0)
    for (x, y) in zip(a, b) {
        difference = (x - y).isNaN ? .infinity : max(difference, abs(x - y))
        largest = max(largest, abs(y))
    }
    return difference == 0 ? 0 : difference / largest
}

/// The largest error of any row relative to the row's largest element, or to a thousandth of the tensor's where that is more: a wrong row of small
/// elements does not hide behind rows of large ones.
func relativeErrorByRow(_ a: Tensor, _ b: Tensor) -> Float {
    guard a.shape == b.shape else { return .infinity }
    let (x, y, columns) = (a.array, b.array, max(b.shape.columns, 1))
    let floor = 1e-3 * (y.map(abs).max() ?? 0)
    return stride(from: 0, to: y.count, by: columns).reduce(Float(0)) { worst, start in
        let row = start..<start + columns
        let difference = row.reduce(Float(0)) { (x[$1] - y[$1]).isNaN ? .infinity : max($0, abs(x[$1] - y[$1])) }
        let largest = row.reduce(floor) { max($0, abs(y[$1])) }
        return difference == 0 ? worst : max(worst, difference / largest)
    }
}
