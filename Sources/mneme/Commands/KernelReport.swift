// What `mneme bench kernels` prints.

import Foundation
import Training

enum KernelReport {
    /// The name of the benchmark on the command line.
    static let name = "kernels"

    /// Times all kernels and prints the figures.
    ///
    /// - Parameters:
    ///   - seconds: how long to measure, over all kernels.
    ///   - json: one JSON object on one line instead of a table.
    static func write(seconds: Double, json: Bool) throws {
        let result = KernelBenchmark(seconds: seconds / 100).run()
        let text = json ? try JSONLine.encode(result) + "\n" : table(result)
        try FileHandle.standardOutput.write(contentsOf: Data(text.utf8))
    }

    private static func table(_ result: KernelBenchmarkResult) -> String {
        func column(_ text: String, _ width: Int) -> String { text.padding(toLength: width, withPad: " ", startingAt: 0) }
        func number(_ value: Double, _ digits: Int, _ width: Int) -> String {
            let text = String(format: "%.\(digits)f", value)
            return String(repeating: " ", count: max(0, width - text.count)) + text
        }
        var lines = [
            "\(result.processor), \(result.instructionSet), one thread: \(number(result.bandwidthGigabytesPerSecond, 1, 0)) GB/s, "
                + "\(number(result.peakGflopsPerSecond, 0, 0)) GFLOP/s; load average \(number(result.loadAverage, 2, 0))",
            column("kernel", 26) + column("types", 32) + column("data in", 9) + "        us    GB/s   share  G elem/s   ratio",
        ]
        for item in result.kernels {
            lines.append(
                column(item.kernel, 26) + column(item.types, 32) + column(item.residence, 9) + number(item.seconds * 1e6, 1, 10)
                    + number(item.gigabytesPerSecond, 1, 8) + number(item.percentOfBandwidth, 0, 6) + " %"
                    + number(item.elementsPerSecond / 1e9, 2, 10) + number(item.ratio, 2, 8))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
