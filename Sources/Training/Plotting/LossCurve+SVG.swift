// A loss curve as an SVG file.

import Foundation

extension LossCurve {
    /// The curve as a complete SVG document, 800 x 480, readable on light and dark backgrounds and without any script or font file.
    public func svg() -> String {
        let (width, height) = (800.0, 480.0)
        let (left, right, top, bottom) = (70.0, 20.0, 46.0, 56.0)
        var parts = [
            """
            <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 480" width="800" height="480" font-family="sans-serif" font-size="13">
            <title>Loss of \(escaped(title))</title>
            <rect width="800" height="480" fill="#ffffff"/>
            <text x="\(left)" y="26" font-size="17" font-weight="bold" fill="#222222">Loss of \(escaped(title))</text>
            """
        ]
        guard let range else {
            parts.append("<text x=\"\(left)\" y=\"80\" fill=\"#222222\">no step was logged yet</text>\n</svg>\n")
            return parts.joined(separator: "\n")
        }
        func x(_ step: Double) -> Double {
            left + (step - range.steps.lowerBound) / (range.steps.upperBound - range.steps.lowerBound) * (width - left - right)
        }
        func y(_ loss: Double) -> Double {
            top + (range.losses.upperBound - loss) / (range.losses.upperBound - range.losses.lowerBound) * (height - top - bottom)
        }
        func coordinate(_ value: Double) -> String { String(format: "%.1f", value) }
        for tick in axisTicks(range.losses, about: 6) {
            let line = coordinate(y(tick))
            parts.append("<line x1=\"\(left)\" x2=\"\(width - right)\" y1=\"\(line)\" y2=\"\(line)\" stroke=\"#dddddd\"/>")
            parts.append("<text x=\"\(left - 8)\" y=\"\(coordinate(y(tick) + 4))\" text-anchor=\"end\" fill=\"#444444\">\(axisLabel(tick))</text>")
        }
        for tick in axisTicks(range.steps, about: 8) {
            let line = coordinate(x(tick))
            parts.append("<line x1=\"\(line)\" x2=\"\(line)\" y1=\"\(height - bottom)\" y2=\"\(height - bottom + 5)\" stroke=\"#444444\"/>")
            parts.append("<text x=\"\(line)\" y=\"\(height - bottom + 20)\" text-anchor=\"middle\" fill=\"#444444\">\(axisLabel(tick))</text>")
        }
        parts.append(
            "<path d=\"M\(left) \(top)V\(height - bottom)H\(width - right)\" fill=\"none\" stroke=\"#444444\"/>")
        parts.append("<text x=\"\((left + width - right) / 2)\" y=\"\(height - 12)\" text-anchor=\"middle\" fill=\"#222222\">optimizer step</text>")
        parts.append(
            "<text transform=\"translate(18 \((top + height - bottom) / 2)) rotate(-90)\" text-anchor=\"middle\" fill=\"#222222\">"
                + "loss, nats a token</text>")
        func path(_ points: [Point]) -> String {
            points.enumerated().map { "\($0 == 0 ? "M" : "L")\(coordinate(x(Double($1.step)))) \(coordinate(y($1.loss)))" }.joined()
        }
        if !training.isEmpty {
            parts.append("<path d=\"\(path(training))\" fill=\"none\" stroke=\"#9ecae1\" stroke-width=\"1\"/>")
            parts.append("<path d=\"\(path(smoothedTraining))\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>")
            parts.append(legend("training", "#1f77b4", at: width - right - 190))
        }
        if !validation.isEmpty {
            parts.append("<path d=\"\(path(validation))\" fill=\"none\" stroke=\"#d62728\" stroke-width=\"2\"/>")
            for point in validation {
                parts.append("<circle cx=\"\(coordinate(x(Double(point.step))))\" cy=\"\(coordinate(y(point.loss)))\" r=\"3.5\" fill=\"#d62728\"/>")
            }
            parts.append(legend("validation", "#d62728", at: width - right - 90))
        }
        parts.append("</svg>\n")
        return parts.joined(separator: "\n")
    }

    private func legend(_ name: String, _ colour: String, at x: Double) -> String {
        "<line x1=\"\(x)\" x2=\"\(x + 18)\" y1=\"22\" y2=\"22\" stroke=\"\(colour)\" stroke-width=\"3\"/>"
            + "<text x=\"\(x + 23)\" y=\"26\" fill=\"#222222\">\(name)</text>"
    }

    private func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;").replacingOccurrences(of: ">", with: "&gt;")
    }
}
