// mneme evaluate

import ArgumentParser
import Collectives
import Diagnostics
import Training

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate",
        abstract: "Measure a trained run on a corpus: perplexity, and BLEU, ROUGE or accuracy of what it generates.",
        discussion: """
            The newest checkpoint that verifies is taken. For pairs, targets are generated and scored as their corpus is scored: BLEU and chrF for
            wmt, ROUGE for cnn-dailymail (beside the lead-3 baseline), accuracy by task for babi. A run whose file has a section task is measured as
            its task says: errors of answers, bit errors of a sequence. Runs alone or under mpirun.

            A language model can be read together with a bank that mneme memory build has made, of which one namespace is read, and with a cache of
            the latest tokens of the text. --tune-on chooses weights, temperature and theta on a corpus of its own, never on the one that is measured.

            Examples:
              mneme evaluate checkpoints/wmt-en-de --json
              mneme evaluate checkpoints/babi --corpus corpora/babi-test --beam 1
              mneme evaluate checkpoints/babi-memn2n-joint --part test --json
              mneme evaluate checkpoints/biographies-lookup --people 0-99
              mneme evaluate checkpoints/books --corpus corpora/test --bank banks/books \
                  --namespace train --tune-on corpora/valid
              mneme evaluate checkpoints/books --corpus corpora/test --cache 1000
            """)

    @Argument(help: ArgumentHelp("The run directory.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("The corpus; otherwise the run's validation corpus.", valueName: "dir"))
    var corpus: String?

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Option(help: ArgumentHelp("Generate for the first N pairs only; 0 generates nothing.", valueName: "count"))
    var limit: Int?

    @Option(help: "Of a run with a task section: the examples to measure, validation or test (default: test).")
    var part: EvaluationPart?

    @Option(help: ArgumentHelp("Of a run that learns biographies: the people to ask about, such as 0-99.", valueName: "first-last"))
    var people: String?

    @Flag(help: "Print JSON.")
    var json = false

    @OptionGroup var decoding: DecodingOptions
    @OptionGroup(title: "Memory beside the model") var memory: MemoryReadingOptions

    func validate() throws {
        guard limit ?? 0 >= 0 else { throw ValidationError("--limit must not be negative.") }
    }

    func run() throws {
        ProgramStart.run { communicator in
            try communicator.onEveryRank { try memory.reading.validate() }
            let run = try LoadedRun(directory: runDirectory, step: step, communicator: communicator)
            if communicator.rank == 0 { run.passedOver.forEach { CommandLineOutput.note($0) } }
            var request = EvaluationRequest(directory: runDirectory, part: part, corpus: corpus, limit: limit, generation: decoding.request)
            request.people = try people.map(BankText.people)
            request.memory = memory.reading
            var report = try run.task.report(request, communicator)
            guard communicator.rank == 0 else { return .finished }
            report.prepend(head(run))
            if json { try JSONOutput.print(report) } else { try print(PathText.shown(report.text), terminator: "") }
            return .finished
        }
    }

    private func head(_ run: LoadedRun) -> EvaluationReport {
        var head = EvaluationReport()
        head.set("run", .text(runDirectory))
        head.set("step", .count(run.step))
        head.say("run", "\(runDirectory), step \(run.step)")
        return head
    }
}

extension EvaluationPart: ExpressibleByArgument {}
