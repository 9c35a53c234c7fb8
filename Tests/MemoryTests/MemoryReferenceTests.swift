// What must hold of every memory. With MNEME_INSTRUCTION_SET it is asked of the kernels of a smaller instruction set.

import TestSupport
import Testing

@Suite("Memories beside their references")
struct MemoryReferenceTests {
    @Test("outputs, last states and gradients are those of the float64 reference", arguments: memoryOperations)
    func reference(_ one: OperationCase) { #expect(one.deviationsFromReference() == []) }

    @Test("no bit depends on the number of threads", arguments: memoryOperations)
    func threads(_ one: OperationCase) { #expect(one.deviationsOfThreads() == []) }
}
