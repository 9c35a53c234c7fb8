// One choice of matrix backends for all ranks and all sessions of a run, since another backend means other last bits.

import Collectives
import Diagnostics
import Foundation
import Storage
import Tensors

/// What a run multiplies matrices with, as `matrix-products.json` in its directory holds it.
struct BackendRecord: Codable, Equatable {
    /// The processor of the machine that began the run; `nil` in records of older programs.
    var processor: String?
    /// Its libraries.
    var libraries: String
    /// The threads of a rank.
    var threads: Int?
    /// A backend for each class of products that the first step has; the rule serves the others.
    var choices: MatrixChoices

    /// What is not the same here, each with the value of the run and the one of this machine.
    func differences(from machine: MatrixProductMachine) -> [String] {
        var lines: [String] = []
        if let processor, processor != machine.processor { lines.append("the processor was \(processor) and is \(machine.processor)") }
        if libraries != machine.libraries { lines.append("matrices were multiplied with \(libraries), and here is \(machine.libraries)") }
        if let threads, threads != machine.threads { lines.append("a rank had \(quantity(threads, "thread")) and has \(machine.threads)") }
        return lines
    }
}

/// Brings every rank to the same choices, before the first step and for the whole run. All members are collective.
///
/// A run that has none yet rehearses its first step, forward and backward without an update, to see which products occur; rank 0 then takes the
/// choices of its machine from the user's cache, where it measures and keeps those that are missing. Exactly the classes that the rehearsal has met
/// are followed; what comes up later has the rule's backend in every run, whatever the cache has learnt meanwhile. So a run that finds an empty cache
/// computes the same bits as one that finds a full one. A reproducible run neither rehearses nor measures.
package final class BackendAgreement {
    private let communicator: any Communicator
    private let path: String?
    private let cache: MatrixProductCache
    private let measures: Bool
    private var hasRecord = false

    /// - Parameters:
    ///   - directory: the run's; `nil` keeps nothing.
    ///   - cache: the choices of this machine; rank 0's is asked.
    ///   - measures: whether the cache is asked when the run has no choices yet.
    ///   - report: takes lines for the user, on rank 0.
    /// - Throws: `UserError`, the same on every rank.
    package init(
        _ communicator: any Communicator, directory: String?, cache: MatrixProductCache, measures: Bool, report: (String) -> Void
    ) throws {
        self.communicator = communicator
        self.cache = cache
        self.measures = measures
        path = directory.map { "\($0)/matrix-products.json" }
        MatrixProducts.reset()
        let libraries = Self.libraries
        for (rank, others) in try communicator.allGather(Array(libraries.utf8)).enumerated() where communicator.rank == 0 {
            let there = String(decoding: others, as: UTF8.self)
            if there != libraries {
                report("rank \(rank) multiplies matrices with \(there), rank 0 with \(libraries): the last bits depend on who computes what")
            }
        }
        var stored: [UInt8] = []
        if communicator.rank == 0, let path, Directory.exists(path) != nil {
            // A record of measurements is no reason to keep a run from starting.
            do { stored = try load(path) } catch { report("\(error): the choices are made again, and the last bits may differ") }
        }
        let bytes = try communicator.broadcasted(stored, root: 0)
        if bytes.isEmpty { return }
        let record = try communicator.onEveryRank { try JSONDecoder().decode(BackendRecord.self, from: Data(bytes)) }
        hasRecord = true
        let differences = record.differences(from: .current)
        if !differences.isEmpty, communicator.rank == 0 {
            report("this is not the machine that the run began on: \(differences.joined(separator: "; ")); the last bits may differ")
        }
        try follow(record.choices, report)
    }

    /// To be called before the first step of a session: makes the choices of a run that has none.
    ///
    /// - Parameters:
    ///   - rehearse: computes this rank's part of the step that comes, and leaves nothing changed. Not called where there is nothing to choose.
    ///   - report: takes lines for the user, on rank 0.
    package func prepare(rehearse: () throws -> Void, report: (String) -> Void) throws {
        if hasRecord { return }
        hasRecord = true
        var choices = MatrixChoices()
        // Ranks agree, so that none rehearses alone: one may lack a library.
        if try communicator.allReduced(measures && MatrixProducts.haveChoice ? 1 : 0, .minimum) == 1 {
            MatrixProducts.observe()
            try rehearse()
            let own = try JSONEncoder().encode(MatrixProducts.endObserving())
            let everyRank = try communicator.allGather(Array(own)).map { try JSONDecoder().decode([ObservedProduct].self, from: Data($0)) }
            var bytes: [UInt8] = []
            if communicator.rank == 0 {
                // Ranks may meet a class in different extents: those of the lowest rank count.
                var byClass: [String: ObservedProduct] = [:]
                for product in everyRank.joined() where byClass[product.productClass] == nil { byClass[product.productClass] = product }
                let answer = cache.answer(for: byClass.values.sorted { $0.productClass < $1.productClass })
                answer.lines.forEach(report)
                bytes = Array(try JSONEncoder().encode(answer.choices))
            }
            bytes = try communicator.broadcasted(bytes, root: 0)
            choices = try JSONDecoder().decode(MatrixChoices.self, from: Data(bytes))
            try follow(choices, report)
        }
        try communicator.onEveryRank { if communicator.rank == 0 { try store(choices) } }
    }

    private func follow(_ choices: MatrixChoices, _ report: (String) -> Void) throws {
        let lines = try communicator.onEveryRank { try MatrixProducts.adopt(choices) }
        if communicator.rank == 0 { lines.forEach(report) }
    }

    /// The record of the run.
    /// - Throws: `UserError` where it cannot be read.
    private func load(_ path: String) throws -> [UInt8] {
        let bytes = try DurableFile.read(path)
        guard (try? JSONDecoder().decode(BackendRecord.self, from: Data(bytes))) != nil else {
            throw UserError(.badData, "is no record of matrix backends", at: path)
        }
        return bytes
    }

    private func store(_ choices: MatrixChoices) throws {
        guard let path else { return }
        let machine = MatrixProductMachine.current
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        let record = BackendRecord(processor: machine.processor, libraries: machine.libraries, threads: machine.threads, choices: choices)
        try DurableFile.replace(path, by: try encoder.encode(record) + Data("\n".utf8))
    }

    /// What this process multiplies matrices with.
    package static var libraries: String { MatrixProductMachine.currentLibraries }
}
