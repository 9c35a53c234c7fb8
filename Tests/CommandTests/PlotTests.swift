// Loss curves: from metrics.jsonl to the terminal and to SVG.

import Foundation
import FoundationXML
import TestSupport
import Testing
import Training

@Suite struct PlotTests {
    private let metrics = (1...60).map { step in
        "{\"step\":\(step * 10),\"tokens\":1,\"loss\":\(4.0 / Double(step) + 1)"
            + (step % 20 == 0 ? ",\"validation_loss\":\(4.2 / Double(step) + 1)}" : "}")
    }

    @Test("the curve is drawn, and the SVG is well-formed and complete")
    func draws() throws {
        try withScratchDirectory { directory in
            try (metrics.joined(separator: "\n") + "\n").write(toFile: "\(directory)/metrics.jsonl", atomically: true, encoding: .utf8)
            let output = try mneme(["plot", directory, "--output", "\(directory)/loss.svg", "--columns", "60"]).standardOutput
            let lines = output.split(separator: "\n")
            #expect(lines.count == 20)
            #expect(lines.dropFirst().allSatisfy { $0.count <= 72 })
            #expect(output.filter { $0 == "o" }.count >= 3)
            #expect(output.contains("step 600"))
            // The curve falls: its first dots stand higher than its last.
            let rows = lines.dropFirst().enumerated().filter { $1.contains { ("\u{2801}"..."\u{28FF}").contains($0) } }.map(\.offset)
            #expect((rows.last ?? 0) - (rows.first ?? 0) >= 10)

            let parser = XMLParser(data: try Data(contentsOf: URL(fileURLWithPath: "\(directory)/loss.svg")))
            let counter = ElementCounter()
            parser.delegate = counter
            #expect(parser.parse())
            #expect(counter.counts["circle"] == 3)
            #expect((counter.counts["path"] ?? 0) == 4)
            #expect((counter.counts["text"] ?? 0) >= 12)
        }
    }

    @Test("no step yet, one step, and a line that is no object")
    func edges() throws {
        let empty = LossCurve(title: "a<b", training: [], validation: [])
        #expect(empty.terminalDrawing() == "no step was logged yet\n")
        #expect(empty.svg().contains("a&lt;b"))
        let one = LossCurve(title: "one", training: [.init(step: 5, loss: 2)], validation: [])
        #expect(one.terminalDrawing().contains("step"))
        try withScratchDirectory { directory in
            func write(_ text: String) throws { try text.write(toFile: "\(directory)/metrics.jsonl", atomically: true, encoding: .utf8) }
            try write("{\"step\":1,\"loss\":2}\nnonsense\n{\"step\":2,\"loss\":1}\n")
            let run = try mneme(["plot", directory], expecting: 65)
            #expect(run.standardError == "mneme: error: \(directory)/metrics.jsonl:2: is not a metrics object; remove the line\n")
            // What a session that resumes would remove: a line in the making, or one that a crash cut short.
            for rest in ["{\"step\":3,\"lo", "nonsense\n", "\0\0\0", "{\"step\":3,\"lo\n\n"] {
                try write("{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}\n" + rest)
                #expect(try LossCurve(runDirectory: directory).training == [.init(step: 1, loss: 2), .init(step: 2, loss: 1)], "\(rest)")
            }
            try write("{\"step\":1,\"loss\":2}\n{\"step\":2,\"loss\":1}")
            #expect(try LossCurve(runDirectory: directory).training.count == 2)
        }
    }
}

private final class ElementCounter: NSObject, XMLParserDelegate {
    var counts: [String: Int] = [:]

    func parser(_: XMLParser, didStartElement element: String, namespaceURI _: String?, qualifiedName _: String?, attributes _: [String: String]) {
        counts[element, default: 0] += 1
    }
}
