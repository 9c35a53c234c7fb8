// The key-value memory network of Miller et al. 2016, "Key-value memory networks for directly reading documents", section 3.
//
// Legend: B questions, F facts of all questions together, V symbols, D width, H hops.

import Memory
import NeuralNetworks
import Tensors

/// A network that answers questions from facts: it compares the question with keys, reads the values behind them, asks again with what it has read,
/// and scores candidate answers.
///
/// q_1 = A x; o_j = sum over facts of softmax(q_j . A k) A v; q_{j+1} = R_j (q_j + o_j); the answer is the candidate y with the largest q_{H+1} . B
/// y. Which facts a question sees is decided before, by key hashing, and once for all hops.
public final class KeyValueMemoryNetwork: TrainableModel {
    public let configuration: KeyValueMemoryConfiguration
    public let store = ParameterStore()
    /// V.
    public let symbolCount: Int
    /// The facts of the bank, which is no parameter: it can be changed between two questions.
    public let memory: [MemoryDeclaration]

    private let symbols: Parameter
    private let answerSymbols: Parameter
    private let hopMaps: [Parameter]

    /// Declares the parameters. The caller allocates.
    /// - Parameters:
    ///   - symbolCount: V.
    ///   - factCount: the facts of the bank when the model is made.
    public init(_ configuration: KeyValueMemoryConfiguration, symbolCount: Int, factCount: Int) {
        self.configuration = configuration
        self.symbolCount = symbolCount
        let (width, start) = (configuration.width, Initializer.normal(standardDeviation: configuration.deviation))
        // Where all rows are candidates, they make the gradient dense.
        symbols = store.add("symbols.weight", [symbolCount, width], start, gradient: .table(rows: symbolCount, width: width))
        let mapCount = configuration.mapsLastHop ? configuration.hops : configuration.hops - 1
        hopMaps = (0..<mapCount).map { [store] hop in
            store.add("hops.\(hop).weight", [width, width], configuration.hopStart == .normal ? start : .zeros)
        }
        answerSymbols =
            configuration.sharesAnswerTable ? symbols : store.add("answers.weight", [symbolCount, width], start, gradient: symbols.gradientForm)
        memory = [MemoryDeclaration("facts", [factCount, 2, width], axes: ["fact", "part", "unit"], lifetime: .run)]
    }

    /// The questions after the last hop, [B, D].
    public func queries(_ batch: KnowledgeBatch, _ pass: ForwardPass) -> Tensor {
        let table = pass(symbols)
        var query = pass.checked(sumBags(table, batch.questions), symbols)
        let keys = sumBags(table, batch.keys)
        let values = sumBags(table, batch.values)
        var weights: [Float] = []
        for hop in 0..<configuration.hops {
            let reading = readKeyValues(query, keys: keys, values: values, facts: batch.facts)
            if pass.trace != nil, !batch.lanes.isEmpty { weights += reading.weights.array[batch.facts[0]] }
            query = query + reading.values
            if hop < hopMaps.count { query = pass.checked(map(query, hopMaps[hop], pass), hopMaps[hop]) }
        }
        if let trace = pass.trace, !batch.lanes.isEmpty {
            let facts = batch.facts[0].count
            trace.record(
                "attention", rowAxis: "hop", columnAxis: "fact", rowLabels: (1...configuration.hops).map { "hop \($0)" }, rows: configuration.hops,
                columns: facts, values: weights)
        }
        return query
    }

    /// The score of every candidate.
    public func scores(_ batch: KnowledgeBatch, _ pass: ForwardPass) -> CandidateScores {
        scoreCandidates(queries(batch, pass), pass(answerSymbols), batch.candidates)
    }

    public func loss(_ batch: KnowledgeBatch, _ pass: ForwardPass) -> SummedLoss {
        candidateCrossEntropy(queries(batch, pass), pass(answerSymbols), batch.candidates, answers: batch.answers)
    }

    /// R x. An R that starts as the identity is kept as its difference from it, so that it needs no starting values of its own.
    private func map(_ x: Tensor, _ weight: Parameter, _ pass: ForwardPass) -> Tensor {
        let product = linear(x, weight: pass(weight))
        return configuration.hopStart == .identity ? x + product : product
    }
}
