// The mean of several checkpoints' parameters, as a checkpoint.

import Diagnostics

/// Averaging checkpoints: the last few of one run usually score better together than each alone.
public enum CheckpointAverage {
    /// Writes a checkpoint whose parameters are the means of those of several.
    ///
    /// A mean is summed in float64 in order of the checkpoints' steps (and names, where steps are equal), whatever the order in which they are given, and
    /// rounded once. Items under `parameters/` that are whole numbers are the newest checkpoint's. Nothing else is kept: moments of the optimizer, memory
    /// of lanes and positions of loaders belong to a place on one trajectory. Step and attributes are the newest checkpoint's, and `averaged_steps` lists
    /// what went in.
    ///
    /// - Parameters:
    ///   - checkpoints: at least one; each item read is compared with its checksum.
    ///   - directory: the run directory in which the result is published.
    /// - Returns: the step of the result, and the number of its items.
    /// - Throws: `UserError`: (.configuration) where parameters differ in name, shape or type; (.badData), (.missingInput) where one is damaged;
    ///   (.inputOutput).
    /// - Complexity: reads the parameters of all; memory for the parameters twice, and for one item in float64.
    public static func write(_ checkpoints: [CheckpointReader], to directory: String) throws -> (step: Int, items: Int) {
        let sorted = checkpoints.sorted { ($0.step, $0.directory) < ($1.step, $1.directory) }
        guard let newest = sorted.last else { preconditionFailure("no checkpoints to average") }
        let parameters = newest.items.filter { $0.name.hasPrefix("parameters/") }
        for other in sorted.dropLast() { try requireSame(parameters, newest, other) }

        let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, parameters.reduce(0) { $0 + $1.byteCount }), alignment: 64)
        defer { memory.deallocate() }
        var items: [CheckpointItem] = []
        var start = 0
        for parameter in parameters {
            let bytes = UnsafeMutableRawBufferPointer(rebasing: memory[start..<start + parameter.byteCount])
            start += parameter.byteCount
            switch parameter.elementType {
            case .float32: try mean(of: parameter, sorted, Float.self, into: bytes)
            case .float64: try mean(of: parameter, sorted, Double.self, into: bytes)
            default: try newest.readVerified(parameter, into: bytes)
            }
            items.append(CheckpointItem(parameter.name, parameter.elementType, shape: parameter.shape, bytes: UnsafeRawBufferPointer(bytes)))
        }

        var attributes = newest.attributes.filter { !CheckpointFormat.Attribute.reserved.contains($0.key) }
        attributes["averaged_steps"] = .integers(sorted.map { Int64($0.step) })
        let writer = CheckpointWriter(directory: directory, rank: 0, worldSize: 1, keep: 1)
        writer.begin(step: newest.step, attributes: attributes, items: items)
        do {
            try writer.waitForShard()
        } catch {
            writer.abandon()
            throw error
        }
        try writer.publish()
        return (newest.step, items.count)
    }

    private static func requireSame(_ parameters: [CheckpointItemDescription], _ newest: CheckpointReader, _ other: CheckpointReader) throws {
        func refuse(_ what: String) -> UserError {
            UserError(.configuration, what, at: other.directory, advice: "average checkpoints of the same model")
        }
        for parameter in parameters {
            guard let theirs = other.item(parameter.name) else { throw refuse("it has no '\(parameter.name)', which \(newest.directory) has") }
            guard theirs.shape == parameter.shape, theirs.elementType == parameter.elementType else {
                throw refuse(
                    "'\(parameter.name)' is \(theirs.elementType) \(theirs.shape), and \(parameter.elementType) \(parameter.shape) in \(newest.directory)")
            }
        }
        let names = Set(parameters.map(\.name))
        if let extra = other.items.first(where: { $0.name.hasPrefix("parameters/") && !names.contains($0.name) }) {
            throw refuse("it has '\(extra.name)', which \(newest.directory) has not")
        }
    }

    /// The mean of an item over checkpoints, in their order.
    private static func mean<Element: BinaryFloatingPoint & BitwiseCopyable>(
        of item: CheckpointItemDescription, _ checkpoints: [CheckpointReader], _ type: Element.Type, into bytes: UnsafeMutableRawBufferPointer
    ) throws {
        let result = bytes.bindMemory(to: Element.self)
        var sums = [Double](repeating: 0, count: result.count)
        try sums.withUnsafeMutableBufferPointer { sums in
            for checkpoint in checkpoints {
                var index = 0
                try checkpoint.verify(checkpoint.require(item.name)) { slice in
                    for value in slice.assumingMemoryBound(to: Element.self) {
                        sums[index] += Double(value)
                        index += 1
                    }
                }
            }
            for index in result.indices { result[index] = Element(sums[index] / Double(checkpoints.count)) }
        }
    }
}
