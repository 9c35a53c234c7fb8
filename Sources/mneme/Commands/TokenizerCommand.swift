// mneme tokenizer: train a tokenizer, and try one.

import ArgumentParser
import Configuration
import Corpora
import Diagnostics
import Foundation
import Inputs

extension TokenizerTraining.Kind: ExpressibleByArgument {}
extension TokenizerTraining.Normalization: ExpressibleByArgument {}

/// The noun `tokenizer`.
struct TokenizerCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenizer",
        abstract: "Train tokenizers, encode and decode text.",
        discussion: """
            Examples:
              mneme tokenizer train --kind bpe --vocabulary 8000 \\
                  --output en.model text.txt
            """,
        subcommands: [TokenizerTrainCommand.self, TokenizerEncodeCommand.self, TokenizerDecodeCommand.self])
}

/// Trains a SentencePiece model.
struct TokenizerTrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train",
        abstract: "Train a SentencePiece model on the text of a corpus.",
        discussion: """
            By default no text is lost: decoding what was encoded gives the same bytes. Ids: unknown 0, beginning 1, end 2, padding 3, line break 4. \
            The same inputs and options give the same file.

            Examples:
              mneme tokenizer train --kind unigram --vocabulary 8000 \\
                  --output en.model text.txt
              mneme tokenizer train --kind bpe --vocabulary 16000 --output ende.model \\
                  --format wmt --languages en-de train
              mneme tokenizer train --kind char --output characters.model shakespeare.txt
            """)

    @Option(help: ArgumentHelp("Segmentation: \(TokenizerTraining.Kind.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "kind"))
    var kind: TokenizerTraining.Kind
    @Option(help: ArgumentHelp("Number of pieces; may be left out for char and word.", valueName: "count"))
    var vocabulary: Int?
    @Option(help: ArgumentHelp("Model file to write.", valueName: "file.model"))
    var output: String
    @Option(help: ArgumentHelp("Format of the inputs: \(CorpusFormat.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "format"))
    var format = CorpusFormat.text
    @OptionGroup var reading: CorpusReadingOptions
    @Option(help: ArgumentHelp("Bytes of text to learn from, chosen evenly over the input.", valueName: "bytes"))
    var sampleBytes = 32 << 20
    @Option(
        help: ArgumentHelp(
            "Change of the text: \(TokenizerTraining.Normalization.allCases.map(\.rawValue).joined(separator: ", ")).", valueName: "name"))
    var normalization = TokenizerTraining.Normalization.identity
    @Option(help: ArgumentHelp("Share of characters that get pieces of their own (default: char 1, others 0.9995).", valueName: "share"))
    var characterCoverage: Double?
    @Flag(help: "Print the result as JSON.")
    var json = false
    @Argument(help: "Input files, directories or archives; - for standard input.")
    var inputs: [String]

    func validate() throws {
        guard !inputs.isEmpty else { throw ValidationError("Give at least one input.") }
        guard vocabulary != nil || kind == .char || kind == .word else {
            throw ValidationError("--vocabulary is needed for --kind \(kind.rawValue).")
        }
        guard vocabulary ?? 6 > 5 else { throw ValidationError("--vocabulary must be more than the 5 special pieces.") }
        try requireRange("--vocabulary", vocabulary, 6...1 << 24)
        try requireRange("--sample-bytes", sampleBytes, 1024...SizeLimits.bytes.upperBound)
        if let characterCoverage, !(0.98...1).contains(characterCoverage) { throw ValidationError("--character-coverage must be in 0.98 ... 1.") }
        try reading.validate(for: format)
    }

    func run() throws {
        CommandLineOutput.outliveReader()
        var sample = TextSample(limit: sampleBytes)
        let options = try reading.options()
        let files = try format.files(of: inputs, options: options, areReadOnce: true)
        let reader = try format.makeReader(of: files, options: options)
        let passedOver = files.flatMap(\.passedOver)
        let line = ProgressLine()
        var bytes = 0
        var wrong = WrongRecords()
        while let record = try wrong.next(reader) {
            record.source.withUnsafeBufferPointer { sample.add($0) }
            record.target?.withUnsafeBufferPointer { sample.add($0) }
            bytes += record.source.count + (record.target?.count ?? 0)
            line.show("reading: \(bytes / 1_000_000) MB")
        }
        if sample.count == 0 { throw noText(wrong) }
        line.show("training on \(sample.count) sentences")
        let model = try TokenizerTraining(kind: kind, vocabularySize: vocabulary, normalization: normalization, characterCoverage: characterCoverage)
            .train(on: sample)
        line.clear()
        try SentencePieceTokenizer.write(model, to: output)
        let tokenizer = try SentencePieceTokenizer(modelBytes: model, name: output)
        if json {
            try JSONOutput.print(
                Report(
                    output: output, kind: kind.rawValue, vocabulary: tokenizer.vocabularySize, sha256: tokenizer.fingerprint,
                    sentences: sample.sentencesSeen, sampledSentences: sample.count, bytes: bytes, wrongRecords: wrong.count,
                    passedOver: passedOver))
        } else {
            try print(
                "\(PathText.shown(output)): \(kind.rawValue), \(tokenizer.vocabularySize) pieces, from \(sample.count) of "
                    + "\(sample.sentencesSeen) sentences\(wrong.note)")
            try print("sha256 \(tokenizer.fingerprint)")
            for entry in passedOver { try print("passed over \(entry.description)") }
        }
    }

    private struct Report: Encodable {
        var output: String
        var kind: String
        var vocabulary: Int
        var sha256: String
        var sentences: Int
        var sampledSentences: Int
        var bytes: Int
        var wrongRecords: Int
        var passedOver: [PassedOver]
    }

    /// Why there is nothing to train on: every record is wrong, or the inputs are something else.
    private func noText(_ wrong: WrongRecords) -> UserError {
        if let first = wrong.first {
            let others = wrong.count > 1 ? " (\(wrong.count) wrong records, and no other)" : ""
            return UserError(.badData, first.what + others, at: "\(first.place.file), line \(first.place.line)", advice: "mend the records")
        }
        let guess = InputFiles.guess(inputs[0]).map { "; it seems to be \($0)" } ?? ""
        return UserError(.badData, "there is no text to train a tokenizer on\(guess)", at: inputs[0], advice: "give files with text")
    }
}

/// Records that cannot be read, which training passes over.
private struct WrongRecords {
    private(set) var count = 0
    private(set) var first: RecordError?

    /// The next record that is right.
    mutating func next(_ reader: any CorpusReader) throws -> CorpusRecord? {
        while true {
            do { return try reader.next() } catch let error as RecordError {
                count += 1
                first = first ?? error
            }
        }
    }

    /// In words, behind what was read; empty where there is none.
    var note: String {
        guard let first else { return "" }
        let place = "\(PathText.shown(first.place.file)), line \(first.place.line)"
        return "; \(quantity(count, "wrong record")) passed over, the first at \(place): \(first.what)"
    }
}

/// Encodes lines.
struct TokenizerEncodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "encode",
        abstract: "Encode text from standard input: a line of ids or pieces for each line.",
        discussion: """
            Examples:
              echo "Hello there." | mneme tokenizer encode --pieces en.model
            """)

    @Flag(help: "Print pieces instead of ids.")
    var pieces = false
    @Argument(help: "Model file.")
    var model: String

    func run() throws {
        let tokenizer = try SentencePieceTokenizer(path: model)
        try forEachLineOfStandardInput { line, _ in
            let ids = tokenizer.encode(line)
            try print(ids.map { pieces ? tokenizer.piece($0) : "\($0)" }.joined(separator: " "))
        }
    }
}

/// Decodes lines of ids.
struct TokenizerDecodeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "decode",
        abstract: "Decode lines of ids from standard input into text.",
        discussion: """
            Examples:
              echo "Hello there." | mneme tokenizer encode en.model \\
                  | mneme tokenizer decode en.model
            """)

    @Argument(help: "Model file.")
    var model: String

    func run() throws {
        let tokenizer = try SentencePieceTokenizer(path: model)
        try forEachLineOfStandardInput { line, number in
            let ids = try line.split(separator: " ").map { field in
                guard let id = Int32(field), id >= 0, id < tokenizer.vocabularySize else {
                    throw UserError(
                        .badData, "\"\(field)\" is no id of this tokenizer", at: "standard input, line \(number)",
                        advice: "give ids in 0 ..< \(tokenizer.vocabularySize)")
                }
                return id
            }
            try print(tokenizer.decode(ids))
        }
    }
}

/// Calls `body` with each line of standard input and its number, as it comes.
private func forEachLineOfStandardInput(_ body: (_ line: String, _ number: Int) throws -> Void) throws {
    TextInput.promptIfTerminal()
    let reader = try LineReader(path: ByteSource.standardInput, lineEnds: .aligned)
    while try reader.advance() {
        do { try body(String(decoding: reader.checkedLine(), as: UTF8.self), reader.lineNumber) } catch let error as RecordError {
            throw UserError(.badData, error.what, at: "\(error.place.file), line \(error.place.line)", advice: "give text in UTF-8")
        }
    }
}
