// What must hold of every fused operation. With MNEME_INSTRUCTION_SET it is asked of the kernels of a smaller instruction set.

import Reference
import TestSupport
import Tensors
import Testing

@Suite("Fused operations beside their references")
struct FusedOperationTests {
    @Test("outputs and gradients are those of the float64 reference", arguments: fusedOperations)
    func reference(_ one: OperationCase) { #expect(one.deviationsFromReference() == []) }

    @Test("in bfloat16 both are close", arguments: fusedOperations.filter { !$0.roundedInputs.isEmpty })
    func lowPrecision(_ one: OperationCase) { #expect(one.deviationsInLowPrecision() == []) }

    @Test("no bit depends on the number of threads, but for those of sums over rows", arguments: fusedOperations)
    func threads(_ one: OperationCase) { #expect(one.deviationsOfThreads() == []) }

    @Test("the vectors of an independent program that the table names are there")
    func golden() throws {
        let known = Set(try ["operations", "recurrent", "relative_attention", "marginal"].flatMap { try GoldenFile.read($0).cases.map(\.name) })
        for case let name? in fusedOperations.map(\.golden) { #expect(known.contains(name), "\(name)") }
    }

    @Test("a wrong gradient is found, and a wrong output")
    func findsErrors() {
        func squares(_ factor: Float, _ gradientFactor: Float) -> OperationCase {
            OperationCase("squares", ["x": randomTensor("x", [6])]) { inputs in
                let x = inputs["x"]!
                let values = x.array
                return Operation("squares").record(Tensor(values.map { factor * $0 * $0 }, [6]), from: x) { gradient in
                    x.node?.accumulate(Tensor(zip(gradient.array, values).map { 2 * gradientFactor * $0 * $1 }, [6]))
                }
            } reference: {
                $0["x"]! * $0["x"]!
            }
        }
        #expect(squares(1, 1).deviationsFromReference() == [])
        #expect(squares(1.0001, 1).deviationsFromReference() != [])
        #expect(squares(1, 1.0002).deviationsFromReference() != [])
    }
}
