// A memory with usage and temporal links: one step of one sequence (Graves et al. 2016, "Hybrid computing using a neural network with dynamic
// external memory", Methods).
//
// Legend: N memory rows, W width, R read heads, E interface width, S padded rows. M memory, u usage, psi retention, w write weights, r read weights,
// p precedence, L links.

import Kernels
import Tensors

/// One step of the memory. A value without state: frames and scratch memory are the caller's.
///
/// In this order, t the step:
/// 1. psi = product over heads of (1 - f r[t-1]); u[t] = (u + w - u w)[t-1] * psi
/// 2. with u' = 1e-6 + (1 - 1e-6) u[t] and phi the rows by rising usage (a stable sort):
///    a[phi(j)] = (1 - u'[phi(j)]) * product over i < j of u'[phi(i)]
/// 3. c = softmax(strength cos(M[t-1], key)), cos(x, y) = x.y / (|x| |y|), |x| = sqrt(sum of x^2 + 1e-6); w[t] = gw (ga a + (1 - ga) c)
/// 4. M[t] = M[t-1] * (1 - w e^T) + w v^T
/// 5. L[t](i, j) = (1 - w(i) - w(j)) L[t-1](i, j) + w(i) p[t-1](j), 0 for i = j; p[t] = (1 - sum of w) p[t-1] + w
/// 6. of each read head: r[t] = backward mode * L^T r[t-1] + content mode * softmax(strength cos(M[t], key)) + forward mode * L r[t-1];
///    it reads M[t]^T r[t]
struct AllocatedMemory: FrameCell {
    let operation = Operation("differentiable neural computer")
    let configuration: DifferentiableNeuralComputerConfiguration
    let interface: MemoryInterface
    let frame: MemoryFrame
    /// The scratch memory of a sequence; `stepGradient` wants zeros in it before its first call.
    let scratch: GradientScratch

    /// Added to the sum of squares of a norm.
    static let normEpsilon: Float = 1e-6
    /// Keeps usages from being 0 where their products are taken.
    static let usageEpsilon: Float = 1e-6
    /// Added to links before they are sharpened.
    static let linkEpsilon: Float = 1e-6
    /// The least that a mask lets through.
    static let maskFloor: Float = 0.1

    init(_ configuration: DifferentiableNeuralComputerConfiguration) {
        self.configuration = configuration
        interface = MemoryInterface(configuration)
        frame = MemoryFrame(configuration, interface.count)
        scratch = GradientScratch(frame, interface)
    }

    var layout: FrameLayout { frame.layout }
    var inputWidth: Int { interface.count }
    var outputWidth: Int { frame.heads * frame.width }
    var readHeads: Int { frame.heads }
    var scratchCount: Int { scratch.count }

    /// Writes to the memory and reads from it.
    /// - Parameters:
    ///   - next: the frame after the step; written.
    ///   - previous: the frame before it.
    ///   - values: [E], the interface before its functions.
    ///   - output: [R, W], what is read; written.
    ///   - scratch: [scratch.count].
    func step(
        _ next: UnsafeMutablePointer<Float>, from previous: UnsafeMutablePointer<Float>, _ values: UnsafePointer<Float>,
        output: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>
    ) {
        let (f, i, kernels) = (frame, interface, kernels)
        let (stride, heads, width) = (f.stride, f.heads, f.width)
        let z = next + f.interface
        activate(z, values, kernels)

        kernels.memoryUsage(
            next + f.usage, retention: next + f.retention, previousUsage: previous + f.usage, writeWeights: previous + f.writeWeights,
            readWeights: previous + f.readWeights, freeGates: z + i.freeGates, heads: heads, stride: stride)
        (next + f.order).withMemoryRebound(to: Int32.self, capacity: stride) { order in
            kernels.memoryAllocation(
                next + f.allocation, order: order, usage: next + f.usage, epsilon: Self.usageEpsilon, rows: f.rows, stride: stride)
        }
        content(
            next, memory: previous, weights: next + f.writeContent, cosines: next + f.writeCosines, first: heads, count: 1, scratch: scratch, kernels)
        kernels.memoryWriteWeights(
            next + f.writeWeights, precedence: next + f.precedence, previousPrecedence: previous + f.precedence, allocation: next + f.allocation,
            content: next + f.writeContent, allocationGate: z[i.allocationGate], writeGate: z[i.writeGate], stride: stride)
        kernels.writeMemory(
            next + f.matrix, inverseNorms: next + f.inverseNorms, previous: previous + f.matrix, weights: next + f.writeWeights, erase: z + i.erase,
            vector: z + i.writeVector, retention: configuration.erasesFreedRows ? UnsafePointer(next + f.retention) : nil, epsilon: Self.normEpsilon,
            width: width, stride: stride)
        kernels.linkMemory(
            next + f.links, forward: next + f.rawForward, backward: next + f.rawBackward, previous: previous + f.links,
            writeWeights: next + f.writeWeights, precedence: previous + f.precedence, readWeights: previous + f.readWeights, heads: f.paddedHeads,
            rows: f.linkRows, stride: stride)
        if configuration.sharpensLinks {
            for h in 0..<heads {
                kernels.sharpen(
                    next + f.forward + h * stride, next + f.rawForward + h * stride, power: z[i.powers + h], epsilon: Self.linkEpsilon, rows: f.rows,
                    stride: stride)
                kernels.sharpen(
                    next + f.backward + h * stride, next + f.rawBackward + h * stride, power: z[i.powers + heads + h], epsilon: Self.linkEpsilon,
                    rows: f.rows, stride: stride)
            }
        }
        content(next, memory: next, weights: next + f.content, cosines: next + f.cosines, first: 0, count: heads, scratch: scratch, kernels)
        kernels.memoryReadWeights(
            next + f.readWeights, backward: next + f.backward, content: next + f.content, forward: next + f.forward, modes: z + i.modes, heads: heads,
            stride: stride)
        for h in heads..<f.paddedHeads { (next + f.readWeights + h * stride).update(repeating: 0, count: stride) }
        kernels.memorySums(
            output, weights: next + f.readWeights, memory: next + f.matrix, heads: heads, width: width, stride: stride, isSquared: false)
    }

    /// Applies the functions of the interface. Masks stay values of the logistic function: their floor is added where they are used.
    private func activate(_ z: UnsafeMutablePointer<Float>, _ values: UnsafePointer<Float>, _ kernels: any KernelSet) {
        let i = interface
        z.update(from: values, count: i.erase)
        kernels.unary(.sigmoid, z + i.erase, values + i.erase, i.readStrengths - i.erase)
        kernels.unary(.softplus, z + i.readStrengths, values + i.readStrengths, i.modes - i.readStrengths)
        let first = configuration.strength == .onePlus ? i.readStrengths : i.powers
        for k in first..<i.modes { z[k] += 1 }
        (z + i.modes).update(from: values + i.modes, count: i.count - i.modes)
        kernels.readModes(z + i.modes, heads: frame.heads)
    }

    /// Content weights of `count` heads from `first` on; the write head is the last one. `memory` is the frame whose matrix is compared.
    private func content(
        _ next: UnsafeMutablePointer<Float>, memory: UnsafeMutablePointer<Float>, weights: UnsafeMutablePointer<Float>,
        cosines: UnsafeMutablePointer<Float>, first: Int, count: Int, scratch: UnsafeMutablePointer<Float>, _ kernels: any KernelSet
    ) {
        let (f, i) = (frame, interface)
        let (stride, width) = (f.stride, f.width)
        let z = next + f.interface
        let keys = z + i.readKeys + first * width
        let norms = next + f.maskedNorms + first * stride
        var vectors = keys
        if configuration.masksKeys {
            let (masked, squares) = (scratch, scratch + count * width)
            maskedKeys(masked, squares, keys: keys, masks: z + i.readMasks + first * width, count: count * width)
            kernels.memoryProducts(
                norms, vectors: squares, memory: memory + f.matrix, heads: count, width: width, stride: stride, isSquared: true, accumulates: false)
            kernels.inverseRoots(norms, norms, epsilon: Self.normEpsilon, count * stride)
            vectors = masked
        }
        kernels.memoryProducts(
            cosines, vectors: vectors, memory: memory + f.matrix, heads: count, width: width, stride: stride, isSquared: false, accumulates: false)
        for h in 0..<count {
            // Under a mask, the squared norm of the key is the product of the key with the key times the squared mask.
            let square = kernels.dot(keys + h * width, vectors + h * width, width)
            let inverse = 1 / (square + Self.normEpsilon).squareRoot()
            (next + f.keyNorms)[first + h] = inverse
            kernels.contentWeights(
                weights + h * stride, cosines: cosines + h * stride,
                inverseNorms: configuration.masksKeys ? norms + h * stride : memory + f.inverseNorms, inverseKeyNorm: inverse,
                strength: z[i.readStrengths + first + h], rows: f.rows, stride: stride)
        }
    }

    /// masked = key m^2, squares = m^2, m the masks with their floor.
    @inline(__always)
    func maskedKeys(
        _ masked: UnsafeMutablePointer<Float>, _ squares: UnsafeMutablePointer<Float>, keys: UnsafePointer<Float>, masks: UnsafePointer<Float>,
        count: Int
    ) {
        for w in 0..<count {
            let m = Self.maskFloor + (1 - Self.maskFloor) * masks[w]
            squares[w] = m * m
            masked[w] = keys[w] * (m * m)
        }
    }

    /// Writes what depends on the rest of an initial state.
    func completeState(_ state: UnsafeMutablePointer<Float>, scratch: UnsafeMutablePointer<Float>) {
        let f = frame
        scratch.update(repeating: 1, count: f.width)
        kernels.memoryProducts(
            state + f.inverseNorms, vectors: scratch, memory: state + f.matrix, heads: 1, width: f.width, stride: f.stride, isSquared: true,
            accumulates: false)
        kernels.inverseRoots(state + f.inverseNorms, state + f.inverseNorms, epsilon: Self.normEpsilon, f.stride)
    }
}
