// What a memory with usage and links did, in pictures.
//
// Legend: N memory rows, R read heads, T steps.

import NeuralNetworks

/// Collects, step by step, what the memory of one sequence did.
final class MemoryStepTrace {
    private let memory: AllocatedMemory
    private var steps = 0
    /// By step, each [N].
    private var usage: [Float] = []
    private var writeWeights: [Float] = []
    /// By head, then by step.
    private var readWeights: [[Float]]
    /// By step: allocation gate, write gate, free gates.
    private var gates: [Float] = []
    /// By head, then by step: backward, content, forward.
    private var modes: [[Float]]
    /// [N, N], after the last step.
    private var links: [Float] = []

    init(_ memory: AllocatedMemory) {
        self.memory = memory
        readWeights = Array(repeating: [], count: memory.frame.heads)
        modes = readWeights
    }

    /// Notes the frame after one more step.
    func add(_ frame: UnsafeMutablePointer<Float>) {
        let (f, i) = (memory.frame, memory.interface)
        func values(_ place: Int, _ count: Int) -> UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: frame + place, count: count) }
        steps += 1
        usage += values(f.usage, f.rows)
        writeWeights += values(f.writeWeights, f.rows)
        let z = frame + f.interface
        gates += [z[i.allocationGate], z[i.writeGate]] + values(f.interface + i.freeGates, f.heads)
        for h in 0..<f.heads {
            readWeights[h] += values(f.readWeights + h * f.stride, f.rows)
            modes[h] += (0..<3).map { z[i.modes + $0 * f.heads + h] }
        }
        links.removeAll(keepingCapacity: true)
        for row in 0..<f.rows { links += values(f.links + row * f.stride, f.rows) }
    }

    /// Adds the pictures: steps from left to right.
    func record(to trace: MemoryTrace) {
        let (rows, heads) = (memory.frame.rows, memory.frame.heads)
        func overTime(_ name: String, _ axis: String, _ count: Int, _ values: [Float], labels: [String] = []) {
            // Values come by step; a step is a column.
            let turned = (0..<count).flatMap { row in (0..<steps).map { values[$0 * count + row] } }
            trace.record(name, rowAxis: axis, columnAxis: "step", rowLabels: labels, rows: count, columns: steps, values: turned)
        }
        overTime("write weights", "memory row", rows, writeWeights)
        for h in 0..<heads { overTime("read weights of head \(h + 1)", "memory row", rows, readWeights[h]) }
        overTime("usage", "memory row", rows, usage)
        overTime("gates", "gate", 2 + heads, gates, labels: ["allocation", "write"] + (0..<heads).map { "free \($0 + 1)" })
        for h in 0..<heads { overTime("read modes of head \(h + 1)", "mode", 3, modes[h], labels: ["backward", "content", "forward"]) }
        trace.record(
            "links after the last step", rowAxis: "row written later", columnAxis: "row written before", rows: rows, columns: rows, values: links)
    }
}
