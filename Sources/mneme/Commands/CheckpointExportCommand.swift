// `mneme checkpoint export`

import ArgumentParser
import Checkpoints
import Diagnostics
import Foundation

struct CheckpointExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Write items as NumPy .npy files, parameters as safetensors, or one item as text.",
        discussion: """
            Without --item every item goes into the directory that --output names, in folders as its name has slashes. With '--output -' the \
            values of one item are printed, one a line. --format safetensors writes all parameters, under their names without 'parameters/', \
            into one file, or with --item that item alone. Every item is compared with its checksum.

            Examples:
              mneme checkpoint export checkpoints/wmt-en-de \\
                  --item parameters/embedding.weight --output embedding.npy
              mneme checkpoint export checkpoints/wmt-en-de \\
                  --format safetensors --output wmt-en-de.safetensors
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable { case npy, safetensors }

    @Argument(help: "A run directory, a checkpoint's directory, or a checkpoint.h5.")
    var path: String

    @Option(help: ArgumentHelp("The item to export.", valueName: "name"))
    var item: String?

    @Option(help: "The format of files.")
    var format = Format.npy

    @Option(help: ArgumentHelp("The file; without --item the directory; '-' prints text.", valueName: "path"))
    var output: String

    func validate() throws {
        if output == "-" && format == .safetensors { throw ValidationError("--output - prints text, and --format safetensors writes a file") }
        if output == "-" && item == nil { throw ValidationError("--output - needs --item: only one item can be printed") }
    }

    func run() throws {
        let reader = try CheckpointReader(directory: CheckpointStore.resolve(path))
        if format == .safetensors {
            let names = item.map { [$0] } ?? reader.items.map(\.name).filter { $0.hasPrefix("parameters/") }
            try SafetensorsFile.write(names, of: reader, to: output)
            CommandLineOutput.note("\(quantity(names.count, "item")) written to \(output)")
        } else if let item {
            if output == "-" { try printText(item, of: reader) } else { try NumPyFile.write(item, of: reader, to: output) }
        } else {
            for item in reader.items { try NumPyFile.write(item.name, of: reader, to: "\(output)/\(item.name).npy") }
            CommandLineOutput.note("\(reader.items.count) items written to \(output)")
        }
        try reader.close()
    }

    private func printText(_ name: String, of reader: CheckpointReader) throws {
        try reader.forEachText(of: name) { try print($0) }
    }
}
