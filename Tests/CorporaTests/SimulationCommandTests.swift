import Corpora
import Foundation
import TestSupport
import Testing

/// `mneme corpus simulate`, run as a program.
@Suite struct SimulationCommandTests {
    /// The program beside the test bundle, as the package's build leaves it.
    private static let program: String? = {
        let candidates = CommandLine.arguments.prefix(1) + CommandLine.arguments.filter { $0.contains(".xctest") }
        for path in candidates {
            let beside = URL(fileURLWithPath: path).deletingLastPathComponent().appendingPathComponent("mneme").path
            if FileManager.default.isExecutableFile(atPath: beside) { return beside }
        }
        return nil
    }()

    private func simulate(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
        try runProgram(try #require(Self.program, "mneme is not built"), ["corpus", "simulate", "babi"] + arguments)
    }

    @Test func everyFlag() throws {
        let directory = try TemporaryDirectory()
        let output = directory.path + "/out"
        let first = try simulate(
            "--stories", "20", "--seed", "3", "--tasks", "1-3,15", "--test-stories", "4", "--valid-stories", "2", "--output", output, "--json")
        #expect(first.status == 0, "\(first.errors)")
        let summary = try JSONDecoder().decode(BabiSimulator.Summary.self, from: Data(first.output.utf8))
        #expect(summary.seed == 3)
        #expect(Set(summary.files.map(\.task)) == [1, 2, 3, 15])
        #expect(summary.files.filter { $0.split == .test }.map(\.stories) == [4, 4, 4, 4])
        #expect(summary.files.filter { $0.split == .valid }.map(\.stories) == [2, 2, 2, 2])
        let file = try String(contentsOfFile: output + "/qa15_basic-deduction_train.txt", encoding: .utf8)
        let task = try #require(BabiTask(15))
        #expect(file == BabiSimulator(seed: 3).stories(task: task, count: 20).map(\.text).joined())

        let refused = try simulate("--stories", "20", "--output", output)
        #expect(refused.status == 64)
        #expect(refused.errors.contains("not empty") && refused.errors.split(separator: "\n").count == 1)
        let forced = try simulate("--stories", "20", "--output", output, "--force")
        #expect(forced.status == 0)
        #expect(forced.output.contains("train: 20 files, 400 stories"))
        #expect(forced.output.contains("test: 20 files, 40 stories"))
        #expect(try FileManager.default.contentsOfDirectory(atPath: output).count == 40)
    }

    @Test(arguments: [
        ["--output", "x"], ["--stories", "0", "--output", "x"], ["--stories", "1", "--tasks", "0-3", "--output", "x"],
        ["--stories", "1", "--tasks", "3-1", "--output", "x"], ["--stories", "1", "--tasks", "a", "--output", "x"],
        ["--stories", "1", "--test-stories", "-1", "--output", "x"], ["--stories", "1", "--valid-stories=-1", "--output", "x"],
        ["--stories", "1", "--output", ""],
    ])
    func wrongUse(_ arguments: [String]) throws {
        let result = try runProgram(try #require(Self.program, "mneme is not built"), ["corpus", "simulate", "babi"] + arguments)
        #expect(result.status == 64)
        #expect(result.output.isEmpty)
    }

    @Test("facts and questions of films: every flag, and wrong use")
    func knowledge() throws {
        let program = try #require(Self.program, "mneme is not built")
        let directory = try TemporaryDirectory()
        let output = directory.path + "/films"
        let command = ["corpus", "simulate", "knowledge", "--films", "20", "--seed", "3", "--held-out", "0.5", "--output", output]
        let first = try runProgram(program, command + ["--json"])
        #expect(first.status == 0, "\(first.errors)")
        let summary = try JSONDecoder().decode(SyntheticKnowledge.Summary.self, from: Data(first.output.utf8))
        #expect(summary.seed == 3 && summary.files.map(\.lines) == [100, 200, 25, 25, 20])
        #expect(try runProgram(program, command).status == 64)
        let forced = try runProgram(program, command + ["--force"])
        #expect(forced.status == 0 && forced.output.contains("facts.txt: 100 lines"), "\(forced.output)")
        for wrong in [["--films", "9"], ["--films", "10", "--held-out", "0"], ["--films", "10", "--output", ""]] {
            #expect(try runProgram(program, ["corpus", "simulate", "knowledge", "--output", "x"] + wrong).status == 64, "\(wrong)")
        }
    }
}
