// mneme evaluate

import ArgumentParser
import Collectives
import Corpora
import Diagnostics
import Evaluation
import Foundation
import Tensors
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure a trained run on a corpus: perplexity, and BLEU, ROUGE or accuracy of what it generates.",
        discussion: """
            The newest checkpoint that verifies is taken. For pairs, targets are generated and scored as their corpus is scored: BLEU and chrF for
            wmt, ROUGE for cnn-dailymail (beside the lead-3 baseline), accuracy by task for babi. Runs alone or under mpirun.

            Examples:
              mneme evaluate checkpoints/wmt-en-de --json
              mneme evaluate checkpoints/babi --corpus corpora/babi-test --beam 1
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("The corpus; otherwise the run's validation corpus.", valueName: "dir"))
    var corpus: String?

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Option(help: ArgumentHelp("Generate for the first so many pairs only; 0 generates nothing.", valueName: "count"))
    var limit: Int?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var decoding: DecodingOptions

    func validate() throws {
        guard limit ?? 0 >= 0 else { throw ValidationError("--limit must not be negative.") }
    }

    func run() throws {
        ProgramStart.run { communicator in
            let (run, corpus) = try communicator.onEveryRank {
                let run = try LoadedRun(directory: runDirectory, step: step)
                guard let path = self.corpus ?? run.configuration.corpus.validation else {
                    throw UserError(.usage, "the run has no validation corpus", at: runDirectory, advice: "name a corpus with --corpus")
                }
                let corpus = try Corpus(directory: path)
                try run.requireFit(corpus)
                return (run, corpus)
            }
            if communicator.rank == 0 { run.passedOver.forEach { CommandLineOutput.note($0) } }
            let perplexity = try evaluatePerplexity(
                model: run.model, corpus: corpus, communicator: communicator,
                settings: PerplexitySettings(rows: min(run.configuration.batch.lanes, 32), length: run.configuration.batch.length))
            var scores: GenerationScores?
            if corpus.kind == .pairs, limit != 0 {
                let settings = decoding.settings(for: corpus.manifest.sourceFormat, longestTarget: corpus.manifest.counts.longestTarget)
                let format = run.promptFormat(
                    room: decoding.room(for: corpus.manifest.sourceFormat), keepsEnd: corpus.manifest.sourceFormat == .babi)
                scores = try scoreGeneration(
                    generator: run.generator, format: format, corpus: corpus, tokenizer: run.tokenizer,
                    scoring: GenerationScoring(settings: settings, limit: limit), communicator: communicator)
            }
            if communicator.rank == 0 {
                let report = EvaluationReport(run: runDirectory, step: run.step, corpus: corpus.directory, perplexity: perplexity, scores: scores)
                print(json ? try report.json() : report.text, terminator: "")
            }
            return .finished
        }
    }
}
