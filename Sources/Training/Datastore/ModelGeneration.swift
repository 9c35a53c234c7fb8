// Which model made the context vectors of a datastore.

import MemoryBanks
import Models

extension LanguageModel {
    /// What made this model's context vectors: the digest of its parameters, the layer and the width. Vectors of any other parameters are
    /// of another generation. `nil` for a model that gives none.
    /// - Complexity: reads all parameters once.
    package var generation: BankGeneration? {
        contextVectors.map { BankGeneration(model: store.digest, layer: $0.layer, width: $0.width) }
    }
}
