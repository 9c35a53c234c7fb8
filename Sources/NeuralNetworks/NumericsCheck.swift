// Finding the layer where numbers stop being numbers.

import Kernels
import Tensors

/// Looks at the activations that layers put out, and remembers the first that are not finite.
public final class NumericsCheck {
    /// What was found first.
    public struct Finding: Sendable, Equatable {
        /// The layer's path, such as `blocks.3.attention.qkv`.
        public let layer: String
        /// "nan" or "inf".
        public let value: String
        /// The extents of the layer's output.
        public let shape: [Int]

        /// What a check has found, as another rank says it.
        public init(layer: String, value: String, shape: [Int]) {
            self.layer = layer
            self.value = value
            self.shape = shape
        }
    }

    /// The first layer, in the order of the forward pass, whose output was not finite; `nil` when all were.
    public private(set) var finding: Finding?

    /// A check that has found nothing yet.
    public init() {}

    /// Looks at one output. Cost: one pass over it.
    func check(_ output: Tensor, layer: () -> String) {
        guard finding == nil else { return }
        let values = output.converted(to: .float32)
        guard !Kernels.active.isFinite(values.floats, values.count) else { return }
        let hasNaN = (0..<values.count).contains { values.floats[$0].isNaN }
        finding = Finding(layer: layer(), value: hasNaN ? "nan" : "inf", shape: output.shape.array)
    }
}
