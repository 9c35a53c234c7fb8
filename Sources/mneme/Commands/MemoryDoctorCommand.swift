// `mneme memory doctor`

import ArgumentParser
import Diagnostics
import MemoryBanks

struct MemoryDoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Check a bank's files, and say what looks wrong in its records.",
        discussion: """
            Every segment is compared with its checksum. Listed are records that are not finite, say what another says, were derived from records that
            are gone, have a key of unusual length, were never used, or are not true any more. Nothing is changed.

            Examples:
              mneme memory doctor banks/facts --all
              mneme memory doctor banks/facts --namespace films --kind duplicate --json
            """)

    @Argument(help: "The bank.")
    var bank: String

    @OptionGroup var scope: BankScopeOptions

    @Option(help: ArgumentHelp("Findings of this kind only.", valueName: "kind"))
    var kind: String?

    @Flag(help: "Print one JSON array.")
    var json = false

    func run() throws {
        let kind = try kind.map { name in
            guard let kind = BankFinding.Kind(rawValue: name) else {
                throw UserError(
                    .usage, "'\(name)' is none of \(BankFinding.Kind.allCases.map(\.rawValue).joined(separator: ", "))", at: "--kind",
                    advice: "give one of these")
            }
            return kind
        }
        let findings = try MemoryBank.read(bank).findings(try scope.scope(), time: BankText.now).filter { kind == nil || $0.kind == kind }
        if json { return try JSONOutput.print(findings) }
        if findings.isEmpty { return try print("nothing looks wrong") }
        for finding in findings { try print("\(finding.kind.rawValue): \(finding.namespace)/\(finding.id): \(finding.text)") }
    }
}
