// The controller of a memory: the network that reads the input and what was read from the memory, and whose output steers the heads.
//
// Legend: L layers, I input width, V width of all reads, H units.

/// What kind of network it is.
public enum ReferenceController: Sendable {
    case lstm
    /// h[t] = f(...) of the input, the reads and h[t-1].
    case recurrent(@Sendable (ReferenceArray) -> ReferenceArray)
    /// h[t] = f(...) of the input and the reads.
    case feedForward(@Sendable (ReferenceArray) -> ReferenceArray)
}

/// One step of all layers: layer 0 has the sums W x[t] + U [reads, h[t-1]] + b, layer l > 0 has U [the layer below, h[t-1]] + b.
///
/// Parameters: `controller.l.inputWeight` W (l = 0), `.recurrentWeight` U, `.bias`. State: `controller.l.hidden` and, of an LSTM, `.cell`.
public func controllerStep(
    _ kind: ReferenceController, layers: Int, _ x: ReferenceArray, reads: ReferenceArray, _ state: inout NamedArrays, _ p: NamedArrays
) -> ReferenceArray {
    var below = reads.flattened
    for layer in 0..<layers {
        let path = "controller.\(layer)"
        let (hidden, weight) = ("\(path).hidden", p["\(path).recurrentWeight"]!)
        let operand = state[hidden].map { .concatenated([below, $0]) } ?? below
        var sums = weight.times(operand) + p["\(path).bias"]!
        if layer == 0 { sums = sums + p["\(path).inputWeight"]!.times(x) }
        switch kind {
        case .lstm: below = lstmStep(sums, hidden: hidden, cell: "\(path).cell", &state)
        case .recurrent(let function):
            below = function(sums)
            state[hidden] = below
        case .feedForward(let function): below = function(sums)
        }
    }
    return below
}

/// Takes consecutive parts of the vector that a controller steers its heads with.
struct HeadNumbers {
    private let vector: ReferenceArray
    private var place = 0

    init(_ vector: ReferenceArray) { self.vector = vector }

    /// The next elements, [count].
    mutating func vector(_ count: Int) -> ReferenceArray {
        defer { place += count }
        return vector.slice(place..<place + count)
    }

    /// The next elements, [rows, columns].
    mutating func matrix(_ rows: Int, _ columns: Int) -> ReferenceArray { vector(rows * columns).reshaped([rows, columns]) }
    /// The next element.
    mutating func number() -> ReferenceArray { vector(1)[0] }
}
