// Ranks that are not alike are told apart before they train, and ranks that read a run agree on one checkpoint.

import Foundation
import TestSupport
import Testing

@Suite(.serialized, .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
struct RankAgreementTests {
    /// Two ranks, the second with an environment of its own.
    private func start(_ arguments: [String], secondRank: String) throws -> FinishedRun {
        let mneme = MPIRun.productsFolder.path + "/mneme"
        let ranks = ["-n", "1", mneme] + arguments + [":", "-n", "1", "/usr/bin/env", secondRank, mneme] + arguments
        return try MPIRun.start(ranks: nil, executable: try #require(MPIRun.launcher).path, arguments: ranks, extraEnvironment: MPIRun.environment).finish()
    }

    @Test("a rank with the kernels of another instruction set is refused: its replica would drift")
    func instructionSets() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch)
            let end = try start(run.arguments, secondRank: "MNEME_INSTRUCTION_SET=sse2")
            #expect(end.status == 78, "\(end.standardError)")
            #expect(end.standardError.contains("rank 1 differs from rank 0 in instruction set: \"sse2\" there"), "\(end.standardError)")
            #expect(!FileManager.default.fileExists(atPath: run.directory))
        }
    }

    @Test("beside a session that publishes and removes checkpoints, an evaluation on two ranks is of one step")
    func evaluationBesideTraining() throws {
        try withScratchDirectory { scratch in
            let run = try TrainingRun(.windows, "run", in: scratch, "steps=100000", "checkpoint.every=1", "checkpoint.keep=2", "evaluation.every=never")
            let session = try run.start()
            #expect(session.wait { run.checkpointSteps.count == 2 })
            for _ in 0..<6 {
                let end = try MPIRun.run(ranks: 2, executable: "mneme", arguments: ["evaluate", run.directory, "--json"])
                #expect(end.status == 0, "\(end.standardError)")
                let report = try #require(try JSONSerialization.jsonObject(with: Data(end.standardOutput.utf8)) as? [String: Any])
                #expect(report["step"] as? Int ?? 0 > 0)
            }
            kill(session.identifier, SIGTERM)
            #expect(try session.finish().status == 75)
        }
    }
}
