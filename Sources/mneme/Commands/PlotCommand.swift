// mneme plot

import ArgumentParser
import Diagnostics
import Foundation
import Storage
import Training

struct PlotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plot",
        abstract: "Draw the loss curve of a run, in the terminal and as an SVG file.",
        discussion: """
            Examples:
              mneme plot checkpoints/quickstart --output loss.svg
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("Write an SVG file too.", valueName: "file.svg"))
    var output: String?

    @Option(help: ArgumentHelp("Characters a line.", valueName: "count"))
    var columns = 72

    func validate() throws {
        try requireRange("--columns", columns, 20...10_000)
    }

    func run() throws {
        let curve = try LossCurve(runDirectory: runDirectory)
        try print(curve.terminalDrawing(columns: columns), terminator: "")
        guard let output else { return }
        try DurableFile.replace(output, by: Data(curve.svg().utf8))
        try print("written to \(PathText.shown(output))")
    }
}
