// A run whose directory has a name that is no UTF-8: every command finds its files, and shows the byte.

import Foundation
import TestSupport
import Testing

@Suite struct PathBytesTests {
    @Test("data, run, curve and picture in a directory whose name is no UTF-8")
    func notUTF8() throws {
        try withScratchDirectory { scratch in
            let script = """
                directory=$1/$(printf 'caf\\351'); mkdir "$directory"
                "$0" corpus simulate babi --stories 100 --tasks 1 --output "$directory/data"
                "$0" corpus simulate babi --stories 100 --tasks 1 --output "$directory/data" --force
                mkfifo "$directory/data/qa2_pipe_train.txt"
                cat > "$directory/first.run.yaml" <<'END'
                task: {kind: babi, data: data, tasks: [1]}
                model: {kind: memory-network, hops: 1, width: 8}
                steps: 6
                batch: {lanes: 8}
                log: {every: 2, prometheus: state.prom}
                checkpoint: {every: 3}
                END
                cd "$directory"
                "$0" train "$directory/first.run.yaml" --set "run=$directory/run" 2>&1
                "$0" train "$directory/first.run.yaml" --set "run=$directory/run" --set steps=8 2>&1
                "$0" plot "$directory/run" --output "$directory/loss.svg"
                "$0" memory show "$directory/run" --svg "$directory/memory.svg"
                "$0" evaluate "$directory/run"
                ls run/state.prom run/vocabulary.json loss.svg memory.svg
                "$0" train first.run.yaml --set steps=2 2>&1 | head -n 1
                """
            let program = MPIRun.productsFolder.appending(path: "mneme").path
            let run = try MPIRun.runAlone(executable: "/bin/sh", arguments: ["-euc", script, program, scratch])
            #expect(run.status == 0, "\(run.standardOutput)\(run.standardError)")
            for text in [
                "run \(scratch)/caf\\xE9/run: 1 rank", "passed over 1 pipe: data/qa2_pipe_train.txt", "resuming at step 6 from \(scratch)/caf\\xE9/run/step-6",
                "written to \(scratch)/caf\\xE9/loss.svg", "memory.svg", "run checkpoints/first.run: 1 rank",
            ] { #expect(run.standardOutput.contains(text), "\(text) is not in \(run.standardOutput)") }
        }
    }
}
