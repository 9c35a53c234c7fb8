// What the decoding benchmarks compute: translations of fixed length by the encoder-decoder base model with random parameters.
//
// Legend: D width, F inner width, V vocabulary, S source positions, T target positions, k beam size, B sources.

import Evaluation
import Models

/// A way to decode, and what is decoded.
///
/// Sources are the first S tokens of the lanes of the training workload of the same model. No symbol ends a sequence: every one has T tokens, so that
/// programs that are compared do the same work.
package struct DecodingWorkload: Sendable {
    /// The name on the command line.
    package let name: String
    /// What it is, in one line.
    package let summary: String
    /// The model and its sources.
    package let workload: TrainingWorkload
    /// k; 1 is greedy decoding.
    package let beam: Int

    /// The symbol that the decoder starts from.
    package static let startToken: Int32 = 1
    /// The exponent of the length penalty. It does not change the order of hypotheses of one length.
    package static let lengthPenalty: Float = 0.6

    package init(name: String, summary: String, workload: TrainingWorkload, beam: Int) {
        self.name = name
        self.summary = summary
        self.workload = workload
        self.beam = beam
    }

    /// Greedy decoding and beam search.
    package static let all: [DecodingWorkload] = [("encoder-decoder", "greedy", 1), ("encoder-decoder", "beam", 4)].compactMap { model, name, beam in
        TrainingWorkload.named(model).map { workload in
            let kind = beam == 1 ? "greedy decoding" : "beam search, beam \(beam)"
            let summary =
                "\(kind): \(workload.lanesPerRank) sources of \(workload.sourceLength) tokens to \(workload.targetLength) each, \(model)'s model"
            return DecodingWorkload(name: name, summary: summary, workload: workload, beam: beam)
        }
    }

    /// The workload of that name.
    package static func named(_ name: String) -> DecodingWorkload? { all.first { $0.name == name } }

    /// The sources of some lanes, S tokens each.
    package func sources(lanes: [Int]) -> [[Int32]] {
        let tokens = workload.pairBatch(lanes: lanes).sources.integerArray
        return lanes.indices.map { Array(tokens[$0 * workload.sourceLength..<($0 + 1) * workload.sourceLength]) }
    }

    /// How the sources are decoded.
    package var generation: GenerationSettings {
        GenerationSettings(
            method: beam == 1 ? .sampling(.greedy) : .beamSearch(BeamSearchSettings(beamSize: beam, lengthPenalty: Self.lengthPenalty)),
            limit: .tokens(workload.targetLength), batchSize: workload.lanesPerRank * beam)
    }

    /// Floating-point operations of matrix products for one source: 2 for each weight and position, and attention over the positions that exist. The
    /// encoder and the keys and values of its output once; then the decoder and the projection to V for each hypothesis and step, the first step with
    /// one hypothesis, the others with k. Normalisation, softmax, the choice of tokens and the copies of reordered caches are not counted.
    package var flopsPerSource: Double {
        guard case .transformer(let model) = workload.model else { fatalError("decoding benchmarks are of Transformers") }
        let (d, f, v, layers) = (Double(model.width), Double(model.feedForward), Double(workload.vocabularySize), Double(model.layers))
        let (s, t, k) = (Double(workload.sourceLength), Double(workload.targetLength), Double(beam))
        let encoder = layers * (2 * s * (4 * d * d + 2 * d * f) + 4 * s * s * d)
        let keysAndValues = layers * 2 * s * 2 * d * d
        let hypotheses = 1 + k * (t - 1)  // decoder positions over all steps
        let earlierKeys = 1 + k * (t * (t + 1) / 2 - 1)  // keys that those positions see
        let decoder = layers * (hypotheses * 2 * (6 * d * d + 2 * d * f) + 4 * d * (earlierKeys + hypotheses * s)) + hypotheses * 2 * d * v
        return encoder + keysAndValues + decoder
    }
}
