// Between what a module declares about its memory and the named state of the cells that it is made of.

import NeuralNetworks
import Tensors

extension MemoryState {
    /// The parts of a cell's state, as some declarations name and order them. `path`: what names have in front of the cell's own.
    package init(_ state: CellState, as declarations: [MemoryDeclaration], path: String) {
        self.init(
            declarations.map { declaration in
                guard let value = state[String(declaration.name.dropFirst(path.count + 1))] else {
                    preconditionFailure("\(declaration.name) is no part of the state")
                }
                return value
            })
    }

    /// The other way.
    package func cellState(of declarations: [MemoryDeclaration], path: String) -> CellState {
        zip(declarations, tensors).reduce(into: [:]) { state, part in state[String(part.0.name.dropFirst(path.count + 1))] = part.1 }
    }
}
