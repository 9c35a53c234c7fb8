// `mneme checkpoint inspect`

import ArgumentParser
import Checkpoints
import Diagnostics

struct CheckpointInspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect",
        abstract: "Show what a checkpoint says about itself, its items, and figures about one of them.",
        discussion: """
            Examples:
              mneme checkpoint inspect checkpoints/wmt-en-de/step-500 \\
                  --item parameters/embedding.weight
            """)

    @Argument(help: "A run directory, a checkpoint's directory, or a checkpoint.h5.")
    var path: String

    @Option(help: ArgumentHelp("Show figures about the values of this item instead.", valueName: "name"))
    var item: String?

    @Flag(help: "Print one JSON object.")
    var json = false

    func run() throws {
        let reader = try CheckpointReader(directory: CheckpointStore.resolve(path))
        if let item {
            try printItem(item, of: reader)
        } else if json {
            try JSONOutput.print(
                Checkpoint(
                    directory: reader.directory, step: reader.step, attributes: reader.attributes.mapValues(AttributeValue.init),
                    items: reader.items.map { Item($0, nil) }))
        } else {
            try printCheckpoint(reader)
        }
        try reader.close()
    }

    private func printCheckpoint(_ reader: CheckpointReader) throws {
        try print("directory  \(PathText.shown(reader.directory))")
        for (name, value) in reader.attributes.sorted(by: { $0.key < $1.key }) {
            let text = AttributeValue(value).text
            // Long texts, such as the configuration, stand below their names.
            if text.contains("\n") {
                try print("\(name):")
                for line in text.split(separator: "\n", omittingEmptySubsequences: false) where !line.isEmpty { try print("    \(line)") }
            } else {
                try print("\(name)  \(text)")
            }
        }
        try print("")
        let rows = reader.items.map { [$0.name, $0.elementType.rawValue, $0.shapeText, CheckpointOutput.size($0.byteCount)] }
        try CheckpointOutput.print(table: [["ITEM", "TYPE", "SHAPE", "SIZE"]] + rows, right: [3])
        try print("\(reader.items.count) items, \(CheckpointOutput.size(reader.items.reduce(0) { $0 + $1.byteCount }))")
    }

    private func printItem(_ name: String, of reader: CheckpointReader) throws {
        let statistics = try reader.statistics(of: name)
        guard let item = reader.item(name) else { return }
        if json {
            try JSONOutput.print(Item(item, statistics))
            return
        }
        try CheckpointOutput.print(table: [
            ["item", item.name], ["type", item.elementType.rawValue], ["shape", item.shapeText], ["size", CheckpointOutput.size(item.byteCount)],
            ["minimum", "\(statistics.minimum)"], ["maximum", "\(statistics.maximum)"], ["mean", "\(statistics.mean)"],
            ["norm", "\(statistics.norm)"], ["not finite", "\(statistics.notFinite)"],
        ])
    }

    /// A checkpoint in JSON.
    private struct Checkpoint: Encodable {
        let directory: String
        let step: Int
        let attributes: [String: AttributeValue]
        let items: [Item]
    }

    /// An item in JSON, with figures where they were asked for.
    private struct Item: Encodable {
        let name: String
        let type: String
        let shape: [Int]
        let bytes: Int
        let crc32: UInt32
        let minimum: Double?
        let maximum: Double?
        let mean: Double?
        let norm: Double?
        let notFinite: Int?

        init(_ item: CheckpointItemDescription, _ statistics: CheckpointStatistics?) {
            name = item.name
            type = item.elementType.rawValue
            shape = item.shape
            bytes = item.byteCount
            crc32 = item.checksum
            minimum = statistics?.minimum
            maximum = statistics?.maximum
            mean = statistics?.mean
            norm = statistics?.norm
            notFinite = statistics?.notFinite
        }
    }

    /// An attribute as JSON and as text.
    private struct AttributeValue: Encodable {
        let value: CheckpointAttribute

        init(_ value: CheckpointAttribute) { self.value = value }

        var text: String {
            switch value {
            case .string(let text): text
            case .integer(let number): "\(number)"
            case .real(let number): "\(number)"
            case .integers(let numbers): "\(numbers)"
            case .reals(let numbers): "\(numbers)"
            }
        }

        func encode(to encoder: any Encoder) throws {
            var container = encoder.singleValueContainer()
            switch value {
            case .string(let text): try container.encode(text)
            case .integer(let number): try container.encode(number)
            case .real(let number): try container.encode(number)
            case .integers(let numbers): try container.encode(numbers)
            case .reals(let numbers): try container.encode(numbers)
            }
        }
    }
}
