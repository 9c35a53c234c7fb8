// A run's model as the encoder of its bank's keys.
//
// Legend: W width of keys.

import Corpora
import Diagnostics
import MemoryBanks
import Models
import NeuralNetworks
import Storage
import Tensors

/// Keys of texts such as `First Middle Last | birth city`, by a model that looks such facts up.
final class LookupEncoder: TextEncoder {
    let generation: BankGeneration
    private let model: LookupLanguageModel
    private let question: (String) throws -> [Int32]

    /// - Parameter question: the tokens of a key's text, as many of every text.
    init(_ model: LookupLanguageModel, question: @escaping (String) throws -> [Int32]) {
        (self.model, self.question) = (model, question)
        generation = BankGeneration(model: model.store.digest, normalization: "l2", width: model.configuration.keyWidth)
    }

    func keys(_ texts: [String]) throws -> [[Float]] {
        let width = model.configuration.keyWidth
        var keys: [[Float]] = []
        keys.reserveCapacity(texts.count)
        for start in stride(from: 0, to: texts.count, by: 448) {
            let rows = try texts[start..<min(start + 448, texts.count)].map(question)
            let part = model.keys(Tensor(rows: rows), ForwardPass())
            for row in rows.indices { keys.append(Array(UnsafeBufferPointer(start: part.floats + row * width, count: width))) }
        }
        return keys
    }
}

extension ParameterStore {
    /// Sixteen hexadecimal digits of what all parameters hold: other values, another digest.
    /// - Complexity: reads all parameters once.
    package var digest: String {
        var hash = XXHash64()
        for parameter in parameters {
            Array("\(parameter.name) \(parameter.shape) ".utf8).withUnsafeBytes { hash.update($0) }
            hash.update(UnsafeRawBufferPointer(start: parameter.value.bytes, count: 4 * parameter.shape.count))
        }
        let digits = String(hash.finalized(), radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

extension Tensor {
    /// int32 rows of one length.
    init(rows: [[Int32]]) { self.init(rows.flatMap(\.self), [rows.count, rows.first?.count ?? 0]) }
}
