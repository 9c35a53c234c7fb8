import NeuralNetworks
import Tensors
import Testing

@Suite("What models say about their memory")
struct MemoryDeclarationTests {
    private let declarations = [
        MemoryDeclaration("core.hidden", [3], axes: ["unit"], lifetime: .lane), MemoryDeclaration("core.cell", [3], axes: ["unit"], lifetime: .lane),
    ]

    @Test("carried memory comes back by name, and only when all of it is there")
    func carried() {
        let hidden = Tensor([1, 2, 3, 4, 5, 6] as [Float], [2, 3])
        #expect(CarriedMemory(["core.hidden": hidden]).state(of: declarations) == nil)
        let carried = CarriedMemory(["core.cell": hidden, "core.hidden": Tensor(zeros: [2, 3])])
        #expect(carried.state(of: declarations)?.tensors[1].array == [1, 2, 3, 4, 5, 6])
        carried.keep(MemoryState([hidden, hidden]), of: declarations)
        #expect(carried.after["core.hidden"]?.array == [1, 2, 3, 4, 5, 6])
    }
}
