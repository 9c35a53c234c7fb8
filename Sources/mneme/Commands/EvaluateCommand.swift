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
            wmt, ROUGE for cnn-dailymail (beside the lead-3 baseline), accuracy by task for babi. A run whose file has a section task is measured as
            its task says: errors of answers, bit errors of a sequence. Runs alone or under mpirun.

            Examples:
              mneme evaluate checkpoints/wmt-en-de --json
              mneme evaluate checkpoints/babi --corpus corpora/babi-test --beam 1
              mneme evaluate checkpoints/babi-memn2n-joint --part test --json
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("The corpus; otherwise the run's validation corpus.", valueName: "dir"))
    var corpus: String?

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Option(help: ArgumentHelp("Generate for the first so many pairs only; 0 generates nothing.", valueName: "count"))
    var limit: Int?

    @Option(help: "Of a run with a task section: the examples to measure, validation or test.")
    var part = EvaluationPart.test

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var decoding: DecodingOptions

    func validate() throws {
        guard limit ?? 0 >= 0 else { throw ValidationError("--limit must not be negative.") }
    }

    func run() throws {
        ProgramStart.run { communicator in
            let run = try LoadedRun(directory: runDirectory, step: step, communicator: communicator)
            try communicator.onEveryRank {
                if !(run.task is LanguageTask), corpus != nil {
                    throw UserError(.usage, "goes with a language model; this run's data is in its own task section", at: "--corpus")
                }
            }
            if communicator.rank == 0 { run.passedOver.forEach { CommandLineOutput.note($0) } }
            if run.task is LanguageTask { try evaluateCorpus(run, communicator) } else { try evaluateTask(run, communicator) }
            return .finished
        }
    }

    private func evaluateTask(_ run: LoadedRun, _ communicator: any Communicator) throws {
        guard let scores = try run.task.evaluate(part, communicator) else {
            throw UserError(.missingInput, "the task has no examples for \(part.rawValue)", at: runDirectory)
        }
        guard communicator.rank == 0 else { return }
        let report = TaskReport(run: runDirectory, step: run.step, task: run.task.summary, part: part, scores: scores)
        print(json ? try report.json() : report.text, terminator: "")
    }

    private func evaluateCorpus(_ loaded: LoadedRun, _ communicator: any Communicator) throws {
        let (run, corpus) = try communicator.onEveryRank {
            let run = try loaded.languageRun()
            guard let path = self.corpus ?? (loaded.configuration.task as? LanguageTaskSettings)?.corpus.validation else {
                throw UserError(.usage, "the run has no validation corpus", at: runDirectory, advice: "name a corpus with --corpus")
            }
            let corpus = try Corpus(directory: path)
            try run.requireFit(corpus)
            return (run, corpus)
        }
        let batch = loaded.configuration.batch
        let perplexity = try evaluatePerplexity(
            model: run.model, corpus: corpus, communicator: communicator,
            settings: PerplexitySettings(rows: min(batch.lanes, 32), length: batch.length))
        var scores: GenerationScores?
        if corpus.kind == .pairs, limit != 0 {
            let settings = decoding.settings(for: corpus.manifest.sourceFormat, longestTarget: corpus.manifest.counts.longestTarget)
            let format = run.promptFormat(room: decoding.room(for: corpus.manifest.sourceFormat), keepsEnd: corpus.manifest.sourceFormat == .babi)
            scores = try scoreGeneration(
                generator: run.generator, format: format, corpus: corpus, tokenizer: run.tokenizer,
                scoring: GenerationScoring(settings: settings, limit: limit), communicator: communicator)
        }
        guard communicator.rank == 0 else { return }
        let report = EvaluationReport(run: runDirectory, step: loaded.step, corpus: corpus.directory, perplexity: perplexity, scores: scores)
        print(json ? try report.json() : report.text, terminator: "")
    }
}

extension EvaluationPart: ExpressibleByArgument {}
