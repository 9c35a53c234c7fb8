// Whether all ranks are the same program with the same arithmetic, and launcher and program the same MPI.

import Diagnostics
import Foundation
import Machine

/// What ranks must have in common.
package enum LikenessChecks {
    package static func results(_ ranks: [RankFacts]) -> [CheckResult] { [program(ranks), arithmetic(ranks), mpi(ranks), libraries(ranks)] }

    /// The ranks whose value is not rank 0's, with theirs; `nil` where all are alike.
    private static func outliers<Value: Equatable>(_ ranks: [RankFacts], _ value: (RankFacts) -> Value) -> (ranks: String, value: Value)? {
        let others = ranks.filter { value($0) != value(ranks[0]) }
        guard let first = others.first else { return nil }
        let same = others.filter { value($0) == value(first) }
        return ("\(ranksListed(same.map(\.rank))) on \(first.node)", value(first))
    }

    private static func program(_ ranks: [RankFacts]) -> CheckResult {
        let name = "program"
        if let other = outliers(ranks, \.version) {
            return .fail(name, "\(other.ranks): mneme \(other.value), but \(ranks[0].version) on rank 0", "install one version on all nodes")
        }
        if let other = outliers(ranks, \.program) {
            return .fail(
                name, "\(other.ranks): another executable file of the same version (\(other.value), \(ranks[0].program) on rank 0)",
                "copy one file to all nodes: a run refuses to start")
        }
        return .pass(name, "mneme \(ranks[0].version)" + (ranks.count > 1 ? ", the same file on \(ranks.count) ranks" : ""))
    }

    private static func arithmetic(_ ranks: [RankFacts]) -> CheckResult {
        let name = "arithmetic"
        if let other = outliers(ranks, \.instructionSet) {
            return .fail(
                name, "\(other.ranks): kernels \(other.value), but \(ranks[0].instructionSet) on rank 0",
                "set MNEME_INSTRUCTION_SET to one that all have, or leave it unset: parameters would differ in their last bits, and a run refuses to start")
        }
        if let other = outliers(ranks, \.matrixLibraries) {
            return .warn(
                name, "\(other.ranks): matrices are multiplied with \(other.value), but \(ranks[0].matrixLibraries) on rank 0",
                "set OPENBLAS_CORETYPE to one that all have; parallel.reproducible refuses it")
        }
        return .pass(name, "kernels \(ranks[0].instructionSet), \(ranks[0].matrixLibraries)" + (ranks.count > 1 ? " on every rank" : ""))
    }

    /// The file of a library, such as `libopen-pal.so`, among loaded ones.
    private static func path(of library: String, in libraries: [String]) -> String? {
        libraries.first { $0.split(separator: "/").last?.hasPrefix(library) ?? false }
    }

    private static func mpi(_ ranks: [RankFacts]) -> CheckResult {
        let name = "MPI"
        if let other = outliers(ranks, \.mpi) {
            return .fail(name, "\(other.ranks): \(other.value), but \(ranks[0].mpi) on rank 0", "let all nodes load one library: see LD_LIBRARY_PATH and modules")
        }
        for facts in ranks {
            guard let launcher = facts.launcher else { continue }
            // The library that launcher and ranks of Open MPI share: of other files they would speak other dialects.
            if let own = path(of: "libopen-pal.so", in: facts.libraries), let its = path(of: "libopen-pal.so", in: launcher.libraries), own != its {
                return .fail(
                    name, "rank \(facts.rank) has loaded \(own), but its launcher \(launcher.program) has \(its)",
                    "start with the mpirun that belongs to the library, or let LD_LIBRARY_PATH name one of the two")
            }
        }
        let launcher = ranks[0].launcher.map { ", started by \($0.program)" } ?? ""
        if let level = ranks[0].threadLevel {
            // What computes and what watches take turns in calling the library.
            if level == "MPI_THREAD_FUNNELED" {
                return .warn(name, "\(ranks[0].mpi), \(level)\(launcher)", "use a library that has MPI_THREAD_SERIALIZED: all calls then come from one thread")
            }
            return .pass(name, "\(ranks[0].mpi), \(level)\(launcher)")
        }
        return .pass(name, "\(ranks[0].mpi)\(launcher), one process without a launcher's ranks")
    }

    private static func libraries(_ ranks: [RankFacts]) -> CheckResult {
        let name = "shared libraries"
        // Not every rank loads the same: what counts is that none has another file of a library that rank 0 has.
        let own = Dictionary(ranks[0].libraries.map { (stem($0), $0) }, uniquingKeysWith: { first, _ in first })
        for facts in ranks {
            guard let other = facts.libraries.first(where: { own[stem($0)] != nil && own[stem($0)] != $0 && !ranks[0].libraries.contains($0) }) else { continue }
            return .warn(
                name, "rank \(facts.rank) on \(facts.node) has loaded \(other), and rank 0 \(own[stem(other)] ?? "")",
                "give all nodes the same libraries at the same paths")
        }
        return .pass(name, "\(ranks[0].libraries.count) loaded" + (ranks.count > 1 ? " on rank 0, and no rank has another file of one" : ""))
    }

    /// What a library is called without its version: `libmpi` for `/usr/lib/libmpi.so.40.30.4`.
    private static func stem(_ path: String) -> String {
        let name = String(path.split(separator: "/").last ?? "")
        return name.range(of: ".so").map { String(name[..<$0.lowerBound]) } ?? name
    }
}
