// The tape and its memory.

import TestSupport
import Tensors
import Testing

@Suite("The tape")
struct TapeTests {
    @Test("a value used twice gathers both gradients")
    func usedTwice() {
        let tape = Tape()
        let x = tape.variable(Tensor([1, 2, 3] as [Float], [3]))
        let y = x * 2
        let z = y + y * y + x + x
        tape.backward(from: z.sum())
        // z = 2x + 4x^2 + 2x
        #expect(x.node?.gradient?.array == [12, 20, 28])
    }

    @Test("views share storage, and gathering gradients in place leaves other views alone")
    func views() {
        let values = Tensor((0..<6).map { Float($0) }, [2, 3])
        let tape = Tape()
        let x = tape.variable(values)
        let flat = x.reshaped(to: [6])
        let row = x.selecting(1, axis: 0)
        #expect(flat.floats == x.floats && row.floats == x.floats + 3)
        // The gradient that arrives at `sum` is kept without a copy by x, flat and the other addend: none may see another's additions.
        let y = tape.variable(Tensor(repeating: 1, [6]))
        let sum = flat + y
        let total = concatenate([sum, sum, row], axis: 0)
        let seed = Tensor((0..<15).map { Float($0) }, [15])
        tape.backward(from: total, gradient: seed)
        #expect(y.node?.gradient?.array == [6, 8, 10, 12, 14, 16])
        #expect(x.node?.gradient?.array == [6, 8, 10, 24, 27, 30])
        #expect(seed.array == (0..<15).map { Float($0) })
        #expect(values.array == [0, 1, 2, 3, 4, 5])
    }

    @Test("a gradient kept by two values is not changed through one of them")
    func sharedGradient() {
        let tape = Tape()
        let (a, b) = (tape.variable(Tensor([1, 1] as [Float], [2])), tape.variable(Tensor([1, 1] as [Float], [2])))
        let early = a * 5
        let sum = a + b
        tape.backward(from: sum + early, gradient: Tensor([1, 2] as [Float], [2]))
        #expect(a.node?.gradient?.array == [6, 12])
        #expect(b.node?.gradient?.array == [1, 2])
    }

    @Test("borrowed memory given as a gradient is never written")
    func borrowedGradient() {
        final class Owner { let memory = UnsafeMutablePointer<Float>.allocate(capacity: 2); deinit { memory.deallocate() } }
        let owner = Owner()
        owner.memory[0] = 1
        owner.memory[1] = 2
        let tape = Tape()
        let x = tape.variable(Tensor([3, 4] as [Float], [2]))
        let first = x * x
        tape.backward(from: first + x, gradient: Tensor(borrowing: owner.memory, [2], owner: owner))
        #expect(x.node?.gradient?.array == [7, 18])
        #expect(owner.memory[0] == 1 && owner.memory[1] == 2)
    }

    @Test("stopGradient cuts the path")
    func stopped() {
        let tape = Tape()
        let x = tape.variable(Tensor([3] as [Float], [1]))
        let y = x * x.stopGradient()
        tape.backward(from: y)
        #expect(x.node?.gradient?.array == [3])
        #expect(!x.stopGradient().requiresGradient)
    }

    @Test("constants cost no entry")
    func constants() {
        let tape = Tape()
        let x = tape.variable(Tensor(1))
        let constant = Tensor([1, 2] as [Float], [2])
        let work = softmax((constant * 2 + constant).applying(.exponential)).sum()
        #expect(tape.count == 0 && !work.requiresGradient)
        let y = x * work
        #expect(tape.count == 1 && y.requiresGradient)
    }

    @Test("two tapes live side by side")
    func twoTapes() {
        let (first, second) = (Tape(), Tape())
        let x = first.variable(Tensor([2] as [Float], [1]))
        let z = second.variable(Tensor([5] as [Float], [1]))
        let (y, w) = (x.squared(), z.squared())
        second.backward(from: w)
        first.backward(from: y)
        #expect(x.node?.gradient?.array == [4] && z.node?.gradient?.array == [10])
    }

    @Test("a branch that does not reach the loss gives no gradient")
    func deadBranch() {
        let tape = Tape()
        let x = tape.variable(Tensor([2, 3] as [Float], [2]))
        let y = tape.variable(Tensor([2, 3] as [Float], [2]))
        let unused = y * 3
        tape.backward(from: x.sum())
        #expect(y.node?.gradient == nil && unused.count == 2)
        #expect(x.node?.gradient?.array == [1, 1])
    }

    @Test("parameters gather in place over several uses and several tapes")
    func parameters() {
        let store = ParameterStore()
        let weight = store.add("weight", [2, 2], .ones)
        let bias = store.add("bias", [2], .zeros)
        let unused = store.add("unused", [5], .ones)
        store.allocate(seed: 1)
        store.clearGradients()
        let x = Tensor([1, 2] as [Float], [1, 2])
        for _ in 0..<2 {  // two groups of one step
            let tape = Tape()
            let (w, b) = (tape.parameter(weight), tape.parameter(bias))
            let y = linear(linear(x, weight: w, bias: b), weight: tape.parameter(weight), bias: b)
            tape.backward(from: y.sum())
        }
        store.zeroMissingGradients()
        // y = W (W x + b) + b; d/dW = (W x + b) from outside plus W^T 1 x^T from inside
        #expect(weight.gradient.array == [10, 14, 10, 14])
        #expect(bias.gradient.array == [6, 6])
        #expect(unused.gradient.array == [0, 0, 0, 0, 0])
        store.clearGradients()
        let tape = Tape()
        tape.backward(from: tape.parameter(bias).sum())
        #expect(bias.gradient.array == [1, 1])
    }

    @Test("onProgress reports each parameter once, when its gradient is complete")
    func progress() {
        let store = ParameterStore()
        let embeddingTable = store.add("embedding", [5, 4], .normal(standardDeviation: 1))
        let weights = (0..<3).map { store.add("weight.\($0)", [4, 4], .normal(standardDeviation: 0.5)) }
        let dead = store.add("dead", [4], .ones)
        store.allocate(seed: 1)
        func forward(_ tape: Tape) -> Tensor {
            let table = tape.parameter(embeddingTable)
            let unused = tape.parameter(dead) * 2
            var x = embedding(table, Tensor([0, 3, 1] as [Int32], [3]))
            for weight in weights { x = linear(x, weight: tape.parameter(weight)).hyperbolicTangent() }
            x = linear(x, weight: tape.parameter(weights[0]))  // used a second time, far from its first use
            return linearCrossEntropy(x, weight: table, targets: Tensor([1, 2, 3] as [Int32], [3])).loss + unused.sum() * 0
        }
        store.clearGradients()
        let whole = Tape()
        whole.backward(from: forward(whole))
        store.zeroMissingGradients()
        let expected = store.parameters.map { $0.gradient.array }

        store.clearGradients()
        let tape = Tape()
        let loss = forward(tape)
        let operations = tape.count
        var reported: [String] = []
        var polls = 0
        tape.onProgress = { parameter in
            guard let parameter else {
                polls += 1
                return
            }
            reported.append(parameter.name)
            #expect(parameter.gradient.array == expected[parameter.index], "\(parameter.name) was reported before it was complete")
        }
        tape.backward(from: loss)
        #expect(reported.sorted() == ["dead", "embedding", "weight.0", "weight.1", "weight.2"])
        #expect(reported.firstIndex(of: "weight.2")! < reported.firstIndex(of: "weight.0")!)
        #expect(polls == operations)
        #expect(tape.count == 0)
    }
}

@Suite("Memory of the tape")
struct TapeMemoryTests {
    private final class Watch {
        weak var storage: Storage?
        init(_ storage: Storage) { self.storage = storage }
    }

    @Test("values of the forward pass are released during the backward pass")
    func released() {
        let tape = Tape()
        let x = tape.variable(Tensor(repeating: 0.5, [64]))
        var watches: [Watch] = []
        var alive: [Int] = []
        var loss: Tensor
        do {
            var y = x
            for _ in 0..<10 {
                y = y.hyperbolicTangent()
                watches.append(Watch(y.storage))
            }
            loss = y.sum()
        }
        tape.onProgress = { _ in alive.append(watches.count { $0.storage != nil }) }
        #expect(watches.allSatisfy { $0.storage != nil })
        tape.backward(from: loss)
        // An operation that has run holds nothing when progress is reported.
        #expect(alive.count == 11 && alive.first! == 10 && alive.last! == 0, "\(alive)")
        #expect(zip(alive, alive.dropFirst()).allSatisfy { $0 >= $1 })
        loss = Tensor(0)
        #expect(watches.allSatisfy { $0.storage == nil })
    }

    @Test("a tape that never runs backwards is freed with its nodes")
    func abandoned() {
        weak var leaked: Tape?
        var watch: Watch?
        do {
            let tape = Tape()
            let y = tape.variable(Tensor(repeating: 1, [8])).applying(.exponential)
            watch = Watch(y.storage)
            leaked = tape
        }
        #expect(leaked == nil && watch?.storage == nil)
    }

    /// In a process of its own, since the pool's counters belong to the process.
    @Test("after the second of several equal steps nothing is asked of the system")
    func steadyState() async {
        await #expect(processExitsWith: .success) {
            let store = ParameterStore()
            let table = store.add("table", [50, 16], .normal(standardDeviation: 0.1))
            let (packed, gain) = (store.add("packed", [48, 16], .xavierUniform), store.add("gain", [16], .ones))
            store.allocate(seed: 1)
            func step(_ number: Int) {
                store.clearGradients()
                let tape = Tape()
                let context = DropoutContext(seed: 1, step: number, lanes: [0, 1])
                var x = embedding(tape.parameter(table), Tensor((0..<24).map { Int32($0 * (number + 1) % 50) }, [2, 12]))
                for _ in 0..<3 {
                    let p = linear(layerNorm(x, gain: tape.parameter(gain), bias: nil), weight: tape.parameter(packed))
                    let a = attention(
                        query: AttentionOperand(p), key: AttentionOperand(p, column: 16), value: AttentionOperand(p, column: 32), width: 16, heads: 2,
                        mask: AttentionMask(causal: true), dropoutRate: 0.1, dropout: context)
                    x = addDropout(x, a, rate: 0.1, context) * 0.5 + x.permuted(0, 2, 1).permuted(0, 2, 1)
                }
                let targets = Tensor((0..<24).map { Int32($0 % 50) }, [24])
                tape.backward(from: linearCrossEntropy(x, weight: tape.parameter(table), targets: targets).loss)
            }
            step(0)
            step(1)
            let before = MemoryPool.shared.statistics
            for number in 2..<12 { step(number) }
            let after = MemoryPool.shared.statistics
            precondition(after.systemAllocations == before.systemAllocations && after.usedBytes == before.usedBytes && before.systemAllocations > 0)
        }
    }

    /// In a process of its own: what the C library is told holds for the whole process. The pages counted are those of this thread, for tensors
    /// from the pool as for objects, closures and arrays from the C library.
    @Test("after the second of several equal steps of a Transformer no page is asked of the system")
    func noPageFaults() async {
        await #expect(processExitsWith: .success) {
            SystemMemory.keepFreedMemory()
            let (batch, length, width, vocabulary) = (4, 32, 64, 200)
            let store = ParameterStore()
            let table = store.add("table", [vocabulary, width], .normal(standardDeviation: 0.1))
            let layers = (0..<3).map { layer in
                (
                    gain: store.add("\(layer).gain", [width], .ones), packed: store.add("\(layer).packed", [3 * width, width], .xavierUniform),
                    inner: store.add("\(layer).inner", [4 * width, width], .xavierUniform), bias: store.add("\(layer).bias", [4 * width], .zeros),
                    outer: store.add("\(layer).outer", [width, 4 * width], .xavierUniform)
                )
            }
            store.allocate(seed: 1)
            func step(_ number: Int) {
                store.clearGradients()
                let tape = Tape()
                let context = DropoutContext(seed: 1, step: number, lanes: Array(0..<batch))
                let tokens = Tensor((0..<batch * length).map { Int32($0 * (number + 1) % vocabulary) }, [batch, length])
                var x = embedding(tape.parameter(table), tokens)
                for layer in layers {
                    let gain = tape.parameter(layer.gain)
                    let p = linear(layerNorm(x, gain: gain, bias: nil), weight: tape.parameter(layer.packed))
                    let mixed = attention(
                        query: AttentionOperand(p), key: AttentionOperand(p, column: width), value: AttentionOperand(p, column: 2 * width),
                        width: width, heads: 4, mask: AttentionMask(causal: true), dropoutRate: 0.1, dropout: context)
                    x = addDropout(x, mixed, rate: 0.1, context)
                    let inner = linear(
                        layerNorm(x, gain: gain, bias: nil), weight: tape.parameter(layer.inner), bias: tape.parameter(layer.bias), activation: .gelu)
                    x = addDropout(x, linear(inner, weight: tape.parameter(layer.outer)), rate: 0.1, context)
                }
                tape.backward(from: linearCrossEntropy(x, weight: tape.parameter(table), targets: tokens.reshaped(to: [batch * length])).loss)
                for (value, gradient) in zip(store.values.indices, store.gradients) { store.values[value] -= 1e-3 * gradient }
            }
            step(1)
            step(2)
            let (pages, blocks) = (SystemMemory.pageFaultsOfThread, MemoryPool.shared.statistics.systemAllocations)
            for number in 3...10 { step(number) }
            let (morePages, moreBlocks) = (SystemMemory.pageFaultsOfThread - pages, MemoryPool.shared.statistics.systemAllocations - blocks)
            precondition(morePages == 0 && moreBlocks == 0, "\(morePages) pages, \(moreBlocks) blocks")
        }
    }

    @Test("tapes of equal steps use the nodes and entries of the first again")
    func recordingsAreReused() {
        let x = Tensor(repeating: 0.5, [4])
        func run() -> [Float] {
            let tape = Tape()
            let variable = tape.variable(x)
            var y = variable
            for _ in 0..<600 { y = y * 0.999 + variable }
            tape.backward(from: y.sum())
            return variable.node?.gradient?.array ?? []
        }
        let first = run()
        for _ in 0..<3 { #expect(run() == first) }
    }

    @Test("a value of a tape that is gone traps in an operation")
    func goneTape() async {
        await #expect(processExitsWith: .failure) {
            func value() -> Tensor { Tape().variable(Tensor(1)) * 2 }
            let stale = value()
            let tape = Tape()
            withExtendedLifetime(tape) { _ = stale * 2 }
        }
    }

    @Test("sizes are rounded up by at most a quarter, to multiples that keep 64-byte alignment")
    func sizeClasses() {
        let pool = MemoryPool()
        for bytes in [0, 1, 63, 64, 65, 80, 81, 1000, 4096, 5000, 1 << 20, (1 << 21) + 1] {
            let before = pool.statistics.usedBytes
            let storage = Storage(byteCount: bytes, pool: pool)
            let used = pool.statistics.usedBytes - before
            #expect(used >= max(bytes, 64) && Double(used) <= 1.25 * Double(max(bytes, 64)) + 1, "\(bytes) bytes took \(used)")
            #expect(UInt(bitPattern: storage.pointer) % 64 == 0)
        }
        #expect(pool.statistics.usedBytes == 0)
        let reserved = pool.statistics.reservedBytes
        #expect(reserved > 0)
        pool.trim()
        #expect(pool.statistics.reservedBytes == 0)
    }
}
