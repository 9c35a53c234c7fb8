// The object files of the kernels must hold no function that another module may share.

import Foundation
import Testing

#if os(Linux)
@Suite("Symbols of the kernel modules")
struct SymbolTests {
    /// The folder with the build products, found from the running test bundle.
    private static let products = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
    #if arch(x86_64)
        private static let variants = ["KernelsBaseline", "KernelsAVX2", "KernelsAVX512"]
    #else
        private static let variants = ["KernelsBaseline"]
    #endif
    /// Lists symbols; part of binutils, which Swift needs to link.
    private static let nm = URL(fileURLWithPath: "/usr/bin/nm")

    /// The object files of a kernel module.
    private static func objects(_ module: String) -> [String] {
        let folder = products.appendingPathComponent("\(module).build")
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder.path)) ?? []
        return names.filter { $0.hasSuffix(".o") }.map { folder.appendingPathComponent($0).path }
    }

    /// A function that is weak and not named after its module is merged by the linker with any other copy of it, so code for a large
    /// instruction set could run on a processor without it.
    @Test("no shared functions", arguments: variants)
    func noSharedFunctions(module: String) throws {
        let objects = Self.objects(module)
        try #require(!objects.isEmpty, "no object files of \(module) in \(Self.products.path)")
        let process = Process()
        let output = Pipe()
        process.executableURL = Self.nm
        process.arguments = ["--defined-only"] + objects
        process.standardOutput = output
        try process.run()
        let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        let shared = text.split(separator: "\n").filter { $0.contains(" W ") && !$0.contains(module.replacingOccurrences(of: "Kernels", with: "")) }
        #expect(shared.isEmpty, "\(shared.joined(separator: "; "))")
    }
}
#endif
