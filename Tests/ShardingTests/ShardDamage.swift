// Damage to shard files.

import Foundation
import HDF5

/// Flips one bit in the middle of a dataset.
func flipBit(in path: String, dataset name: String) throws {
    let file = try HDF5File.openReadOnly(path)
    let dataset = try file.dataset(name)
    let place = UInt64(dataset.fileOffset ?? 0) + UInt64(dataset.byteCount / 2)
    try file.close()
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: path))
    defer { try? handle.close() }
    try handle.seek(toOffset: place)
    let byte = try handle.read(upToCount: 1)?.first ?? 0
    try handle.seek(toOffset: place)
    try handle.write(contentsOf: Data([byte ^ 4]))
}
