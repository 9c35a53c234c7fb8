// A machine's choices of matrix backends: kept, merged, and never the reason that a run fails.

import Foundation
import Synchronization
import Tensors
import TestSupport
import Testing
import Training

@Suite(.enabled(if: OneDNN.isAvailable, "there is one library only"))
struct MatrixProductCacheTests {
    private static let machine = MatrixProductMachine(processor: "Some (R) Processor @ 2 GHz", libraries: "OpenBLAS 1 X, oneDNN 2 y_z", threads: 2)

    private func cache(_ directory: String?, _ machine: MatrixProductMachine = machine) -> MatrixProductCache {
        MatrixProductCache(directory: directory, machine: machine)
    }

    private func products(_ names: String...) -> [ObservedProduct] { names.compactMap { ObservedProduct(productClass: $0) } }
    private var first: String { "float32 nt 512x512x512" }
    private var second: String { "float32 nt 512x512x1024" }

    /// Times that choose a backend by far.
    private func favouring(_ backend: MatrixBackend) -> ObservedProduct.Timing { { _, all in all.map { $0 == backend ? 1 : 2 } } }

    /// Times of a measurement that must not happen.
    private var never: ObservedProduct.Timing {
        { product, all in
            Issue.record("\(product.productClass) was measured")
            return all.map { _ in 1 }
        }
    }

    @Test("what is measured once is found from then on, and another machine has its own")
    func kept() throws {
        try withScratchDirectory { scratch in
            let directory = "\(scratch)/new/mneme"
            let measured = cache(directory).answer(for: products(first, second), timing: favouring(.openBLAS))
            #expect(measured.choices == MatrixChoices([first: .openBLAS, second: .openBLAS]) && measured.lines.isEmpty)
            #expect(measured.measured.map { $0.productClass } == [first, second])
            let found = cache(directory).answer(for: products(second), timing: never)
            #expect(found.choices == MatrixChoices([second: .openBLAS]) && found.lines.isEmpty && found.measured.isEmpty)
            #expect(cache(directory).path == "\(directory)/matrix-products-some-r-processor-2-ghz-openblas-1-x-onednn-2-y_z-2-threads.json")

            var other = Self.machine
            other.threads = 1
            let elsewhere = cache(directory, other).answer(for: products(first), timing: favouring(.oneDNN))
            #expect(elsewhere.choices == MatrixChoices([first: .oneDNN]))
            #expect(cache(directory).answer(for: products(first), timing: never).choices == MatrixChoices([first: .openBLAS]))
        }
    }

    @Test(
        "a damaged file is measured again, with one line",
        arguments: ["", "{", "{}", "[1]", "{\"choices\": {\"float32 nt 3x3x3\": \"oneDNN\"}}", "\u{0}\u{1}"])
    func damaged(text: String) throws {
        try withScratchDirectory { scratch in
            let cache = cache(scratch)
            let path = try #require(cache.path)
            try text.write(toFile: path, atomically: true, encoding: .utf8)
            let again = cache.answer(for: products(first), timing: favouring(.openBLAS))
            #expect(again.choices == MatrixChoices([first: .openBLAS]))
            #expect(again.lines == ["\(path) is damaged: what multiplies matrices is measured again"])
            #expect(cache.answer(for: products(first), timing: never).lines.isEmpty)
        }
    }

    @Test("where nothing can be kept nothing is measured, and one line says so")
    func notKept() throws {
        try withScratchDirectory { scratch in
            try "".write(toFile: "\(scratch)/file", atomically: true, encoding: .utf8)
            let answer = cache("\(scratch)/file/mneme").answer(for: products(first), timing: never)
            #expect(answer.choices == MatrixChoices() && answer.lines.count == 1)
            #expect(answer.lines.first?.hasPrefix("\(scratch)/file/mneme cannot be written (") == true, "\(answer.lines)")
            let homeless = cache(nil).answer(for: products(first), timing: never)
            #expect(homeless.choices == MatrixChoices() && homeless.lines.count == 1)
        }
    }

    @Test("what another session wrote meanwhile stays")
    func meanwhile() throws {
        try withScratchDirectory { scratch in
            let answer = cache(scratch).answer(for: products(first, second)) { product, all in
                if product.productClass == first {
                    _ = cache(scratch).answer(for: products(first, "float32 nn 512x512x512"), timing: favouring(.openBLAS))
                }
                return all.map { $0 == .oneDNN ? 1 : 2 }
            }
            #expect(answer.choices == MatrixChoices([first: .openBLAS, second: .oneDNN]))
            let all = cache(scratch).answer(for: products(first, second, "float32 nn 512x512x512"), timing: never)
            #expect(all.choices == MatrixChoices([first: .openBLAS, second: .oneDNN, "float32 nn 512x512x512": .openBLAS]))
        }
    }

    @Test("sessions that write at the same time lose nothing, and agree")
    func together() throws {
        try withScratchDirectory { scratch in
            let answers = Mutex<[MatrixChoices]>([])
            let names = (0..<8).map { "float32 nt 512x512x\(512 << $0)" }
            DispatchQueue.concurrentPerform(iterations: 8) { number in
                let own = names[number...].compactMap { ObservedProduct(productClass: $0) }
                let answer = cache(scratch).answer(for: own, timing: favouring(number % 2 == 0 ? .openBLAS : .oneDNN))
                #expect(answer.lines.isEmpty)
                answers.withLock { $0.append(answer.choices) }
            }
            let all = cache(scratch).answer(for: names.compactMap { ObservedProduct(productClass: $0) }, timing: never).choices
            #expect(all.backends.count == 8)
            for answer in answers.withLock({ $0 }) {
                for (name, backend) in answer.backends { #expect(all.backends[name] == backend, "\(name)") }
            }
        }
    }

    @Test("the directory is the environment's")
    func directory() {
        #expect(MatrixProductCache.directory(environment: ["XDG_CACHE_HOME": "/c", "HOME": "/h"]) == "/c/mneme")
        #expect(MatrixProductCache.directory(environment: ["XDG_CACHE_HOME": "", "HOME": "/h"]) == "/h/.cache/mneme")
        #expect(MatrixProductCache.directory(environment: ["XDG_CACHE_HOME": "relative", "HOME": "/h"]) == "/h/.cache/mneme")
        #expect(MatrixProductCache.directory(environment: [:]) == nil)
    }
}
