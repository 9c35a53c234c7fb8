// What `mneme bench kernels` prints.

import Foundation

extension KernelBenchmarkResult: BenchmarkReport {
    package var text: String {
        func column(_ text: String, _ width: Int) -> String { text.padding(toLength: width, withPad: " ", startingAt: 0) }
        func number(_ value: Double, _ digits: Int, _ width: Int) -> String {
            let text = String(format: "%.\(digits)f", value)
            return String(repeating: " ", count: max(0, width - text.count)) + text
        }
        var lines = [
            "\(processor), \(instructionSet), one thread: \(number(bandwidthGigabytesPerSecond, 1, 0)) GB/s, "
                + "\(number(peakGflopsPerSecond, 0, 0)) GFLOP/s; load average \(number(loadAverage, 2, 0))",
            column("kernel", 26) + column("types", 32) + column("data in", 9) + "        us    GB/s   share  G elem/s   ratio",
        ]
        for item in kernels {
            lines.append(
                column(item.kernel, 26) + column(item.types, 32) + column(item.residence, 9) + number(item.seconds * 1e6, 1, 10)
                    + number(item.gigabytesPerSecond, 1, 8) + number(item.percentOfBandwidth, 0, 6) + " %"
                    + number(item.elementsPerSecond / 1e9, 2, 10) + number(item.ratio, 2, 8))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
