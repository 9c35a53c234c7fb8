// Finding the layer where numbers stop being numbers.

import Kernels
import Tensors

/// Looks at the activations that layers put out, and remembers the first that are not finite. As the observer of a tape it also knows which operation
/// of the layer they came from.
public final class NumericsCheck: OperationObserver {
    /// What was found first.
    public struct Finding: Sendable, Equatable {
        /// The layer's path, such as `blocks.3.attention.qkv`.
        public let layer: String
        /// "nan" or "inf".
        public let value: String
        /// The extents of the layer's output.
        public let shape: [Int]
        /// The first operation whose result was not finite; `nil` without a tape.
        public let operation: String?

        /// What a check is expected to find.
        public init(layer: String, value: String, shape: [Int], operation: String? = nil) {
            (self.layer, self.value, self.shape, self.operation) = (layer, value, shape, operation)
        }
    }

    /// The first layer, in the order of the forward pass, whose output was not finite; `nil` when all were.
    public private(set) var finding: Finding?

    private var operation: Operation?

    /// A check that has found nothing yet.
    public init() {}

    /// Cost: one pass over the outputs.
    public func recorded(_ operation: Operation, _ outputs: [Tensor]) {
        if self.operation == nil, finding == nil, outputs.contains(where: { !Self.isFinite($0) }) { self.operation = operation }
    }

    public func startsBackward(_ operation: Operation) {}
    public func finishedBackward(_ operation: Operation) {}

    private static func isFinite(_ tensor: Tensor) -> Bool {
        if tensor.dataType == .int32 { return true }
        let values = tensor.converted(to: .float32)
        return Kernels.active.isFinite(values.floats, values.count)
    }

    /// Looks at one output. Cost: one pass over it.
    func check(_ output: Tensor, layer: () -> String) {
        guard finding == nil else { return }
        guard !Self.isFinite(output) else { return }
        let values = output.converted(to: .float32)
        let hasNaN = (0..<values.count).contains { values.floats[$0].isNaN }
        finding = Finding(layer: layer(), value: hasNaN ? "nan" : "inf", shape: output.shape.array, operation: operation?.name)
    }
}
