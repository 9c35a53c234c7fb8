// Models of any kind, for tests that go over all of them: a kind that is new is tested without a change here.

import Configuration
import Models

/// The configuration of a language model from keys of the section `model`. Keys that the kind does not have are passed over.
public func modelConfiguration(_ kind: ModelKind, _ keys: String) throws -> any ModelConfiguration {
    let tree = try ConfigurationTree(yaml: "model: {kind: \(kind.rawValue), \(keys)}", file: "test.yaml")
    return try readModelConfiguration(tree.root.section("model"))
}

/// A value with a change.
public func changed<Value>(_ value: Value, _ change: (inout Value) throws -> Void) rethrows -> Value {
    var value = value
    try change(&value)
    return value
}
