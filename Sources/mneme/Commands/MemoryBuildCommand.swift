// `mneme memory build`

import ArgumentParser
import Collectives
import Diagnostics
import Foundation
import MemoryBanks
import Storage
import Training

struct MemoryBuildCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "build",
        abstract: "Fill a bank with keys by the model of a run: a corpus, token by token, or the facts that it looks up.",
        discussion: """
            With --corpus, for a language model: a record for every token. Its key is the model's context vector before the token, its value the
            token, its source the corpus and the document. mneme evaluate --bank then mixes what followed the contexts most like the present one with
            what the model says.

            Without, for a run of biographies whose model.kind is lookup: its facts become records. The key is made by the model of the text that
            asks for the fact, the value is text. The bank belongs into the directory banks of its run, under the name facts: there mneme evaluate
            and mneme memory put find the model and the bank.

            The bank is made where there is none; records that it has are left alone, so that a build that was interrupted goes on. Runs alone or
            under mpirun: the bank is the same.

            Examples:
              mneme memory build banks/books checkpoints/books --corpus corpora/books
              mpirun -n 4 mneme memory build banks/books checkpoints/books \\
                  --corpus corpora/wordnet --namespace wordnet --limit 1000000
              mneme memory build checkpoints/people/banks/facts checkpoints/people
              mneme memory build checkpoints/people/banks/facts checkpoints/people \\
                  --people 10000-10099
            """)

    @Argument(help: "The bank.")
    var bank: String

    @Argument(help: ArgumentHelp("The run whose model makes the keys.", valueName: "run-dir"))
    var runDirectory: String

    @Option(help: ArgumentHelp("A corpus of running text that a language model reads.", valueName: "dir"))
    var corpus: String?

    @Option(help: ArgumentHelp("The namespace of its records; otherwise the name of the corpus directory.", valueName: "name"))
    var namespace: String?

    @Option(help: ArgumentHelp("At most so many tokens of it.", valueName: "count"))
    var limit: Int?

    @Option(help: ArgumentHelp("Of biographies: whose facts, such as 0-99; otherwise those of all.", valueName: "first-last"))
    var people: String?

    @Option(help: ArgumentHelp("The checkpoint of this step instead of the newest.", valueName: "step"))
    var step: Int?

    @Option(help: ArgumentHelp("Why, for the bank's audit log.", valueName: "text"))
    var reason: String?

    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard limit ?? 1 >= 1 else { throw ValidationError("--limit must be at least 1.") }
        guard corpus != nil || namespace == nil && limit == nil else {
            throw ValidationError("--namespace and --limit are a corpus's: give --corpus.")
        }
        guard corpus == nil || people == nil else { throw ValidationError("Give --corpus or --people.") }
    }

    func run() throws {
        ProgramStart.run { communicator in
            let run = try LoadedRun(directory: runDirectory, step: step, communicator: communicator)
            if communicator.rank == 0 { run.passedOver.forEach { CommandLineOutput.note($0) } }
            let identity = SessionIdentity(environment: ProcessInfo.processInfo.environment)
            // Rank 0's time is everyone's: records of one build do not differ by who wrote them.
            let now = try communicator.allReduced(communicator.rank == 0 ? BankText.now : 0, .sum)
            let edit = BankEdit(step: run.step, time: now, author: identity.description, reason: reason ?? "")
            let progress = communicator.rank == 0 ? ProgressLine() : nil
            if let corpus {
                let name = namespace ?? corpus.split(separator: "/").last.map(String.init) ?? corpus
                let receipt = try DatastoreBuilder.build(
                    bank, namespace: name, of: run, corpus: corpus, limit: limit, identity: identity, edit, communicator: communicator
                ) { done, all in progress?.show("\(done) of \(all) tokens") }
                progress?.clear()
                if communicator.rank == 0 { try json ? JSONOutput.print(receipt) : print(PathText.shown(Self.text(receipt))) }
                return .finished
            }
            let receipts = try FactBank.build(
                bank, of: run, people: try people.map(BankText.people), identity: identity, edit, communicator: communicator
            ) { done, all in progress?.show("\(done) of \(all) people") }
            progress?.clear()
            guard communicator.rank == 0 else { return .finished }
            if json { try JSONOutput.print(receipts) } else { for receipt in receipts { try StandardOutput.print(BankText.line(receipt)) } }
            return .finished
        }
    }

    private static func text(_ receipt: DatastoreReceipt) -> String {
        """
        bank      \(receipt.bank), namespace \(receipt.namespace)
        records   \(receipt.created) created, \(receipt.unchanged) unchanged, \(receipt.refusedDeleted) refused as deleted
        corpus    \(receipt.corpus), \(receipt.tokens) tokens
        keys      model \(receipt.model), layer \(receipt.layer), width \(receipt.width)
        """
    }
}
