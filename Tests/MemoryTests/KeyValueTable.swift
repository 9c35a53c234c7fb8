// The part of the table that reads keys and values: what must hold of every line is in MemoryReferenceTests.

import Memory
import Reference
import TestSupport
import Tensors

private func normal(_ shapes: [String: Shape], deviation: Float = 1) -> [String: Tensor] {
    shapes.reduce(into: [:]) { $0[$1.key] = randomTensor($1.key, $1.value, deviation: deviation) }
}

let keyValueCases: [OperationCase] = [(3, 5, 3), (40, 60, 33)].flatMap { count, rows, width -> [OperationCase] in
    // Segment i holds i % 4 elements, so that some are empty.
    let starts = (0...count).map { n in (0..<n).reduce(0) { $0 + $1 % 4 } }
    let total = starts[count]
    let segments = { @Sendable in Segments(starts: starts.map { Int32($0) }) }
    let ranges = (0..<count).map { starts[$0]..<starts[$0 + 1] }
    let symbols = (0..<total).map { $0 * 7 % rows }
    // Candidates by list are the symbols; the first one is right where there is any. In a range all rows from 1 on but row 2 take part.
    let places = (0..<count).map { [2 + $0 % 2] }
    return [
        OperationCase("read key-values, \(count) queries", normal(["query": [count, width], "keys": [total, width], "values": [total, width]])) {
            readKeyValues($0["query"]!, keys: $0["keys"]!, values: $0["values"]!, facts: segments(), strength: 0.7).values
        } reference: {
            readKeyValues($0["query"]!, keys: $0["keys"]!, values: $0["values"]!, facts: ranges, strength: 0.7)
        },
        OperationCase("sum bags, \(count) bags", normal(["table": [rows, width]])) {
            sumBags(
                $0["table"]!,
                WeightedBags(
                    starts: starts.map { Int32($0) }, symbols: symbols.map { Int32($0) }, weights: (0..<total).map { 1 + 0.1 * Float($0) }))
        } reference: {
            sumBags($0["table"]!, ranges.map { $0.map { (symbols[$0], Double(1 + 0.1 * Float($0))) } })
        },
        OperationCase("candidate cross-entropy, \(count) lists", normal(["query": [count, width], "table": [rows, width]], deviation: 0.5)) {
            candidateCrossEntropy(
                $0["query"]!, $0["table"]!, .lists(segments(), rows: symbols.map { Int32($0) }),
                answers: AnswerPlaces(
                    starts: (0...count).map { n in Int32(ranges[..<n].count { !$0.isEmpty }) },
                    places: [Int32](repeating: 0, count: ranges.count { !$0.isEmpty }))
            ).loss
        } reference: {
            candidateCrossEntropy(
                $0["query"]!, $0["table"]!, candidates: ranges.map { $0.map { symbols[$0] } }, answers: ranges.map { $0.isEmpty ? [] : [0] })
        },
        OperationCase(
            "candidate cross-entropy, \(count) questions about a range", normal(["query": [count, width], "table": [rows, width]], deviation: 0.5)
        ) {
            candidateCrossEntropy(
                $0["query"]!, $0["table"]!,
                .range(
                    first: 1, count: rows - 1, excluded: Segments(starts: (0...Int32(count)).map { $0 }),
                    places: [Int32](repeating: 1, count: count)),
                answers: AnswerPlaces(starts: (0...Int32(count)).map { $0 }, places: places.map { Int32($0[0]) })
            ).loss
        } reference: {
            candidateCrossEntropy(
                $0["query"]!, $0["table"]!, candidates: (0..<count).map { _ in [1] + (3..<rows) }, answers: places.map { [$0[0] - 1] })
        },
    ]
}
