// A loss curve drawn with characters.

import Foundation

extension LossCurve {
    /// The curve in `columns` x `rows` characters: dots of Braille patterns (2 x 4 to a character) for the training loss, `o` for validation.
    public func terminalDrawing(columns: Int = 72, rows: Int = 16) -> String {
        guard let range = Self.range(of: smoothedTraining + validation) else { return "no step was logged yet\n" }
        let labelWidth = 7
        let width = max(columns - labelWidth - 1, 10)
        var dots = [UInt8](repeating: 0, count: width * rows)
        var marks = [Bool](repeating: false, count: width * rows)
        func column(_ step: Double, _ cells: Int) -> Int {
            let share = (step - range.steps.lowerBound) / (range.steps.upperBound - range.steps.lowerBound)
            return min(max(Int(share * Double(cells)), 0), cells - 1)
        }
        func row(_ loss: Double, _ cells: Int) -> Int {
            let share = (range.losses.upperBound - loss) / (range.losses.upperBound - range.losses.lowerBound)
            return min(max(Int(share * Double(cells)), 0), cells - 1)
        }
        // Braille dots of a character: the left column has bits 0, 1, 2, 6 from top to bottom, the right one 3, 4, 5, 7.
        let bits: [[UInt8]] = [[0, 1, 2, 6], [3, 4, 5, 7]]
        var previous: (x: Int, y: Int)?
        for point in smoothedTraining {
            let (x, y) = (column(Double(point.step), width * 2), row(point.loss, rows * 4))
            let from = previous ?? (x, y)
            let length = max(abs(x - from.x), abs(y - from.y), 1)
            for part in 0...length {
                let (px, py) = (from.x + (x - from.x) * part / length, from.y + (y - from.y) * part / length)
                dots[py / 4 * width + px / 2] |= 1 << bits[px % 2][py % 4]
            }
            previous = (x, y)
        }
        for point in validation { marks[row(point.loss, rows) * width + column(Double(point.step), width)] = true }

        let labelledRows = Dictionary(
            axisTicks(range.losses, about: 4).map { (row($0, rows), axisLabel($0)) }, uniquingKeysWith: { first, _ in first })
        var lines = ["loss of \(title), nats a token" + (validation.isEmpty ? "" : " (o validation)")]
        for r in 0..<rows {
            let label = labelledRows[r] ?? ""
            let cells = (0..<width).map { c -> Character in
                if marks[r * width + c] { return "o" }
                let pattern = dots[r * width + c]
                return pattern == 0 ? " " : Character(UnicodeScalar(0x2800 + UInt32(pattern)) ?? " ")
            }
            lines.append(String(repeating: " ", count: max(0, labelWidth - label.count - 1)) + label + (label.isEmpty ? " │" : " ┤") + String(cells))
        }
        lines.append(String(repeating: " ", count: labelWidth) + "└" + String(repeating: "─", count: width))
        let (first, last) = (axisLabel(range.steps.lowerBound), "step " + axisLabel(range.steps.upperBound))
        lines.append(
            String(repeating: " ", count: labelWidth + 1) + first + String(repeating: " ", count: max(1, width - first.count - last.count)) + last)
        return lines.joined(separator: "\n") + "\n"
    }
}
