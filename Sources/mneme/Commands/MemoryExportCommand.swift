// `mneme memory export`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Print a bank's records as lines of JSON, or write them as one HDF5 file.",
        discussion: """
            A line has all that is known of a record: value, key, source, parents, times, version, uses. mneme memory import reads it.

            Examples:
              mneme memory export banks/facts --all > facts.jsonl
              mneme memory export banks/facts --namespace films --hdf5 films.h5
            """)

    @Argument(help: "The bank.")
    var bank: String

    @OptionGroup var filter: BankFilterOptions

    @Option(name: .customLong("hdf5"), help: ArgumentHelp("Write this file: a dataset for each column.", valueName: "file"))
    var hdf5: String?

    func run() throws {
        let filter = try filter.filter(ids: [])
        let bank = try MemoryBank.read(bank)
        if let hdf5 {
            guard !self.filter.isNarrowed else {
                throw UserError(.usage, "an HDF5 file holds whole namespaces", at: "--hdf5", advice: "leave the other conditions out")
            }
            return try bank.writeJoined(hdf5, filter.scope)
        }
        if case .one(let name) = filter.scope, !(try bank.namespaces().contains { $0.name == name }) {
            throw UserError(.missingInput, "has no namespace '\(name)'", at: self.bank, advice: "see mneme memory list --namespaces")
        }
        for record in bank.localRecords(filter) { try JSONOutput.print(BankRecordLine(record)) }
    }
}
