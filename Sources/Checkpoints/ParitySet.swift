// The parity of one checkpoint: all its files together.

import Diagnostics
import Storage

/// The files of redundancy in a checkpoint's directory.
struct ParitySet {
    /// Where they lie.
    let directory: String
    /// The layout that their headers agree on.
    let layout: ParityLayout
    /// By their numbers; `nil` for one that is missing or whose header is damaged.
    let files: [ParityFile?]

    /// Whether a checkpoint was written with parity.
    static func exists(in directory: String) -> Bool { (try? Directory.names(in: directory).contains(where: CheckpointFormat.isParity)) ?? false }

    /// What a message about a damaged checkpoint adds where its parity may mend it.
    static func advice(_ directory: String) -> String {
        exists(in: directory) ? "; it has parity: mneme checkpoint repair \(directory) may restore it" : ""
    }

    /// Opens the parity of a checkpoint.
    ///
    /// - Returns: `nil` where no header can be read.
    /// - Throws: `UserError(.inputOutput)`.
    init?(directory: String, step: Int, worldSize: Int) throws {
        var found: [ParityFile] = []
        for name in try Directory.names(in: directory) where CheckpointFormat.isParity(name) && name != CheckpointFormat.joinedCopy {
            do {
                let file = try ParityFile(reading: "\(directory)/\(name)")
                let isNamedSo = name == CheckpointFormat.parityFile(index: file.index, count: file.layout.fileCount)
                if isNamedSo, file.step == step, file.layout.lengths.count == worldSize { found.append(file) }
            } catch let error as UserError where error.isDamage {}
        }
        guard let layout = found.first?.layout else { return nil }
        self.directory = directory
        self.layout = layout
        files = (0..<layout.fileCount).map { index in found.first { $0.index == index && $0.layout == layout } }
    }

    /// The path of a file, whether it is there or not.
    func path(ofFile index: Int) -> String { "\(directory)/\(CheckpointFormat.parityFile(index: index, count: layout.fileCount))" }

    /// Makes sure that redundancy which is there is all there, and as it was written.
    ///
    /// - Throws: `UserError(.badData)` that names the file.
    /// - Complexity: reads the parity, which is as large as one shard. The shards are not read.
    static func verify(_ directory: String, step: Int, worldSize: Int) throws {
        guard exists(in: directory) else { return }
        func damaged(_ path: String) -> UserError {
            UserError(.badData, "the parity is damaged or missing; the data are whole", at: path, advice: "mneme checkpoint repair makes it anew")
        }
        guard let set = try ParitySet(directory: directory, step: step, worldSize: worldSize) else { throw damaged(directory) }
        for (index, file) in set.files.enumerated() {
            guard let file, try file.damagedStripes().isEmpty else { throw damaged(set.path(ofFile: index)) }
        }
        let copy = "\(directory)/\(CheckpointFormat.joinedCopy)"
        guard Directory.exists(copy) == .file, try DurableFile.read(copy) == DurableFile.read("\(directory)/\(CheckpointFormat.joinedFile)") else {
            throw damaged(copy)
        }
        guard try ParityLayout(directory: directory, shards: worldSize) == set.layout else {
            throw UserError(.badData, "the shards are not as long as the parity says", at: directory, advice: "mneme checkpoint repair restores them")
        }
    }
}
