// `mneme checkpoint`, as users run it.

import Checkpoints
import Diagnostics
import Foundation
import TestSupport
import Testing

@Suite struct CommandTests {
    private func mneme(_ arguments: String...) throws -> FinishedRun {
        let run = try MPIRun.runAlone(executable: "mneme", arguments: ["checkpoint"] + arguments)
        #expect(!run.isTimedOut)
        return run
    }

    private func json(_ text: String) throws -> Any { try JSONSerialization.jsonObject(with: Data(text.utf8), options: .fragmentsAllowed) }

    /// A run directory with checkpoints of steps 10 and 20, written by 2 ranks.
    private func withRun(_ body: (_ directory: String, _ sample: Sample) throws -> Void) throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            for step in [10, 20] { try sample.save(to: directory, step: step, worldSize: 2) }
            try body(directory, sample)
        }
    }

    private func flip(_ path: String, at offset: UInt64) throws {
        let file = try #require(FileHandle(forUpdatingAtPath: path))
        try file.seek(toOffset: offset)
        let byte = try #require(try file.read(upToCount: 1)?.first)
        try file.seek(toOffset: offset)
        try file.write(contentsOf: Data([byte ^ 1]))
        try file.close()
    }

    @Test("list: a table, JSON, and what is damaged")
    func list() throws {
        try withRun { directory, _ in
            try FileManager.default.removeItem(atPath: directory + "/step-10/shard-1-of-2.h5")
            let table = try mneme("list", directory)
            #expect(table.status == 65)
            let lines = table.standardOutput.split(separator: "\n")
            #expect(lines[0].split(separator: " ") == ["STEP", "SIZE", "RANKS", "CREATED", "STATE", "DIRECTORY"])
            #expect(lines[1].contains("damaged") && lines[2].contains("complete"))
            #expect(lines[3].contains("shard-1-of-2.h5: cannot be opened: No such file or directory"))

            let entries = try #require(try json(try mneme("list", directory, "--json").standardOutput) as? [[String: Any]])
            #expect(entries.map { $0["step"] as? Int } == [10, 20])
            #expect(entries.map { $0["complete"] as? Bool } == [false, true])
            #expect(entries[1]["world_size"] as? Int == 2)

            let absent = try mneme("list", directory + "/absent")
            #expect(absent.status == 66)
            #expect(absent.standardError == "mneme: error: \(directory)/absent: there is no such directory; name a run directory\n")
            #expect(try mneme("list").status == 64)
        }
        try withScratchDirectory { directory in
            let empty = try mneme("list", directory)
            #expect(empty.standardOutput == "no checkpoints\n")
        }
    }

    @Test("inspect: attributes, items, and figures about one, from every kind of path")
    func inspect() throws {
        try withRun { directory, sample in
            for path in [directory, directory + "/step-20", directory + "/step-20/checkpoint.h5"] {
                let text = try mneme("inspect", path)
                #expect(text.status == 0)
                #expect(text.standardOutput.contains("step  20\n"))
                #expect(text.standardOutput.contains("configuration:\n    run: sample\n"))
                #expect(text.standardOutput.contains("parameters/blocks.0.attention.qkv.weight  float32  [48, 144]"))
                #expect(text.standardOutput.contains("\n9 items, "))
            }
            let checkpoint = try #require(try json(try mneme("inspect", directory, "--json").standardOutput) as? [String: Any])
            #expect(checkpoint["step"] as? Int == 20)
            #expect((checkpoint["attributes"] as? [String: Any])?["tokens"] as? Int == 1 << 40)
            let items = try #require(checkpoint["items"] as? [[String: Any]])
            #expect(items.first { $0["name"] as? String == "memory/segment" }?["shape"] as? [Int] == [8, 3, 16])

            let name = "parameters/head.weight"
            let values = sample.values[name]!.map { Double($0) }
            let item = try #require(try json(try mneme("inspect", directory, "--item", name, "--json").standardOutput) as? [String: Any])
            #expect(item["minimum"] as? Double == values.min())
            #expect(item["maximum"] as? Double == values.max())
            #expect(abs((item["mean"] as? Double ?? .nan) - values.reduce(0, +) / Double(values.count)) < 1e-12)
            #expect(abs((item["norm"] as? Double ?? .nan) - values.reduce(0) { $0 + $1 * $1 }.squareRoot()) < 1e-9)
            #expect(item["not_finite"] as? Int == 0)
            #expect(try mneme("inspect", directory, "--item", name).standardOutput.contains("minimum     \(values.min()!)"))

            let absent = try mneme("inspect", directory, "--item", "parameters/none")
            #expect(absent.status == 65)
            #expect(absent.standardError.contains("it has no item 'parameters/none'"))
            #expect(try mneme("inspect", directory + "/step-30").status == 66)
        }
    }

    @Test("verify: right, damaged, and missing")
    func verify() throws {
        try withRun { directory, _ in
            let right = try mneme("verify", directory, directory + "/step-10")
            #expect(right.status == 0)
            #expect(right.standardOutput.split(separator: "\n").count == 2)
            #expect(right.standardOutput.contains("/step-20: 9 items, "))
            let entries = try #require(try json(try mneme("verify", directory, "--json").standardOutput) as? [[String: Any]])
            #expect(entries.map { $0["items"] as? Int } == [9])
            let digest = try #require(entries[0]["digest"] as? String)
            #expect(digest.count == 16 && right.standardOutput.contains("every checksum right, digest \(digest)\n"))

            let shard = directory + "/step-20/shard-0-of-2.h5"
            try flip(shard, at: 100_000)
            let damaged = try mneme("verify", directory)
            #expect(damaged.status == 65)
            #expect(
                damaged.standardError
                    == "mneme: error: \(shard): checksum mismatch in 'parameters/embedding.weight' [1000, 48]; use another checkpoint\n")
            try FileManager.default.removeItem(atPath: shard)
            #expect(try mneme("verify", directory).status == 66)
            #expect(try mneme("verify").status == 64)
        }
    }

    @Test("diff: same and different, as diff's exit codes have it")
    func diff() throws {
        try withRun { directory, sample in
            let same = try mneme("diff", directory + "/step-10", directory + "/step-20")
            #expect(same.status == 0)
            #expect(same.standardOutput == "all items are the same\n")
            var other = sample
            other.values["parameters/scale"] = [other.values["parameters/scale"]![0] + 1]
            try other.save(to: directory, step: 30, worldSize: 1)
            let different = try mneme("diff", directory + "/step-10", directory)
            #expect(different.status == 1)
            #expect(different.standardOutput.hasPrefix("parameters/scale: 1 values differ, by "))
            let run = try mneme("diff", directory + "/step-10", directory, "--json")
            #expect(run.status == 1)
            let entries = try #require(try json(run.standardOutput) as? [[String: Any]])
            #expect(entries.map { $0["name"] as? String } == ["parameters/scale"])
            #expect(entries[0]["count"] as? Int == 1)
        }
    }

    @Test("export: NumPy files of one item and of all, and text")
    func export() throws {
        try withRun { directory, sample in
            let name = "parameters/head.weight"
            let file = directory + "/out/head.npy"
            #expect(try mneme("export", directory, "--item", name, "--output", file).status == 0)
            let data = try Data(contentsOf: URL(fileURLWithPath: file))
            let header = String(decoding: data[10..<128], as: UTF8.self)
            #expect(data.starts(with: [0x93] + Array("NUMPY".utf8) + [1, 0]))
            #expect(header.hasPrefix("{'descr': '<f4', 'fortran_order': False, 'shape': (300, 96), }"))
            #expect((data.count - 300 * 96 * 4) % 64 == 0)
            #expect(data.suffix(300 * 96 * 4).elementsEqual(sample.values[name]!.withUnsafeBytes { Array($0) }))

            let text = try mneme("export", directory, "--item", name, "--output", "-")
            #expect(text.standardOutput.split(separator: "\n").map { Float($0) } == sample.values[name]!)
            let positions = try mneme("export", directory, "--item", "loader/position", "--output", "-")
            #expect(positions.standardOutput.split(separator: "\n").map { Int64($0) } == sample.positions)

            #expect(try mneme("export", directory, "--output", directory + "/all").status == 0)
            for item in ["parameters/blocks.0.attention.qkv.bias", "parameters/scale", "parameters/empty", "random/state", "memory/segment"] {
                #expect(FileManager.default.fileExists(atPath: "\(directory)/all/\(item).npy"))
            }
            let usage = try mneme("export", directory, "--output", "-")
            #expect(usage.status == 64)
            #expect(usage.standardError.contains("only one item can be printed"))
            // A link keeps the test off the device's own directory.
            try FileManager.default.createSymbolicLink(atPath: directory + "/full.npy", withDestinationPath: "/dev/full")
            let full = try mneme("export", directory, "--item", name, "--output", directory + "/full.npy")
            #expect(full.status == 74)
            #expect(full.standardError.hasPrefix("mneme: error: \(directory)/full.npy: cannot write the file: No space left on device"))
        }
    }

    @Test("export: safetensors, read back by a few lines that know nothing of Mneme", .enabled(if: Python.any != nil, "no python3"))
    func safetensors() throws {
        try withRun { directory, sample in
            let file = directory + "/all.safetensors"
            #expect(try mneme("export", directory, "--format", "safetensors", "--output", file).status == 0)
            let script = """
                import json, struct, sys
                data = open(sys.argv[1], "rb").read()
                (count,) = struct.unpack("<Q", data[:8])
                header = json.loads(data[8:8 + count])
                metadata = header.pop("__metadata__")
                assert count % 8 == 0 and metadata == {"step": "20", "format": "mneme"}, metadata
                end = 0
                for name, tensor in sorted(header.items(), key=lambda entry: entry[1]["data_offsets"]):
                    (start, stop), size = tensor["data_offsets"], 4
                    for extent in tensor["shape"]: size *= extent
                    assert tensor["dtype"] == "F32" and start == end and stop - start == size, name
                    end = stop
                assert end == len(data) - 8 - count
                start, stop = header["head.weight"]["data_offsets"]
                values = struct.unpack("<%df" % ((stop - start) // 4), data[8 + count:][start:stop])
                print(json.dumps(sorted(header)), header["head.weight"]["shape"], header["scale"]["shape"])
                print(values[0].hex(), values[-1].hex())
                """
            let run = try MPIRun.runAlone(executable: try #require(Python.any), arguments: ["-c", script, file])
            #expect(run.status == 0, "\(run.standardError)")
            let lines = run.standardOutput.split(separator: "\n").map(String.init)
            #expect(
                lines.first
                    == #"["blocks.0.attention.qkv.bias", "blocks.0.attention.qkv.weight", "embedding.weight", "empty", "head.weight", "scale"] [300, 96] []"#)
            let data = try Data(contentsOf: URL(fileURLWithPath: file))
            let weight = sample.values["parameters/head.weight"]!
            #expect(data.range(of: weight.withUnsafeBytes { Data($0) }) != nil)

            #expect(try mneme("export", directory, "--format", "safetensors", "--item", "random/state", "--output", file).status == 0)
            #expect(String(decoding: try Data(contentsOf: URL(fileURLWithPath: file)), as: UTF8.self).contains(#""random/state":{"data_offsets":[0,16],"dtype":"U64","shape":[2]}"#))
            #expect(try mneme("export", directory, "--format", "safetensors", "--output", "-").status == 64)

            // What is damaged is not exported.
            try flip(directory + "/step-20/shard-0-of-2.h5", at: 100_000)
            let damaged = try mneme("export", directory, "--format", "safetensors", "--output", file)
            #expect(damaged.status == 65 && damaged.standardError.contains("checksum mismatch in 'parameters/embedding.weight'"))
            #expect(!FileManager.default.fileExists(atPath: file))
        }
    }

    @Test("repair: what is damaged, in text and JSON, and the way back")
    func repair() throws {
        try withScratchDirectory { directory in
            let sample = Sample(seed: 1)
            try sample.save(to: directory, step: 10, worldSize: 2)
            try sample.save(to: directory, step: 20, worldSize: 2, hasParity: true)
            let (step, shard) = (directory + "/step-20", directory + "/step-20/shard-1-of-2.h5")
            let whole = try Data(contentsOf: URL(fileURLWithPath: shard))
            #expect(try mneme("repair", directory).standardOutput == "\(step): nothing is damaged\n")
            #expect(try mneme("repair", directory + "/step-10").standardOutput == "\(directory)/step-10: nothing is damaged; it was written without parity\n")

            try FileManager.default.removeItem(atPath: shard)
            let dry = try mneme("repair", step, "--dry-run")
            #expect(dry.status == 65 && dry.standardOutput == "\(shard): missing\n")
            let report = try #require(try json(try mneme("repair", step, "--json").standardOutput) as? [String: Any])
            #expect(report["repaired"] as? Bool == true && report["parity"] as? Bool == true)
            #expect((report["damaged"] as? [[String: String]]) == [["file": "shard-1-of-2.h5", "problem": "missing"]])
            #expect(try Data(contentsOf: URL(fileURLWithPath: shard)) == whole)

            try flip(shard, at: 1000)
            let repaired = try mneme("repair", step)
            #expect(repaired.status == 0 && repaired.standardOutput.hasSuffix("\(step): 1 file restored, every checksum right\n"))
            #expect(try Data(contentsOf: URL(fileURLWithPath: shard)) == whole)

            try FileManager.default.removeItem(atPath: shard)
            try FileManager.default.removeItem(atPath: step + "/shard-0-of-2.h5")
            let refused = try mneme("repair", step)
            #expect(refused.status == 65)
            #expect(
                refused.standardError
                    == "mneme: error: \(step): it cannot be repaired: shard-0-of-2.h5 and shard-1-of-2.h5 are damaged in the same place, and parity restores one file there; use another checkpoint\n"
            )
        }
    }

    @Test("h5py reads the same values as export writes", .enabled(if: Python.withH5py != nil, "no python3 with h5py; MNEME_PYTHON may name one"))
    func h5py() throws {
        try withRun { directory, _ in
            let file = directory + "/weight.npy"
            let name = "parameters/embedding.weight"
            #expect(try mneme("export", directory, "--item", name, "--output", file).status == 0)
            let script = """
                import h5py, numpy, sys, zlib
                directory, name, exported = sys.argv[1:]
                data = open(directory + "/checkpoint.h5", "rb").read()
                assert b"crc32 %08x of the %d bytes from 512 on" % (zlib.crc32(data[512:]), len(data) - 512) in data[:512]
                with h5py.File(directory + "/checkpoint.h5") as checkpoint:
                    whole, saved = checkpoint[name][...], numpy.load(exported)
                    assert whole.dtype == saved.dtype == numpy.float32 and whole.shape == saved.shape == (1000, 48)
                    assert whole.tobytes() == saved.tobytes() and whole.any()
                    items = []
                    checkpoint.visititems(lambda path, item: items.append(item) if isinstance(item, h5py.Dataset) else None)
                    for item in items:
                        assert item.is_virtual
                        assert zlib.crc32(item[...].tobytes()) == item.attrs["crc32"], item.name
                    assert checkpoint.attrs["configuration"] == "run: sample\\n" and checkpoint.attrs["step"] == 20
                    print(len(items), "items")
                """
            let python = try #require(Python.withH5py)
            let run = try MPIRun.runAlone(executable: python, arguments: ["-c", script, directory + "/step-20", name, file])
            #expect(run.status == 0, "\(run.standardError)")
            #expect(run.standardOutput == "9 items\n")
        }
    }
}

/// Pythons that tests run.
private enum Python {
    /// Any Python 3.
    static let any: String? = {
        let environment = ProcessInfo.processInfo.environment
        let candidates = [environment["MNEME_PYTHON"]].compactMap { $0 } + (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/python3" }
        return candidates.first { FileManager.default.isExecutableFile(atPath: $0) }
    }()

    /// One with h5py and NumPy.
    static let withH5py: String? = {
        let environment = ProcessInfo.processInfo.environment
        let candidates = [environment["MNEME_PYTHON"]].compactMap { $0 } + (environment["PATH"] ?? "").split(separator: ":").map { "\($0)/python3" }
        return candidates.first { path in
            FileManager.default.isExecutableFile(atPath: path)
                && (try? MPIRun.runAlone(executable: path, arguments: ["-c", "import h5py, numpy"]))?.status == 0
        }
    }()
}
