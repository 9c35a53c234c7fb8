// What commands that generate did not read of their inputs, or did not write to its end.

import Diagnostics
import Evaluation
import Training

/// Counts texts that were cut, and says so on standard error: the first few one by one, all together at the end.
struct TextLosses {
    private let noun: String
    private let format: PromptFormat
    private let done: String
    private var cut = 0
    private var unfinished = 0
    private let mostNotes = 5

    /// - Parameters:
    ///   - noun: what each text is called, in the singular.
    ///   - done: what is done with the part that is read: translated, summarized.
    init(_ noun: String, _ format: PromptFormat, _ done: String) {
        (self.noun, self.format, self.done) = (noun, format, done)
    }

    /// Counts a text that is read.
    /// - Parameter number: from 1.
    mutating func read(_ tokens: Int, at number: Int) {
        guard tokens > format.maximumSource else { return }
        cut += 1
        guard cut <= mostNotes else { return }
        let part = "\(format.keepsEnd ? "last" : "first") \(format.maximumSource)"
        CommandLineOutput.note("\(noun) \(number): \(quantity(tokens, "token")), the \(part) are \(done); the rest is cut off")
    }

    /// Counts what was written for a text.
    mutating func wrote(_ output: GeneratedSequence?) {
        if output?.isComplete == false { unfinished += 1 }
    }

    /// Says how many of so many texts were cut.
    func report(of count: Int) {
        if cut > mostNotes { CommandLineOutput.note("\(cut) of \(quantity(count, noun)) are longer than \(format.maximumSource) tokens and were cut") }
        if unfinished > 0 {
            CommandLineOutput.note("\(unfinished) of \(quantity(count, "output")) did not come to an end within the limit of tokens (--maximum-tokens)")
        }
    }
}
