// The controller that the Neural Turing Machine, the Differentiable Neural Computer and the erase/add memory share: its parameters and its state.
//
// Legend: I input width, V width of all reads, H controller units, G = 4 H rows of an LSTM's weights, H of the others.

import NeuralNetworks
import Tensors

/// Parameters of L layers that read [x[t], what was read from the memory, their last output].
///
/// The lowest layer has a weight for the input and one for [reads, h[t-1]]; a layer above it reads [the layer below, h[t-1]]. A step is then one
/// product for each layer, since those of the input are one product over all steps. `ControllerSequence` runs it.
public struct Controller {
    /// The parameters of one layer.
    struct Layer {
        /// [G, I]; only of the lowest layer.
        let inputWeight: Parameter?
        /// [G, D + H]: columns for the reads (lowest layer, D = V) or for the layer below (D = H), then for h[t-1]; without the last for
        /// feed-forward.
        let recurrentWeight: Parameter
        /// [G].
        let bias: Parameter
    }

    /// What it was made from.
    public let configuration: ControllerConfiguration
    /// I.
    public let inputs: Int
    /// V.
    public let reads: Int
    let layers: [Layer]

    /// Declares `path.N.inputWeight` (N = 0), `.recurrentWeight` and `.bias` of each layer, all uniform on -1 / sqrt(n) ... 1 / sqrt(n) with n the
    /// units of a layer, or all that a unit reads for feed-forward: as PyTorch's cells start. Gates of an LSTM are in the order input, forget,
    /// candidate, output.
    public init(_ store: ParameterStore, _ path: String, inputs: Int, reads: Int, _ configuration: ControllerConfiguration) {
        precondition(inputs > 0 && reads > 0, "a controller of \(inputs) inputs and \(reads) values read")
        (self.configuration, self.inputs, self.reads) = (configuration, inputs, reads)
        let (width, gates) = (configuration.width, configuration.gatesPerUnit * configuration.width)
        layers = (0..<configuration.layers).map { index in
            let below = index == 0 ? reads : width
            let fanIn = configuration.hasHiddenState ? width : below + (index == 0 ? inputs : 0)
            let uniform = Initializer.uniform(bound: 1 / Float(fanIn).squareRoot())
            return Layer(
                inputWeight: index == 0 ? store.add("\(path).0.inputWeight", [gates, inputs], uniform) : nil,
                recurrentWeight: store.add(
                    "\(path).\(index).recurrentWeight", [gates, below + (configuration.hasHiddenState ? width : 0)], uniform),
                bias: store.add("\(path).\(index).bias", [gates], uniform))
        }
    }

    /// What it remembers, named `path.N.hidden` and `path.N.cell`: nothing for feed-forward, hidden state and (LSTM) cell of each layer otherwise.
    public func memory(_ path: String, lifetime: MemoryLifetime = .sequence) -> [MemoryDeclaration] {
        layers.indices.flatMap { index -> [MemoryDeclaration] in
            var result: [MemoryDeclaration] = []
            if configuration.hasHiddenState {
                result.append(MemoryDeclaration("\(path).\(index).hidden", [configuration.width], axes: ["unit"], lifetime: lifetime))
            }
            if configuration.kind == .lstm {
                result.append(MemoryDeclaration("\(path).\(index).cell", [configuration.width], axes: ["unit"], lifetime: lifetime))
            }
            return result
        }
    }
}
