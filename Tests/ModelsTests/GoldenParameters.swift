// Parameters that another program computed with.

import Tensors
import Testing

extension ParameterStore {
    /// Allocates the parameters and gives them these values, by name; checks that names and counts are the same.
    func take(_ values: [String: [Float]], of test: String) throws {
        allocate(seed: 1)
        #expect(Set(parameters.map(\.name)) == Set(values.keys), "\(test)")
        for parameter in parameters {
            let numbers = try #require(values[parameter.name], "\(test): \(parameter.name)")
            try #require(numbers.count == parameter.shape.count, "\(test): \(parameter.name)")
            parameter.value.floats.update(from: numbers, count: numbers.count)
        }
    }
}
