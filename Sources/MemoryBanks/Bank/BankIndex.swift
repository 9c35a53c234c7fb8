// Where records are: rows by the hash of namespace and id, and blocks by namespace.

import Diagnostics

/// The index of one rank's rows. A block holds rows of one namespace only, so a namespace is read without touching another.
struct BankIndex {
    /// The blocks of a namespace in one virtual shard.
    private struct Partition {
        /// Ascending.
        var blocks: [Int] = []
        /// Blocks before this place are full.
        var firstOpen = 0
    }
    private struct PartitionName: Hashable { let namespace: String, shard: Int }

    private var rows: [UInt64: Int] = [:]
    private var partitions: [PartitionName: Partition] = [:]
    /// Namespaces of blocks.
    private var owners: [Int: String] = [:]
    /// By virtual shard: no block below this number of blocks is free.
    private var firstFree: [Int: Int] = [:]
    /// Admitted records by namespace.
    private(set) var counts: [String: Int] = [:]
    /// Admitted records.
    private(set) var admittedCount = 0

    /// The index of an empty table.
    init() {}

    /// The index of a table's rows.
    /// - Throws: `UserError` (.badData) for a block that holds records of two namespaces.
    init(_ table: RowTable, _ columns: BankColumns, of directory: String) throws {
        for number in table.blocks.keys.sorted() {
            guard let block = table.blocks[number] else { continue }
            for place in block.occupied {
                guard let slot = block.slot(place) else { continue }
                let namespace = columns.text(.namespace, block, slot)
                insert(
                    number * columns.layout.blockRows + place, hash: BankRecord.hash(namespace, columns.text(.id, block, slot)),
                    namespace: namespace,
                    isAdmitted: columns.small(.sightings, block, slot) == 0)
                adopt(number, namespace, shard: number % columns.layout.shards)
                guard owners[number] == namespace else {
                    throw UserError(
                        .badData, "block \(number) holds records of two namespaces", at: directory, advice: "restore the bank from a copy")
                }
            }
        }
    }

    private mutating func adopt(_ block: Int, _ namespace: String, shard: Int) {
        guard owners[block] == nil else { return }
        owners[block] = namespace
        var partition = partitions[PartitionName(namespace: namespace, shard: shard)] ?? Partition()
        let place = partition.blocks.firstIndex { $0 > block } ?? partition.blocks.count
        partition.blocks.insert(block, at: place)
        partition.firstOpen = min(partition.firstOpen, place)
        partitions[PartitionName(namespace: namespace, shard: shard)] = partition
    }

    /// Records that wait for their admission.
    var waitingCount: Int { rows.count - admittedCount }
    /// Rows by the hash of namespace and id.
    var rowsByHash: [UInt64: Int] { rows }
    /// All rows.
    var all: Dictionary<UInt64, Int>.Values { rows.values }

    func row(_ hash: UInt64) -> Int? { rows[hash] }

    /// The namespace whose rows a block holds.
    func namespace(ofBlock number: Int) -> String { owners[number] ?? "" }

    /// The blocks in which a scope's records are.
    func blocks(in scope: NamespaceScope) -> [Int] {
        switch scope {
        case .all: owners.keys.sorted()
        case .one(let name): owners.filter { $0.value == name }.keys.sorted()
        }
    }

    /// A row for a new record of a namespace: the lowest free one of its blocks in the shard, else the first of the lowest block that is
    /// nobody's.
    mutating func allocate(shard: Int, _ namespace: String, _ table: RowTable) -> Int {
        let (size, shards) = (table.layout.blockRows, table.layout.shards)
        let name = PartitionName(namespace: namespace, shard: shard)
        if var partition = partitions[name] {
            while partition.firstOpen < partition.blocks.count {
                let number = partition.blocks[partition.firstOpen]
                guard let block = table.blocks[number] else { return saved(partition, name, number * size) }
                if let place = block.firstFreePlace { return saved(partition, name, number * size + place) }
                partition.firstOpen += 1
            }
            partitions[name] = partition
        }
        var ordinal = firstFree[shard] ?? 0
        while owners[ordinal * shards + shard] != nil { ordinal += 1 }
        firstFree[shard] = ordinal + 1
        adopt(ordinal * shards + shard, namespace, shard: shard)
        return (ordinal * shards + shard) * size
    }

    private mutating func saved(_ partition: Partition, _ name: PartitionName, _ row: Int) -> Int {
        partitions[name] = partition
        return row
    }

    mutating func insert(_ row: Int, hash: UInt64, namespace: String, isAdmitted: Bool) {
        rows[hash] = row
        if isAdmitted { count(namespace, 1) }
    }

    /// Adds to the number of a namespace's records.
    mutating func count(_ namespace: String, _ change: Int) {
        guard change != 0 else { return }
        counts[namespace, default: 0] += change
        if counts[namespace] == 0 { counts[namespace] = nil }
        admittedCount += change
    }

    /// Forgets a row that the table still holds. A block that becomes empty is free for any namespace.
    mutating func remove(_ row: Int, hash: UInt64, namespace: String, isAdmitted: Bool, layout: RowLayout) {
        rows[hash] = nil
        if isAdmitted { count(namespace, -1) }
        let number = layout.block(of: row)
        let name = PartitionName(namespace: namespace, shard: number % layout.shards)
        guard var partition = partitions[name], let place = partition.blocks.firstIndex(of: number) else { return }
        partition.firstOpen = min(partition.firstOpen, place)
        partitions[name] = partition
    }

    /// Gives blocks without rows back, after rows were removed.
    mutating func releaseEmpty(_ table: RowTable) {
        for (number, namespace) in owners where (table.blocks[number]?.count ?? 0) == 0 {
            let shard = number % table.layout.shards
            let name = PartitionName(namespace: namespace, shard: shard)
            owners[number] = nil
            partitions[name]?.blocks.removeAll { $0 == number }
            partitions[name]?.firstOpen = 0
            if partitions[name]?.blocks.isEmpty ?? false { partitions[name] = nil }
            firstFree[shard] = min(firstFree[shard] ?? 0, number / table.layout.shards)
        }
    }
}
