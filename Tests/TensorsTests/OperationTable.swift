// The table of fused operations. What must hold of every line is in FusedOperationTests.

import Reference
import TestSupport
import Tensors

/// Fused operations at small and odd sizes, and at sizes where rows are divided between threads.
let fusedOperations: [OperationCase] =
    linearCases + normalizationCases + lookupCases + attentionCases + relativeAttentionCases + lossCases + marginalCases
    + recurrentCases

private func normal(_ shapes: [String: Shape], deviation: Float = 1) -> [String: Tensor] {
    shapes.reduce(into: [:]) { $0[$1.key] = randomTensor($1.key, $1.value, deviation: deviation) }
}

private let linearCases: [OperationCase] = [(2, 3, 4), (5, 67, 33), (300, 48, 129)].flatMap { rows, inputs, outputs -> [OperationCase] in
    let size = "[\(rows), \(inputs)] to \(outputs)"
    let values = { @Sendable in
        normal(["x": [rows, inputs], "weight": [outputs, inputs], "bias": [outputs]], deviation: inputs > 10 ? 0.3 : 1)
    }
    let rounded: Set = ["x", "weight"]
    return [
        OperationCase("linear \(size)", rounded: rounded, values()) {
            linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!)
        } reference: {
            linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!)
        },
        OperationCase("linear without bias \(size)", rounded: rounded, values().filter { $0.key != "bias" }) {
            linear($0["x"]!, weight: $0["weight"]!)
        } reference: {
            linear($0["x"]!, weight: $0["weight"]!)
        },
        OperationCase("linear and GELU \(size)", golden: "linear-gelu", rounded: rounded, values()) {
            linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!, activation: .gelu)
        } reference: {
            geluTanh(linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!))
        },
        // Rounding moves sums across the kink: in bfloat16 a few elements alone can be compared.
        OperationCase("linear and rectifier \(size)", rounded: rows == 2 ? rounded : [], values()) {
            linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!, activation: .rectifier)
        } reference: {
            rectifier(linear($0["x"]!, weight: $0["weight"]!, bias: $0["bias"]!))
        },
    ]
}

private let normalizationCases: [OperationCase] = [(3, 8), (7, 33), (400, 130)].flatMap { rows, width -> [OperationCase] in
    let values = { @Sendable in normal(["x": [rows, width], "gain": [width], "bias": [width]]) }
    let size = "[\(rows), \(width)]"
    return [
        OperationCase("layer norm \(size)", golden: "layer-norm", rounded: ["x"], values()) {
            layerNorm($0["x"]!, gain: $0["gain"]!, bias: $0["bias"]!)
        } reference: {
            layerNorm($0["x"]!, gain: $0["gain"]!, bias: $0["bias"]!)
        },
        OperationCase("layer norm without bias \(size)", rounded: ["x"], values().filter { $0.key != "bias" }) {
            layerNorm($0["x"]!, gain: $0["gain"]!, bias: nil)
        } reference: {
            layerNorm($0["x"]!, gain: $0["gain"]!)
        },
        OperationCase("RMS norm \(size)", golden: "rms-norm", rounded: ["x"], values().filter { $0.key != "bias" }) {
            rmsNorm($0["x"]!, gain: $0["gain"]!)
        } reference: {
            rmsNorm($0["x"]!, gain: $0["gain"]!)
        },
    ]
}

private let lookupCases: [OperationCase] = [(5, 3, 4), (90, 33, 700)].flatMap { rows, width, count -> [OperationCase] in
    let indices = (0..<count).map { ($0 * 7 + $0 * $0 % 5) % rows }
    let lanes = 5
    let dropoutMask = { @Sendable (shape: Shape) in
        dropout(Tensor(repeating: 1, shape), rate: 0.4, DropoutContext(seed: 3, step: 5, lanes: Array(0..<lanes))).doubles
    }
    return [
        OperationCase("embedding \(count) of [\(rows), \(width)]", normal(["table": [rows, width]])) {
            embedding($0["table"]!, Tensor(indices.map { Int32($0) }, [count]), scale: 1.5)
        } reference: {
            embedding($0["table"]!, indices, scale: 1.5)
        },
        OperationCase("add positions \(count) of [\(rows), \(width)]", normal(["x": [2, count, width], "table": [count + 2, width]])) {
            addPositions($0["x"]!, $0["table"]!, first: 2)
        } reference: {
            $0["x"]! + $0["table"]!.slice(2..<count + 2, axis: 0)
        },
        OperationCase(
            "add dropout [\(lanes), \(count)]", rounded: ["residual", "x"], normal(["residual": [lanes, count], "x": [lanes, count]])
        ) {
            addDropout($0["residual"]!, $0["x"]!, rate: 0.4, DropoutContext(seed: 3, step: 5, lanes: Array(0..<lanes)))
        } reference: {
            addDropout($0["residual"]!, $0["x"]!, mask: ReferenceArray(dropoutMask([lanes, count]), [lanes, count]))
        },
        OperationCase("add without dropout [\(lanes), \(count)]", normal(["residual": [lanes, count], "x": [lanes, count]])) {
            addDropout($0["residual"]!, $0["x"]!, rate: 0.4, nil)
        } reference: {
            addDropout($0["residual"]!, $0["x"]!, mask: 1)
        },
    ]
}

/// Sizes and masks of one attention.
private struct AttentionCase {
    var name: String
    var golden: String?
    var batch = 2
    var queries = 3
    var keys = 5
    var width = 4
    var heads = 2
    var mask = AttentionMask()
    var scale: Float?

    var operation: OperationCase {
        let (batch, queries, keys, width, heads, mask, scale) = (batch, queries, keys, width, heads, mask, scale)
        var result = OperationCase(
            "attention, \(name)", golden: golden, rounded: ["query", "pair"],
            normal(["query": [batch, queries, width], "pair": [batch, keys, 2 * width]])
        ) {
            attention(
                query: AttentionOperand($0["query"]!), key: AttentionOperand($0["pair"]!), value: AttentionOperand($0["pair"]!, column: width),
                width: width, heads: heads, mask: mask, scale: scale)
        } reference: { inputs in
            .stacked(
                (0..<batch).map { b in
                    let pair = inputs["pair"]![b].split(2)
                    return attention(
                        query: inputs["query"]![b], key: pair[0], value: pair[1], heads: heads, keyLength: mask.keyLengths?[b],
                        isCausal: mask.causal, scale: scale.map { Double($0) })
                })
        }
        if batch * queries * keys > 1000 { result.checkedElements = 6 }
        return result
    }
}

private let attentionCases: [OperationCase] =
    [
        AttentionCase(name: "plain", golden: "attention"),
        AttentionCase(
            name: "causal with a cache, lengths and a scale", golden: "attention-causal-cache-lengths",
            mask: AttentionMask(causal: true, keyLengths: [5, 2]), scale: 0.8),
        AttentionCase(name: "a sequence without keys", golden: "attention-empty", mask: AttentionMask(keyLengths: [0, 5])),
        AttentionCase(name: "one query", queries: 1, keys: 9, width: 10, heads: 5),
        AttentionCase(
            name: "blocks of queries", golden: "attention-blocks", batch: 1, queries: 70, keys: 80, width: 6, heads: 2,
            mask: AttentionMask(causal: true)),
        AttentionCase(name: "blocks of keys", batch: 2, queries: 33, keys: 150, width: 34, heads: 2, mask: AttentionMask(keyLengths: [150, 71])),
    ].map(\.operation)

/// Sizes of one relative attention: segments alone, after a past, over the edges of blocks, and with keys that some queries do not see.
private func relativeAttentionCase(
    _ name: String, golden: String? = nil, batch: Int = 2, queries: Int = 3, keys: Int = 7, width: Int = 6, heads: Int = 2, firstKeys: [Int]? = nil,
    window: Int? = nil
) -> OperationCase {
    let shapes: [String: Shape] = [
        "query": [batch, queries, width], "pair": [batch, keys, 2 * width], "distances": [keys, width], "contentBias": [width],
        "positionBias": [width],
    ]
    var result = OperationCase("relative attention, \(name)", golden: golden, rounded: ["query", "pair", "distances"], normal(shapes)) {
        relativeAttention(
            query: AttentionOperand($0["query"]!), key: AttentionOperand($0["pair"]!), value: AttentionOperand($0["pair"]!, column: width),
            distances: $0["distances"]!, contentBias: $0["contentBias"]!, positionBias: $0["positionBias"]!, heads: heads, firstKeys: firstKeys,
            segmentWindow: window)
    } reference: { inputs in
        .stacked(
            (0..<batch).map { b in
                let pair = inputs["pair"]![b].split(2)
                return relativeAttention(
                    query: inputs["query"]![b], key: pair[0], value: pair[1], distances: inputs["distances"]!, contentBias: inputs["contentBias"]!,
                    positionBias: inputs["positionBias"]!, heads: heads, firstKeys: firstKeys.map { Array($0[b * queries..<(b + 1) * queries]) },
                    segmentWindow: window)
            })
    }
    if batch * queries * keys > 1000 { result.checkedElements = 6 }
    return result
}

private let relativeAttentionCases: [OperationCase] = [
    relativeAttentionCase("a segment alone", golden: "relative-attention", keys: 3, width: 4),
    relativeAttentionCase("a past", golden: "relative-attention-past", firstKeys: [4, 4, 4, 0, 0, 6]),
    relativeAttentionCase(
        "a query without keys", golden: "relative-attention-empty", batch: 1, queries: 4, keys: 5, width: 3, heads: 1, firstKeys: [2, 2, 1, 5]),
    relativeAttentionCase("one query", queries: 1, keys: 9, width: 10, heads: 5),
    relativeAttentionCase("blocks of queries", batch: 1, queries: 70, keys: 83, width: 6),
    relativeAttentionCase(
        "blocks of queries, some keys unseen", batch: 2, queries: 67, keys: 100, width: 10, firstKeys: (0..<134).map { $0 < 67 ? 33 : $0 - 67 }),
    relativeAttentionCase("a window in the segment, a past", queries: 5, keys: 9, firstKeys: [0, 0, 1, 3, 7, 2, 2, 2, 5, 5], window: 2),
    relativeAttentionCase("blocks of queries, a window", batch: 1, queries: 70, keys: 83, width: 6, window: 3),
]

private let lossCases: [OperationCase] = [(4, 3, 6), (37, 12, 19), (200, 33, 150)].flatMap { rows, width, classes -> [OperationCase] in
    let targets = (0..<rows).map { $0 % 5 == 1 ? -1 : $0 * 7 % classes }
    let target = { @Sendable in Tensor(targets.map { Int32($0) }, [rows]) }
    let scale: Float = width > 10 ? 0.3 : 1
    return [0, 0.1].flatMap { smoothing -> [OperationCase] in
        let size = "[\(rows), \(classes)], smoothing \(smoothing)"
        return [
            OperationCase("cross-entropy \(size)", golden: "cross-entropy", normal(["logits": [rows, classes]])) {
                crossEntropy($0["logits"]!, targets: target(), labelSmoothing: Float(smoothing)).loss
            } reference: {
                crossEntropy($0["logits"]!, targets: targets, labelSmoothing: smoothing)
            },
            OperationCase(
                "linear cross-entropy \(size)", golden: "linear-cross-entropy", rounded: ["hidden", "weight"],
                normal(["hidden": [rows, width], "weight": [classes, width], "bias": [classes]], deviation: scale)
            ) {
                linearCrossEntropy(
                    $0["hidden"]!, weight: $0["weight"]!, bias: $0["bias"]!, targets: target(), labelSmoothing: Float(smoothing), chunk: 16
                ).loss
            } reference: {
                crossEntropy(
                    linear($0["hidden"]!, weight: $0["weight"]!, bias: $0["bias"]!), targets: targets, labelSmoothing: smoothing)
            },
        ]
    }
}

/// Answers of 0 to 3 tokens, padded; R is K times the tokens of all.
private let marginalCases: [OperationCase] = [(1, 1, 5), (5, 3, 7), (9, 6, 67)].flatMap { questions, records, classes -> [OperationCase] in
    let answers = (0..<questions).map { question in (0..<3).map { $0 < (question + 2) % 4 ? (question * 5 + $0 * 3) % classes : -1 } }
    let rows = records * answers.joined().count { $0 >= 0 }
    let targets = { @Sendable in Tensor(answers.joined().map { Int32($0) }, [questions, 3]) }
    return MarginalForm.allCases.map { form in
        OperationCase(
            "marginal cross-entropy by \(form), \(questions) questions, \(records) records", golden: "marginal-\(form)",
            normal(["logits": [rows, classes], "scores": [questions, records]])
        ) {
            marginalCrossEntropy($0["logits"]!, scores: $0["scores"]!, targets: targets(), form: form).loss
        } reference: {
            marginalCrossEntropy($0["logits"]!, scores: $0["scores"]!, targets: answers, isPerToken: form == .token)
        }
    }
}

private let recurrentCases: [OperationCase] = recurrentKinds.flatMap { kind in
    [(2, 3, 4, 5, false), (2, 3, 4, 5, true), (5, 7, 19, 67, true), (1, 9, 18, 129, false), (70, 5, 19, 33, true)].map {
        batch, steps, inputs, width, isMasked in
        var result = OperationCase(
            "\(kind) of \(width), \(batch) x \(steps)\(isMasked ? ", masked" : "")", golden: kind,
            recurrentInputs(kind, batch: batch, steps: steps, inputs: inputs, width: width, isMasked: isMasked)
        ) { _, inputs in
            let result = runRecurrent(kind, inputs)
            return OperationCase.Outcome([result.outputs, result.state["hidden"], result.state["cell"]].compactMap { $0 })
        } reference: { inputs in
            var parameters = inputs
            parameters["bias"] = inputs["inputBias"]! + (inputs["hiddenBias"] ?? 0)
            let state = inputs.filter { ["hidden", "cell", "stateMask"].contains($0.key) }
            let result = scan(inputs["x"]!, from: state) {
                switch kind {
                case "lstm": lstmCell($0, &$1, parameters)
                case "gru": gruCell($0, &$1, parameters)
                case "gru-reset-before": gruResetBeforeCell($0, &$1, parameters)
                default: elmanCell($0, &$1, parameters)
                }
            }
            return [result.outputs, result.state["hidden"], result.state["cell"]].compactMap { $0 }
        }
        (result.constants, result.roundedInputs) = (["stateMask"], ["x", "inputWeight", "hiddenWeight", "hidden"])
        if width > 10 { result.checkedElements = 3 }
        return result
    }
}
