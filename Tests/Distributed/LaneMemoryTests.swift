// What lanes carry from batch to batch is in the checkpoint, whole, whoever wrote it.

import Foundation
import Testing
import TestSupport

@Suite struct LaneMemoryTests {
    private static let states: [(kind: TrainingFixture.Kind, shapes: [String: [Int]], line: String)] = [
        (
            .carried, ["layers.0.hidden": [48], "layers.0.cell": [48], "layers.1.hidden": [48], "layers.1.cell": [48]],
            "48 units, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedComputer,
            [
                "core.matrix": [24, 12], "core.usage": [24], "core.precedence": [24], "core.links": [24, 24], "core.readWeights": [2, 24],
                "core.writeWeights": [24], "core.reads": [2, 12], "core.controller.0.hidden": [48], "core.controller.0.cell": [48],
                "core.controller.1.hidden": [48], "core.controller.1.cell": [48],
            ], "24 rows x 12 columns, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedMachine,
            [
                "core.memory": [48, 12], "core.readWeights": [2, 48], "core.writeWeights": [1, 48], "core.reads": [2, 12],
                "core.controller.0.hidden": [64], "core.controller.0.cell": [64],
            ], "48 rows x 12 columns, lifetime lane, initially 1e-06; 8 lanes hold"
        ),
        (
            .carriedSegments, ["layers.0.memory": [64, 48], "layers.1.memory": [64, 48], "remembered": []],
            "64 positions x 48 units, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedCompression,
            [
                "layers.0.memory": [42, 48], "layers.0.compressed": [20, 48], "layers.1.memory": [42, 48], "layers.1.compressed": [20, 48],
                "slots": [], "remembered": [],
            ], "20 slots x 48 units, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedDeltaNet,
            ["core.0.memory": [48, 16], "core.0.convolution": [3, 144], "core.1.memory": [48, 16], "core.1.convolution": [3, 144]],
            "48 keys x 16 values, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedSparseRows,
            ["core.0.memory": [192, 16], "core.0.convolution": [3, 144], "core.1.memory": [192, 16], "core.1.convolution": [3, 144]],
            "192 rows x 16 columns, lifetime lane, initially sums of core.0.startRowBias and core.0.startColumnBias; 8 lanes hold"
        ),
        (
            .carriedAssociations,
            [
                "core.0.associations": [48, 48], "core.0.normalizer": [48], "core.1.associations": [48, 48], "core.1.normalizer": [48],
                "core.pending": [35, 48], "core.pendingCount": [],
            ], "48 features x 48 units, lifetime lane, initially 0; 8 lanes hold"
        ),
        (
            .carriedSlots, ["core.slots": [6, 48], "core.pending": [35, 48], "core.pendingCount": []],
            "6 slots x 48 units, lifetime lane, initially core.slotBias, rows of length 1; 8 lanes hold"
        ),
    ]

    @Test("the state of all lanes, written by two ranks, is shown", arguments: states.indices)
    func inspected(_ index: Int) throws {
        let (kind, shapes, line) = Self.states[index]
        try withScratchDirectory { scratch in
            let run = try TrainingRun(kind, "run", in: scratch, "steps=4", "evaluation.every=never")
            try run.train(ranks: 2)
            let shown = try MPIRun.runAlone(executable: "mneme", arguments: ["memory", "inspect", run.directory, "--json"])
            #expect(shown.status == 0, "\(shown.standardError)")
            let rows = try #require(try JSONSerialization.jsonObject(with: Data(shown.standardOutput.utf8)) as? [[String: Any]])
            #expect(Dictionary(uniqueKeysWithValues: rows.map { ($0["name"] as? String ?? "", $0["shape"] as? [Int] ?? []) }) == shapes)
            for row in rows {
                #expect(row["lifetime"] as? String == "lane" && row["lanes"] as? Int == 8)
                let (minimum, maximum) = (try #require(row["minimum"] as? Double), try #require(row["maximum"] as? Double))
                // Usage, links and weights are never negative.
                let signed = ["hidden", "cell", "matrix", "memory", "reads", "convolution", "associations", "pending", "compressed", "core.slots"]
                let isSigned = signed.contains { (row["name"] as? String)?.hasSuffix($0) == true }
                #expect(maximum > 0 && (isSigned ? minimum < 0 : minimum >= 0), "\(row)")
            }
            let text = try MPIRun.runAlone(executable: "mneme", arguments: ["memory", "inspect", run.directory]).standardOutput
            #expect(text.contains(line), "\(text)")
            // What flows back to the start of a batch is logged; into remembered segments nothing flows.
            #expect(run.metrics.allSatisfy { $0.contains("\"carried_gradient_norm\":") == ![.carriedSegments, .carriedCompression].contains(kind) })
        }
    }
}
