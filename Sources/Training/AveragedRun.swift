// A run directory made from the mean of several checkpoints.

import Checkpoints
import Configuration
import Diagnostics
import Storage

/// Averaging checkpoints into a run directory that can be evaluated, used, and begun from with `--from`.
public enum AveragedRun {
    /// Writes the mean of some checkpoints' parameters, and the files that using the model takes.
    ///
    /// - Parameters:
    ///   - checkpoints: their directories, each named once.
    ///   - directory: a directory that does not exist, or is empty.
    /// - Returns: the step of the result, which is the newest one's, and the number of its items.
    /// - Throws: `UserError`: (.configuration) where they are not of one model, (.usage) where one is named twice or the directory holds something, and as
    ///   `CheckpointAverage` does.
    public static func write(_ checkpoints: [String], to directory: String) throws -> (step: Int, items: Int) {
        for (index, checkpoint) in checkpoints.enumerated() where checkpoints[..<index].contains(checkpoint) {
            throw UserError(.usage, "it is named twice", at: checkpoint, advice: "name each checkpoint once")
        }
        if let entry = Directory.exists(directory), try entry != .directory || !Directory.names(in: directory).isEmpty {
            throw UserError(.usage, "is there already", at: directory, advice: "name a directory that does not exist")
        }
        let readers = try checkpoints.map { try CheckpointReader(directory: $0) }
        defer { for reader in readers { try? reader.close() } }
        guard let newest = readers.max(by: { ($0.step, $0.directory) < ($1.step, $1.directory) }) else {
            throw UserError(.usage, "no checkpoints to average")
        }
        let configuration = try Self.configuration(of: newest)
        let task = try configuration.task.makeTask(configuration, savedIn: Directory.parent(of: newest.directory))
        for reader in readers {
            try reader.check(task)
            let theirs = try Self.model(Self.configuration(of: reader))
            for (key, value) in Self.model(configuration) where theirs[key] != value {
                throw UserError(
                    .configuration, "its \(key) is \(theirs[key] ?? "not set"), and \(value) in \(newest.directory)", at: reader.directory,
                    advice: "average checkpoints of the same model")
            }
        }
        let result = try CheckpointAverage.write(readers, to: directory)
        for file in task.files { try DurableFile.replace(Directory.path(of: file.name, in: directory), by: file.bytes) }
        return result
    }

    private static func configuration(of reader: CheckpointReader) throws -> RunConfiguration {
        guard case .string(let yaml) = reader.attributes["configuration"] else {
            throw UserError(.badData, "lacks the attributes of a training run", at: reader.directory)
        }
        return try RunConfiguration(yaml: yaml, file: "\(reader.directory)/checkpoint.h5")
    }

    /// What decides which function the parameters are of.
    private static func model(_ configuration: RunConfiguration) -> [String: String] {
        let values = configuration.values.filter { $0.name.hasPrefix("model.") && $0.key.onResume == .refused }
        return Dictionary(values.map { ($0.name, $0.value) }) { first, _ in first }
    }
}
