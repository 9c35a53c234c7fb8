import NeuralNetworks
import TestSupport
import Tensors
import Testing

@Suite("What models say about their memory")
struct MemoryDeclarationTests {
    private let declarations = [
        MemoryDeclaration("core.hidden", [3], axes: ["unit"], lifetime: .lane), MemoryDeclaration("core.cell", [3], axes: ["unit"], lifetime: .lane),
    ]

    @Test("carried memory comes back by name; lanes that begin carry none")
    func carried() {
        let hidden = Tensor([1, 2, 3, 4, 5, 6] as [Float], [2, 3])
        #expect(CarriedMemory([:]).state(of: declarations) == nil)
        let carried = CarriedMemory(["core.cell": hidden, "core.hidden": Tensor(zeros: [2, 3])])
        #expect(carried.state(of: declarations)?.tensors[1].array == [1, 2, 3, 4, 5, 6])
        carried.keep(MemoryState([hidden, hidden]), of: declarations)
        #expect(carried.after["core.hidden"]?.array == [1, 2, 3, 4, 5, 6])
    }

    @Test("a memory that the lanes do not carry is an error, not a fresh start")
    func unknownName() async {
        await #expect(processExitsWith: .failure) {
            let carried = CarriedMemory(["core.hidden": Tensor(zeros: [2, 3])])
            _ = carried.state(of: [MemoryDeclaration("core.renamed", [3], axes: ["unit"], lifetime: .lane)])
        }
    }
}
