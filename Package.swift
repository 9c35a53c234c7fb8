// swift-tools-version: 6.1
// The house of Mneme: a table of targets. An import points up this list, never down.

import PackageDescription

let argumentParser: Target.Dependency = .product(name: "ArgumentParser", package: "swift-argument-parser")
let logging: Target.Dependency = .product(name: "Logging", package: "swift-log")
let yams: Target.Dependency = .product(name: "Yams", package: "Yams")

/// A C library of the system: its pkg-config name, and the Debian package that brings it.
func systemLibrary(_ name: String, pkgConfig: String, apt: String) -> Target {
    .systemLibrary(name: name, path: "Sources/\(name)", pkgConfig: pkgConfig, providers: [.apt([apt])])
}

/// The kernels compiled for one instruction set. The folders of AVX2 and AVX-512 are links to the baseline's.
/// Without errno the compiler turns squareRoot of a vector into one instruction.
func kernels(_ name: String, _ flags: [String]) -> Target {
    let flags = flags + ["-Xcc", "-fno-math-errno"]
    return .target(
        name: name, dependencies: ["KernelTypes"],
        swiftSettings: [.unsafeFlags(["-Ounchecked", "-wmo"] + flags, .when(configuration: .release)), .unsafeFlags(["-O"] + flags, .when(configuration: .debug))])
}

#if arch(x86_64)
    let kernelVariants: [Target] = [
        kernels("KernelsBaseline", []),
        kernels("KernelsAVX2", ["-Xcc", "-march=x86-64-v3", "-D", "MNEME_FMA"]),
        kernels("KernelsAVX512", ["-Xcc", "-march=x86-64-v4", "-Xcc", "-mprefer-vector-width=512", "-D", "MNEME_FMA", "-D", "MNEME_AVX512"]),
    ]
#else
    let kernelVariants: [Target] = [kernels("KernelsBaseline", [])]
#endif

let systemLibraries: [Target] = [
    systemLibrary("COpenBLAS", pkgConfig: "openblas", apt: "libopenblas-dev"),
    systemLibrary("CHDF5", pkgConfig: "hdf5", apt: "libhdf5-dev"),
    systemLibrary("CZlib", pkgConfig: "zlib", apt: "zlib1g-dev"),
    systemLibrary("CSentencePieceLibrary", pkgConfig: "sentencepiece", apt: "libsentencepiece-dev"),
    .target(name: "CSentencePiece", dependencies: ["CSentencePieceLibrary"]),
    .target(name: "CSignals"),
    .target(name: "CStorage", linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
    .target(name: "CMPI", linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
    .target(name: "CInputs", linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
    .target(name: "COneDNN", linkerSettings: [.linkedLibrary("dl", .when(platforms: [.linux]))]),
]

let modules: [Target] = [
    .target(name: "Diagnostics"),
    .target(name: "Storage", dependencies: ["CStorage", "CZlib", "Diagnostics"]),
    .target(name: "Machine"),
    .target(name: "Inputs", dependencies: ["CInputs", "CZlib", "Diagnostics"]),
    .target(name: "Configuration", dependencies: ["Inputs", "Diagnostics", yams]),
    .target(name: "KernelTypes", dependencies: ["Diagnostics"]),
    .target(name: "CProcessor"),
    .target(name: "Kernels", dependencies: ["KernelTypes", "CProcessor", "Diagnostics"] + kernelVariants.map { .target(name: $0.name) }),
    .target(name: "Tensors", dependencies: ["Kernels", "CProcessor", "COpenBLAS", "COneDNN", "Machine", "Diagnostics"]),
    .target(name: "Reference", dependencies: ["Diagnostics"]),
    .target(name: "NeuralNetworks", dependencies: ["Tensors"]),
    .target(name: "Memory", dependencies: ["NeuralNetworks", "Tensors", "Kernels", "Diagnostics"]),
    .target(name: "Models", dependencies: ["Memory", "NeuralNetworks", "Tensors", "Configuration", "Diagnostics"]),
    .target(name: "Optimizers", dependencies: ["Kernels", "Configuration", "Diagnostics"]),
    .target(name: "Collectives", dependencies: ["CMPI", "Kernels", "Machine", "Diagnostics"]),
    .target(name: "VectorSearch", dependencies: ["Tensors", "Kernels", "Collectives", "Storage", "Diagnostics"]),
    .target(name: "HDF5", dependencies: ["CHDF5", "Diagnostics"]),
    .target(name: "Checkpoints", dependencies: ["Collectives", "HDF5", "Storage", "Diagnostics"]),
    .target(
        name: "MemoryBanks", dependencies: ["VectorSearch", "Tensors", "Kernels", "Checkpoints", "Collectives", "HDF5", "Storage", "Diagnostics"]),
    .target(name: "Corpora", dependencies: ["Inputs", "Storage", "CSentencePiece", "Diagnostics"]),
    .target(name: "Sharding", dependencies: ["Corpora", "Inputs", "Storage", "HDF5", "CZlib", "Collectives", "Diagnostics"]),
    .target(
        name: "Evaluation", dependencies: ["Models", "NeuralNetworks", "Tensors", "Kernels", "Inputs", "Diagnostics"]),
    .target(
        name: "Training",
        dependencies: ["Models", "Memory", "NeuralNetworks", "Tensors", "Kernels", "Optimizers", "Collectives", "Checkpoints", "MemoryBanks", "Corpora", "Sharding", "Evaluation", "VectorSearch", "Configuration", "Storage", "CSignals", "CZlib", "Diagnostics", logging, yams]),
    .target(
        name: "Cluster",
        dependencies: ["Training", "Models", "NeuralNetworks", "Tensors", "Kernels", "Optimizers", "Collectives", "Checkpoints", "HDF5", "Configuration", "Storage", "CZlib", "Machine", "Diagnostics", yams]),
    .executableTarget(
        name: "mneme",
        dependencies: [
            "Cluster", "Training", "Evaluation", "Models", "Tensors", "Kernels", "Optimizers", "Collectives", "Checkpoints", "MemoryBanks", "VectorSearch", "Corpora", "Sharding", "HDF5", "Configuration",
            "CZlib", "Inputs", "Storage", "Diagnostics", argumentParser, logging,
        ]),
]

let tests: [Target] = [
    .testTarget(name: "TensorsTests", dependencies: ["Tensors", "Reference", "TestSupport"], exclude: ["Golden"]),
    .target(name: "TestStart", path: "Tests/TestStart"),
    .target(
        name: "TestSupport", dependencies: ["Diagnostics", "Kernels", "Tensors", "NeuralNetworks", "Reference", "Models", "Configuration", "Collectives", "Corpora", "TestStart"],
        path: "Tests/TestSupport"),
    .testTarget(name: "ConfigurationTests", dependencies: ["Configuration", "Diagnostics"]),
    .testTarget(name: "EvaluationTests", dependencies: ["Evaluation", "Diagnostics", "CZlib", "Models", "NeuralNetworks", "Tensors", "TestSupport"], exclude: ["Golden"]),
    .testTarget(name: "KernelsTests", dependencies: ["Kernels", "Diagnostics", "TestSupport"], exclude: ["Polynomials"]),
    .testTarget(name: "OptimizersTests", dependencies: ["Optimizers", "Kernels", "Diagnostics"], resources: [.copy("Golden")]),
    .testTarget(
        name: "ModelsTests", dependencies: ["Models", "Memory", "NeuralNetworks", "Tensors", "Kernels", "Configuration", "Diagnostics", "TestSupport"], resources: [.copy("Golden")]),
    .testTarget(name: "MemoryTests", dependencies: ["Memory", "Reference", "NeuralNetworks", "Tensors", "Kernels", "Diagnostics", "TestSupport"], exclude: ["Golden"]),
    .testTarget(name: "CollectivesTests", dependencies: ["Collectives", "Diagnostics", "TestSupport"]),
    .executableTarget(name: "distributed-checks", dependencies: ["MemoryBanks", "Tensors", "Checkpoints", "Collectives", "Storage", "Diagnostics", "CSignals", "TestSupport"], path: "Tests/DistributedChecks"),
    .testTarget(name: "DistributedTests", dependencies: ["TestSupport", "Tensors", "Training", "Collectives", "Checkpoints", "HDF5", "Diagnostics", "mneme", "distributed-checks"], path: "Tests/Distributed"),
    .testTarget(name: "InputsTests", dependencies: ["Inputs", "Corpora", "Diagnostics", "TestSupport", "mneme"]),
    .testTarget(name: "CorporaTests", dependencies: ["Corpora", "Inputs", "Storage", "TestSupport", "Diagnostics"]),
    .testTarget(name: "ShardingTests", dependencies: ["Sharding", "Corpora", "Inputs", "HDF5", "Collectives", "TestSupport", "Diagnostics", "mneme"]),
    .testTarget(name: "CheckpointsTests", dependencies: ["Checkpoints", "Collectives", "Storage", "HDF5", "Diagnostics", "TestSupport", "mneme"]),
    .testTarget(
        name: "TrainingTests",
        dependencies: [
            "Training", "Models", "Memory", "NeuralNetworks", "Tensors", "Corpora", "Sharding", "Collectives", "Checkpoints", "MemoryBanks", "Storage", "Optimizers", "Configuration",
            "Diagnostics", "TestSupport",
        ]),
    .testTarget(name: "CommandTests", dependencies: ["Training", "MemoryBanks", "Storage", "TestSupport", "mneme"]),
    .testTarget(name: "BenchmarkTests", dependencies: ["Cluster", "Training", "Collectives", "Models", "Tensors", "TestSupport", "mneme"]),
    .testTarget(name: "ClusterTests", dependencies: ["Cluster", "Machine", "Training", "Collectives", "Configuration", "Storage", "Diagnostics", "TestSupport", "mneme"]),
    .testTarget(name: "VectorSearchTests", dependencies: ["VectorSearch", "Tensors", "Kernels", "Collectives", "Storage", "Diagnostics", "TestSupport"]),
    .testTarget(name: "StorageTests", dependencies: ["Storage", "Diagnostics", "TestSupport"]),
    .testTarget(
        name: "MemoryBanksTests",
        dependencies: ["MemoryBanks", "VectorSearch", "Tensors", "Checkpoints", "Collectives", "Storage", "HDF5", "Diagnostics", "TestSupport", "mneme"]),
    .testTarget(name: "HDF5Tests", dependencies: ["HDF5", "CHDF5", "Diagnostics", "TestSupport"]),
]

// Tests that call the program and its modules, and compute little themselves, are compiled without optimisation: that takes half the time.
let computingTests: Set = ["TensorsTests", "KernelsTests", "OptimizersTests", "ModelsTests", "MemoryTests", "VectorSearchTests", "TestSupport", "TestStart"]
for target in tests where !computingTests.contains(target.name) {
    target.swiftSettings = (target.swiftSettings ?? []) + [.unsafeFlags(["-Onone"], .when(configuration: .release))]
}

// A module that may call kernels names the module that declares them too. Without that the build would not notice a change of their protocols: it
// compiles a module again when one that it names has changed, and Kernels itself looks the same.
for target in modules + tests {
    let callsKernels = target.dependencies.contains {
        if case .byNameItem(let name, _) = $0 { ["Kernels", "Tensors"].contains(name) } else { false }
    }
    if callsKernels { target.dependencies.append("KernelTypes") }
}

let package = Package(
    name: "mneme",
    products: [.executable(name: "mneme", targets: ["mneme"])],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.6.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
    ],
    targets: systemLibraries + kernelVariants + modules + tests
)
