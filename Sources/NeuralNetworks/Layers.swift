// The layers that every model is made of.
//
// Legend: I input width, O output width, D width, F inner width, V table rows; "..." any leading axes.

import Tensors

/// A fully connected layer: y = x W^T + b.
public struct Linear {
    /// [O, I].
    public let weight: Parameter
    /// [O], or absent.
    public let bias: Parameter?

    /// Declares `path.weight` and, unless `hasBias` is false, `path.bias`.
    public init(
        _ store: ParameterStore, _ path: String, inputs: Int, outputs: Int, initializer: Initializer, hasBias: Bool = true,
        biasInitializer: Initializer = .zeros
    ) {
        weight = store.add("\(path).weight", [outputs, inputs], initializer)
        bias = hasBias ? store.add("\(path).bias", [outputs], biasInitializer) : nil
    }

    /// [..., I] to [..., O].
    public func callAsFunction(_ x: Tensor, _ pass: ForwardPass) -> Tensor {
        pass.checked(linear(x, weight: pass.operand(weight), bias: bias.map { pass($0) }, packed: pass.packed(weight)), weight)
    }
}

/// Layer normalisation of the last axis.
public struct LayerNorm {
    /// The gain, [D], starting at 1.
    public let weight: Parameter
    /// The bias, [D], starting at 0.
    public let bias: Parameter
    /// Added to the variance.
    public let epsilon: Float

    /// Declares `path.weight` and `path.bias`.
    public init(_ store: ParameterStore, _ path: String, width: Int, epsilon: Float = 1e-5) {
        weight = store.add("\(path).weight", [width], .ones)
        bias = store.add("\(path).bias", [width], .zeros)
        self.epsilon = epsilon
    }

    /// [..., D] to [..., D], in the type of activations.
    public func callAsFunction(_ x: Tensor, _ pass: ForwardPass) -> Tensor {
        pass.checked(layerNorm(x, gain: pass(weight), bias: pass(bias), epsilon: epsilon, outputType: weight.activationType), weight)
    }

    /// The same with gain and bias as constants: no gradient reaches them.
    public func withConstantParameters(_ x: Tensor) -> Tensor {
        layerNorm(x, gain: weight.value, bias: bias.value, epsilon: epsilon, outputType: weight.activationType)
    }
}

/// A table of vectors, one for each token or position.
public struct Embedding {
    /// [V, D].
    public let weight: Parameter

    /// Declares `path.weight`.
    /// - Parameter gradient: dense for a table that something uses as a whole, such as an output layer that it is tied to.
    public init(_ store: ParameterStore, _ path: String, rows: Int, width: Int, initializer: Initializer, gradient: GradientForm? = nil) {
        weight = store.add("\(path).weight", [rows, width], initializer, gradient: gradient ?? .table(rows: rows, width: width))
    }

    /// int32 [...] to [..., D], each row times `scale`; float32.
    public func callAsFunction(_ indices: Tensor, scale: Float = 1, _ pass: ForwardPass) -> Tensor {
        pass.checked(embedding(pass(weight), indices, scale: scale), weight)
    }
}

/// The non-linearity between the two halves of a feed-forward block.
public enum Activation: String, Sendable, CaseIterable {
    /// max(0, x), the WMT base recipe.
    case relu
    /// GELU in its tanh approximation, GPT-2's.
    case gelu
}

/// Two linear layers with a non-linearity between them.
public struct FeedForward {
    /// D to F.
    public let input: Linear
    /// F to D.
    public let output: Linear
    /// Between the two.
    public let activation: Activation
    /// The dropout rate of the inner activations.
    public let dropoutRate: Float

    /// Declares `path.input` and `path.output`.
    public init(
        _ store: ParameterStore, _ path: String, width: Int, inner: Int, activation: Activation, initializer: Initializer,
        outputInitializer: Initializer, dropoutRate: Float
    ) {
        input = Linear(store, "\(path).input", inputs: width, outputs: inner, initializer: initializer)
        output = Linear(store, "\(path).output", inputs: inner, outputs: width, initializer: outputInitializer)
        self.activation = activation
        self.dropoutRate = dropoutRate
    }

    /// [B, T, D] to [B, T, D].
    public func callAsFunction(_ x: Tensor, _ pass: ForwardPass) -> Tensor {
        let inner: Tensor
        if let bias = input.bias {
            let fused = linear(
                x, weight: pass.operand(input.weight), bias: pass(bias), activation: activation == .gelu ? .gelu : .rectifier,
                packed: pass.packed(input.weight))
            inner = pass.checked(fused, input.weight)
        } else {
            let product = input(x, pass)
            inner = activation == .gelu ? product.geluTanh() : product.rectified()
        }
        return output(dropout(inner, rate: dropoutRate, pass.dropout), pass)
    }
}

/// The layer from hidden states to the logits of a vocabulary: a matrix of its own, or that of an embedding which it is tied to.
public struct OutputProjection {
    /// [V, D].
    public let weight: Parameter
    /// [V], or absent.
    public let bias: Parameter?

    /// A layer of parameters that are declared already.
    public init(_ weight: Parameter, bias: Parameter? = nil) { (self.weight, self.bias) = (weight, bias) }

    /// [..., D] to float32 [..., V].
    public func callAsFunction(_ hidden: Tensor, _ pass: ForwardPass) -> Tensor {
        linear(hidden, weight: pass.operand(weight), bias: bias.map { pass($0) }, outputType: .float32, packed: pass.packed(weight))
    }

    /// The cross-entropy of the logits, which are never all kept; labels are smoothed in training only.
    public func loss(_ hidden: Tensor, targets: Tensor, labelSmoothing: Float, _ pass: ForwardPass) -> SummedLoss {
        linearCrossEntropy(
            hidden, weight: pass.operand(weight), bias: bias.map { pass($0) }, targets: targets, labelSmoothing: pass.isTraining ? labelSmoothing : 0)
    }
}
