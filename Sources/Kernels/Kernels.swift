// The choice of the kernel set, made once by what the processor supports.

import CProcessor
import Diagnostics
@_exported import KernelTypes
import KernelsBaseline
import Synchronization

#if arch(x86_64)
    import KernelsAVX2
    import KernelsAVX512
#endif


/// The SIMD kernels of this processor.
public enum Kernels {
    /// The kernel sets that this processor can run, from the smallest instruction set to the largest.
    public static let available: [any KernelSet] = {
        var sets: [any KernelSet] = [KernelsBaseline.VariantKernels()]
        #if arch(x86_64)
            if mneme_processor_supports_avx2() { sets.append(KernelsAVX2.VariantKernels()) }
            if mneme_processor_supports_avx512() { sets.append(KernelsAVX512.VariantKernels()) }
        #endif
        return sets
    }()

    /// The kernel set in use: the one that was chosen, or else the largest.
    ///
    /// Stops the program when the caller, a variant or this module was compiled for another layout of the kernels.
    public static var active: any KernelSet {
        @_transparent get { inUse(layout: KernelLayout.number) }
    }

    /// Uses the kernels of a smaller instruction set than the processor's: to be called before the first use of `active`, by the program or by what
    /// starts the tests. nil is the largest.
    ///
    /// - Throws: `UserError` (configuration) when the processor lacks the instruction set or there is none of that name.
    /// - Parameter source: where the name comes from, for the message.
    public static func choose(instructionSet: String?, source: String) throws {
        guard let wanted = instructionSet else { return }
        let names = available.map(\.instructionSet)
        guard names.contains(wanted) else {
            throw UserError(
                .configuration, "instruction set '\(wanted)' is not one that this processor supports", at: source,
                advice: "unset it or use one of \(names.joined(separator: ", "))")
        }
        chosen.withLock { $0 = wanted }
        require(current.instructionSet == wanted, "kernels were used before the instruction set \(wanted) was chosen")
    }

    /// What `choose` was told; read once, when the first kernel is used.
    private static let chosen = Mutex<String?>(nil)

    private static let current: any KernelSet = {
        if let problem = layoutProblem(KernelLayout.number, of: "Kernels") { require(false, problem) }
        var layouts = [("KernelsBaseline", KernelsBaseline.compiledLayout())]
        #if arch(x86_64)
            layouts += [("KernelsAVX2", KernelsAVX2.compiledLayout()), ("KernelsAVX512", KernelsAVX512.compiledLayout())]
        #endif
        for (module, layout) in layouts { if let problem = layoutProblem(layout, of: module) { require(false, problem) } }
        let wanted = chosen.withLock { $0 }
        return available.first { $0.instructionSet == wanted } ?? available[available.count - 1]
    }()

    /// `active` for a caller that was compiled for a layout.
    public static func inUse(layout: UInt64) -> any KernelSet {
        if layout != KernelLayout.current(), let problem = layoutProblem(layout, of: "a module that calls kernels") { require(false, problem) }
        return current
    }

    /// What to say of a module that was compiled for a layout; nil when it is the program's.
    package static func layoutProblem(_ layout: UInt64, of module: String) -> String? {
        if layout == KernelLayout.current() { return nil }
        return "\(module) was compiled for another layout of the kernels than this program has; make every module that uses kernels compile again "
            + "(touch Sources/*/*.swift Sources/*/*/*.swift, then build)"
    }

    /// Flushes denormal numbers to zero in the calling thread (FTZ and DAZ) from now on: arithmetic on them is a hundred times slower, and gradients
    /// of saturated softmaxes are full of them. Divided calls (`Workers`) do so in every thread that takes part, the calling one included, whatever
    /// its mode is outside. Nothing on processors other than x86-64.
    public static func flushDenormals() {
        _ = mneme_processor_flush_denormals()
    }
}
