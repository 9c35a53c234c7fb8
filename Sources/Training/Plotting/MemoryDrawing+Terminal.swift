// Pictures of a memory at work, for the terminal.
//
// Legend: R rows, C columns of a picture.

import Foundation
import NeuralNetworks

extension MemoryTrace.Picture {
    /// The value of a cell.
    func value(_ row: Int, _ column: Int) -> Float { values[row * columns + column] }

    /// The largest magnitude, which the darkest shade stands for; 1 when all is zero.
    var scale: Float {
        let largest = values.reduce(0) { max($0, abs($1)) }
        return largest > 0 ? largest : 1
    }

    /// True for attention over labelled things, which is drawn as a list of them.
    var isList: Bool { columnLabels.count == columns && rows <= 12 && columnLabels.contains { $0.count > 3 } }

    /// The picture as text.
    /// - Parameter width: characters that a line may have.
    public func drawing(columns width: Int) -> String { isList ? list(width) : map(width) }

    /// One line a column: bars and values of each row, then the column's label.
    private func list(_ width: Int) -> String {
        let heads = (0..<rows).map { rowLabels.isEmpty ? "\(rowAxis) \($0 + 1)" : rowLabels[$0] }
        let cell = max(11, (heads.map(\.count).max() ?? 0) + 1)
        var lines = ["  " + heads.map { $0.padding(toLength: cell, withPad: " ", startingAt: 0) }.joined() + columnAxis]
        for column in 0..<columns {
            let cells = (0..<rows).map { row -> String in
                let value = value(row, column)
                let bar = String(repeating: "█", count: Int((min(max(value, 0), 1) * 5).rounded()))
                return (String(format: "%4.2f ", value) + bar).padding(toLength: cell, withPad: " ", startingAt: 0)
            }
            lines.append(String(("  " + cells.joined() + columnLabels[column]).prefix(max(width, 20))))
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// One character a cell, from blank (0) to full (the largest magnitude). Neighbouring columns share a character where the line is too short,
    /// which then shows the largest of them. One line stands for five or more blank rows that have no labels of their own.
    private func map(_ width: Int) -> String {
        let scale = self.scale
        let shades: [Character] = [" ", "░", "▒", "▓", "█"]
        let labels = (0..<rows).map { rowLabels.isEmpty ? "\($0)" : rowLabels[$0] }
        let margin = (labels.map(\.count).max() ?? 0) + 1
        let room = max(width - margin - 4, 10)
        let pooled = (columns + room - 1) / max(room, 1)
        var lines = [
            "  \(rowAxis) (down), \(columnAxis) (across\(pooled > 1 ? ", \(pooled) a character" : "")); full is \(String(format: "%.3g", scale))"
        ]
        let drawn = (0..<rows).map { row in
            stride(from: 0, to: columns, by: max(pooled, 1)).map { first -> Character in
                let largest = (first..<min(first + pooled, columns)).reduce(Float(0)) { max($0, abs(value(row, $1))) }
                return shades[min(shades.count - 1, Int((largest / scale * Float(shades.count - 1)).rounded()))]
            }
        }
        var row = 0
        while row < rows {
            let blank = rowLabels.isEmpty ? drawn[row...].prefix { $0.allSatisfy { $0 == " " } }.count : 0
            let label = blank >= 5 ? "⋮" : labels[row]
            lines.append("  " + String(repeating: " ", count: margin - 1 - label.count) + label + "│" + String(drawn[row]) + "│")
            row += blank >= 5 ? blank : 1
        }
        return lines.joined(separator: "\n") + "\n"
    }
}

extension Explanation {
    /// All pictures as text, each under its name.
    /// - Parameter width: characters that a line may have.
    public func drawing(columns width: Int) -> String {
        pictures.map { "\($0.name)\n\($0.drawing(columns: width))" }.joined(separator: "\n")
    }

    /// The same without pictures.
    public var withoutPictures: Explanation {
        var copy = self
        copy.pictures = []
        return copy
    }
}
