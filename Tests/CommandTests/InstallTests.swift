// launch/install: a tree that may be moved, and that runs where no Swift is.

import Foundation
import TestSupport
import Testing

@Suite(.serialized) struct InstallTests {
    private static let repository = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL.path
    private static let program = MPIRun.productsFolder.appending(path: "mneme").path

    /// Installs the program that is tested.
    private func install(_ prefix: String, _ arguments: String...) throws {
        let run = try MPIRun.runAlone(
            executable: "\(Self.repository)/launch/install", arguments: [prefix] + arguments, extraEnvironment: ["MNEME": Self.program])
        try #require(run.status == 0, "\(run.standardError)")
    }

    private func shell(_ script: String, _ arguments: String...) throws -> FinishedRun {
        try MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["bash", "-euc", script, "script"] + arguments)
    }

    /// Whether this process may have a mount namespace of its own.
    private static let mayUnshare = (try? MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["unshare", "-rm", "true"]))?.status == 0

    @Test("the tree has everything, may be installed again, moved and unpacked elsewhere")
    func tree() throws {
        try withScratchDirectory { scratch in
            try install("\(scratch)/first", "--tar", "\(scratch)/packed/mneme.tar.gz")
            try install("\(scratch)/first")
            try FileManager.default.moveItem(atPath: "\(scratch)/first", toPath: "\(scratch)/second")
            let unpacking = try shell("cd \"$1\"; tar xzf packed/mneme.tar.gz; ls", scratch)
            #expect(unpacking.standardOutput.split(separator: "\n").sorted() == ["mneme-0.1.0", "packed", "second"], "\(unpacking.standardError)")
            for place in ["second", "mneme-0.1.0"] {
                let prefix = "\(scratch)/\(place)"
                let version = try MPIRun.runAlone(executable: "\(prefix)/bin/mneme", arguments: ["--version"])
                #expect(version.status == 0 && version.standardOutput == "0.1.0\n", "\(version.standardError)")
                let run = try MPIRun.runAlone(
                    executable: "\(prefix)/bin/mneme",
                    arguments: ["train", "\(prefix)/share/mneme/launch/runs/copy-ntm.yaml", "--dry-run"])
                #expect(run.status == 0, "\(run.standardError)")
            }
            let share = "\(scratch)/second/share"
            for file in [
                "man/man1/mneme.1", "man/man1/mneme-corpus-shard.1", "man/man1/mneme-checkpoint-diff.1", "bash-completion/completions/mneme",
                "zsh/site-functions/_mneme", "fish/vendor_completions.d/mneme.fish", "modulefiles/mneme/0.1.0.lua", "mneme/launch/mpirun",
                "mneme/README.md", "mneme/LICENSE",
            ] {
                let size = try FileManager.default.attributesOfItem(atPath: "\(share)/\(file)")[.size] as? Int
                #expect(size ?? 0 > 100, "\(file)")
            }
            let pages = try FileManager.default.contentsOfDirectory(atPath: "\(share)/man/man1")
            #expect(pages.count > 30, "\(pages)")
            for page in pages {
                let text = try String(contentsOfFile: "\(share)/man/man1/\(page)", encoding: .utf8)
                let requests = text.split(separator: "\n").filter { $0.hasPrefix(".") || $0.hasPrefix("'") }.map { $0.prefix(3) }
                #expect(requests == [".TH", ".SH", ".SH", ".nf", ".fi", ".SH"], "\(page)")
            }
            let syntax = try shell(
                """
                bash -n "$1/bash-completion/completions/mneme"
                ! command -v zsh >/dev/null || zsh -n "$1/zsh/site-functions/_mneme"
                ! command -v fish >/dev/null || fish -n "$1/fish/vendor_completions.d/mneme.fish"
                """, share)
            #expect(syntax.status == 0, "\(syntax.standardError)")
        }
    }

    @Test("a folder of something else is left alone")
    func somethingElse() throws {
        try withScratchDirectory { scratch in
            try "mine".write(toFile: "\(scratch)/thesis.txt", atomically: true, encoding: .utf8)
            let run = try MPIRun.runAlone(
                executable: "\(Self.repository)/launch/install", arguments: [scratch], extraEnvironment: ["MNEME": Self.program])
            #expect(run.status == 64 && run.standardError.contains("holds something else than Mneme"), "\(run.standardError)")
            #expect(try FileManager.default.contentsOfDirectory(atPath: scratch) == ["thesis.txt"])
        }
    }

    @Test(
        "doctor and the quickstart run in a root without Swift", .enabled(if: mayUnshare, "mount namespaces are not permitted"),
        .enabled(if: MPIRun.launcher != nil, "there is no mpirun in PATH"))
    func withoutSwift() throws {
        try withScratchDirectory { scratch in
            try install("\(scratch)/mneme")
            let libraries = try shell("ldd \"$1\" | sed -n 's/.* => \\(.*\\)\\/libswiftCore.so .*/\\1/p'", Self.program)
            let runtime = libraries.standardOutput.trimmingCharacters(in: .whitespacesAndNewlines)
            try #require(runtime.contains("/"))
            // The system's folders, read where they lie; an empty one in the place of the Swift runtime, wherever that is.
            let script = """
                root=$1/root
                mkdir -p "$root"/{mneme,tmp,work}
                for folder in bin sbin lib lib32 lib64 usr etc proc dev sys; do
                    [ ! -L /$folder ] || { ln -s "$(readlink /$folder)" "$root/$folder"; continue; }
                    [ -d /$folder ] || continue
                    mkdir "$root/$folder"
                    mount --rbind "/$folder" "$root/$folder"
                done
                mount --bind "$1/mneme" "$root/mneme"
                [ ! -d "$root$2" ] || mount -t tmpfs none "$root$2"
                exec env -i PATH=/mneme/bin:/usr/bin:/bin:/usr/sbin:/sbin HOME=/work LANG=C.UTF-8 chroot "$root" bash -euc '
                    cd /work
                    ! command -v swift
                    mneme doctor --json
                    MNEME_QUICKSTART_STEPS=200 /mneme/share/mneme/launch/quickstart
                    ls checkpoints/quickstart'
                """
            let run = try MPIRun.runAlone(executable: "/usr/bin/env", arguments: ["unshare", "-rm", "bash", "-euc", script, "script", scratch, runtime])
            try #require(run.status == 0, "\(run.standardOutput)\n\(run.standardError)")
            let lines = run.standardOutput.split(separator: "\n")
            #expect(lines.contains("step-200") && lines.contains("launch/mpirun ended with exit code 69") && lines.contains("metrics.jsonl") && lines.contains { $0.hasPrefix("replaced ") }, "\(lines)")
            struct Doctor: Decodable { var shared_libraries: [String] }
            let doctor = try JSONDecoder().decode(Doctor.self, from: Data(try #require(lines.first).utf8))
            let folders = Set(doctor.shared_libraries.map { ($0 as NSString).deletingLastPathComponent })
            #expect(folders.allSatisfy { $0.hasPrefix("/mneme") || $0.hasPrefix("/usr/") || $0.hasPrefix("/lib") }, "\(folders)")
            #expect(doctor.shared_libraries.contains("/mneme/libexec/mneme/libswiftCore.so"))
            #expect(doctor.shared_libraries.contains { $0.contains("/libmpi.so") } && doctor.shared_libraries.contains { $0.contains("openblas") })
        }
    }
}
