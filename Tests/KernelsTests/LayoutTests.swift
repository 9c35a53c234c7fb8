// The number of the kernels' layout follows their declarations, and a wrong one is found.

import Foundation
import Kernels
import Testing

@Suite("Layout of the kernels")
struct LayoutTests {
    /// FNV-1a over the declarations of KernelTypes, without comments and white space.
    private func numberOfSources() throws -> UInt64 {
        let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../Sources/KernelTypes")
        let files = try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .filter { $0.pathExtension == "swift" && $0.lastPathComponent != "Layout.swift" }
            .sorted { $0.lastPathComponent < $1.lastPathComponent }
        try #require(files.count >= 4)
        var hash: UInt64 = 0xCBF2_9CE4_8422_2325
        for file in files {
            for line in try String(contentsOf: file, encoding: .utf8).split(separator: "\n") {
                let code = line.range(of: "//").map { line[..<$0.lowerBound] } ?? line
                for byte in code.utf8 where byte > 32 { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01B3 }
            }
        }
        return hash
    }

    @Test("the number is that of the declarations")
    func number() throws {
        let number = try numberOfSources()
        #expect(
            KernelLayout.number == number,
            "write 0x\(String(number, radix: 16, uppercase: true)) into Sources/KernelTypes/Layout.swift: the kernels' declarations have changed")
    }

    @Test("modules of this program have its layout, and another one is an error that says what to do")
    func stale() throws {
        #expect(Kernels.layoutProblem(KernelLayout.number, of: "these tests") == nil)
        let problem = try #require(Kernels.layoutProblem(KernelLayout.number &+ 1, of: "Tensors"))
        #expect(problem.contains("Tensors was compiled for another layout of the kernels") && problem.contains("touch Sources/*/*.swift"))
    }
}
