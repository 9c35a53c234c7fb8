// What a rank did and when, in the form that Perfetto and Chrome's tracing page read.
//
// Source: the Trace Event Format, events of the kinds X, i and M.

import Collectives
import Diagnostics
import Foundation

/// The trace of one rank: `trace-<rank>.json`. Times are those of rank 0's clock.
///
/// The file is an array whose closing bracket may be missing, as readers of the format allow: a session that is killed leaves a trace too.
package final class TraceFile {
    private let file: AppendedFile
    private let ledger: Ledger
    private let rank: Int
    /// This rank's clock at the origin of all ranks' times.
    private let origin: ContinuousClock.Instant
    private var problem: String?

    /// Opens the traces of all ranks. Collective.
    ///
    /// Ranks compare clocks: rank 0 answers each of some messages, and the shortest round trip gives the difference to half of its time.
    ///
    /// - Parameter begin: when this rank began to keep what ended; the earliest of all ranks is time 0.
    /// - Throws: `UserError` (.inputOutput).
    package init(directory: String, since begin: ContinuousClock.Instant, _ communicator: any Communicator, _ ledger: Ledger) throws {
        (self.ledger, rank) = (ledger, communicator.rank)
        let path = "\(directory)/trace-\(communicator.rank).json"
        file = try communicator.onEveryRank {
            let file = try AppendedFile(path)
            try file.cut(to: 0)
            return file
        }
        let common = try Self.commonOrigin(communicator)
        origin = common - .seconds(try communicator.allReduced((common - begin) / .seconds(1), .maximum))
        append("[\n" + Self.line(#"{"name":"process_name","ph":"M","pid":\#(rank),"tid":0,"args":{"name":\#(Self.quoted("rank \(rank) on \(communicator.nodeName)"))}}"#))
    }

    /// A moment of this rank's clock that is the same moment on all ranks.
    private static func commonOrigin(_ communicator: any Communicator) throws -> ContinuousClock.Instant {
        let base = ContinuousClock.now
        var offset = 0.0
        for rank in 1..<max(communicator.size, 1) where communicator.rank == 0 || communicator.rank == rank {
            var shortest = Double.infinity
            for _ in 0..<20 {
                let sent = (ContinuousClock.now - base) / .seconds(1)
                var incoming = [0.0]
                try [sent].withUnsafeBytes { outgoing in
                    try incoming.withUnsafeMutableBytes { incoming in
                        // Rank 0 answers when it has heard: its time lies in the middle of the other's round trip.
                        if communicator.rank == 0 {
                            let question = Message(partner: rank, bytes: incoming)
                            try communicator.startMessages([], [question], tag: 0).wait()
                            var answer = (ContinuousClock.now - base) / .seconds(1)
                            try withUnsafeMutableBytes(of: &answer) {
                                try communicator.startMessages([Message(partner: rank, bytes: $0)], [], tag: 0).wait()
                            }
                        } else {
                            try communicator.startMessages([Message(partner: 0, bytes: UnsafeMutableRawBufferPointer(mutating: outgoing))], [], tag: 0).wait()
                            try communicator.startMessages([], [Message(partner: 0, bytes: incoming)], tag: 0).wait()
                        }
                    }
                }
                let received = (ContinuousClock.now - base) / .seconds(1)
                if communicator.rank == rank, received - sent < shortest {
                    shortest = received - sent
                    // How far rank 0's clock, counted from its own base, is ahead of this rank's.
                    offset = incoming[0] - (sent + received) / 2
                }
            }
        }
        return base - .seconds(offset)
    }

    /// Whether a file of a run directory is a trace.
    static func isOwn(_ name: String) -> Bool { name.hasPrefix("trace-") && name.hasSuffix(".json") }

    /// Writes what has ended since the last call.
    package func write() {
        let spans = ledger.takeSpans()
        guard !spans.isEmpty, problem == nil else { return }
        append(
            spans.map { span in
                let time = String(format: "%.1f", (span.begin - origin) / .microseconds(1))
                let name = Self.quoted(span.name)
                if span.kind == .moment {
                    return Self.line(#"{"name":\#(name),"cat":"moment","ph":"i","s":"p","ts":\#(time),"pid":\#(rank),"tid":0,"args":{"step":\#(span.step)}}"#)
                }
                let duration = String(format: "%.1f", (span.end - span.begin) / .microseconds(1))
                let bytes = span.kind == .collective ? #","bytes":\#(span.bytes)"# : ""
                return Self.line(
                    #"{"name":\#(name),"cat":"\#(span.kind.rawValue)","ph":"X","ts":\#(time),"dur":\#(duration),"pid":\#(rank),"tid":0,"args":{"step":\#(span.step)\#(bytes)}}"#)
            }.joined())
    }

    /// Writes the rest, and closes the array.
    package func finish() {
        write()
        append(#"{"name":"end","ph":"M","pid":\#(rank),"tid":0,"args":{}}]"# + "\n")
    }

    private func append(_ text: String) { if problem == nil { problem = file.append(Array(text.utf8)) } }

    /// Why the trace ends early, once.
    func takeProblem() -> String? {
        defer { if problem != nil { problem = "" } }
        return problem.flatMap { $0.isEmpty ? nil : "\(file.path) cannot be written: \($0); the run goes on without" }
    }

    private static func line(_ event: String) -> String { event + ",\n" }

    private static func quoted(_ text: String) -> String {
        (try? String(decoding: JSONEncoder().encode(text), as: UTF8.self)) ?? "\"\""
    }
}
