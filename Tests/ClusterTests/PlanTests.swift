import Cluster
import Configuration
import Diagnostics
import Foundation
import TestSupport
import Testing
import Training

/// Plans of a run on clusters that are made up, and the rehearsal that they stand on.
@Suite struct PlanTests {
    static let cluster = """
        processor: "made up"
        node: {cores: 8, memoryBytes: 32000000000, ranks: 2}
        compute: {float32FlopsPerSecond: 8e11, bfloat16FlopsPerSecond: 1.6e12, memoryBytesPerSecond: 8e10}
        network:
          insideNode: {ranks: 2, latencySeconds: 1e-5, bytesPerSecond: 1e9}
          betweenNodes: {latencySeconds: 2e-5, bytesPerSecond: 1e9}
        fileSystem: {writeBytesPerSecond: 1e9, readBytesPerSecond: 2e9}

        """

    private static func run(_ scratch: String) -> String {
        """
        run: \(scratch)/run
        steps: 10
        task: {kind: copy, bits: 8, lengths: [6, 6], testLengths: [6]}
        model: {kind: lstm, layers: 1, width: 32}
        batch: {lanes: 16}

        """
    }

    private func cluster(_ text: String = PlanTests.cluster) throws -> ClusterDescription {
        try withScratchDirectory { scratch in
            try text.write(toFile: "\(scratch)/cluster.yaml", atomically: true, encoding: .utf8)
            return try ClusterDescription(contentsOf: "\(scratch)/cluster.yaml")
        }
    }

    private func configuration(_ settings: String...) throws -> RunConfiguration { try configuration(settings) }

    private func configuration(_ settings: [String]) throws -> RunConfiguration {
        try withScratchDirectory { scratch in
            try PlanTests.run(scratch).write(toFile: "\(scratch)/run.yaml", atomically: true, encoding: .utf8)
            return try RunConfiguration(contentsOf: "\(scratch)/run.yaml", overrides: settings)
        }
    }

    /// A plan from a rehearsal of 10 ms a lane, half of it in products, at the speeds of one of the cluster's cores.
    private func plan(_ settings: String..., ranksPerNode: Int = 2, nodes: [Int]? = nil) throws -> Plan {
        let configuration = try settings.reduce(into: self.configuration()) { result, setting in result = try self.configuration(setting) }
        let run = PlannedRun(configuration, try configuration.task.makeTask(configuration, savedIn: nil))
        func point(_ lanes: Int) -> StepRehearsal.Point {
            .init(lanes: lanes, seconds: 0.01 * Double(lanes), productSeconds: 0.005 * Double(lanes), flops: 1e8 * Double(lanes), activationBytes: 1e6 * Double(lanes))
        }
        var plan = Plan(
            model: "lstm", parameters: 250_000_000, rehearsal: StepRehearsal(points: [point(1), point(16)], updateSeconds: 0.02, threads: 4),
            localFlopsPerSecond: 4e11, localMemoryBytesPerSecond: 4e10, cluster: try cluster(), assumptions: PlanAssumptions(ranksPerNode: ranksPerNode, threads: 4))
        try plan.fill(run, nodes: nodes)
        return plan
    }

    @Test("Young's and Daly's intervals, and the goodput between them")
    func intervals() {
        let interval = CheckpointInterval(save: 60, restart: 120, meanTimeBetweenFailures: 86400)
        #expect(abs(interval.young - 3219.94) < 0.01 && abs(interval.daly - 3180.06) < 0.01)
        let best = interval.goodput(interval: interval.daly)
        #expect(best > 0.95 && best < 1 && best > interval.goodput(interval: 300) && best > interval.goodput(interval: 30_000))
        #expect(CheckpointInterval(save: 300, restart: 0, meanTimeBetweenFailures: 100).daly == 100, "a save that is longer than machines live")
        #expect(interval.goodput(interval: 0) == 0)
    }

    @Test func lanesAreSharedAndSumsCost() throws {
        let plan = try plan()
        #expect(plan.asItIs.map(\.ranks) == [1, 2, 4, 8, 16] && plan.asItIs.map(\.nodes) == [1, 1, 2, 4, 8] && plan.asItIs.map(\.lanesPerRank) == [16, 8, 4, 2, 1])
        // One rank of four threads has half of the node's products, as here; two have all of it.
        #expect(plan.asItIs.allSatisfy { abs($0.passSeconds - 0.01 * Double($0.lanesPerRank)) < 1e-9 })
        #expect(plan.asItIs[0].allReduceSeconds == 0 && abs(plan.asItIs[0].stepSeconds - 0.18) < 1e-9)
        // 1 GB at 1 GB/s, and 239 buckets and three small sums of 10 us each.
        #expect(abs(plan.asItIs[1].allReduceSeconds - (1 + 242e-5)) < 1e-6, "\(plan.asItIs[1])")
        #expect(abs(plan.asItIs[2].allReduceSeconds - (2 + 242 * 5e-5)) < 1e-6, "\(plan.asItIs[2])")
        #expect(plan.asItIs[0].efficiency == 1 && plan.asItIs[4].efficiency < plan.asItIs[1].efficiency)
        let last = try #require(plan.growing.last)
        #expect(last.ranks == 8192 && last.nodes == 4096 && last.lanesPerRank == 8 && last.lanes == 16 * 4096)
        #expect(last.goodput < plan.growing[0].goodput && last.dalySeconds < plan.growing[0].dalySeconds)
    }

    @Test("what travels between nodes hides behind the last micro-batch's backward pass, but for what is ready last")
    func sumsHide() throws {
        func row(_ settings: String, nodes: Int = 2) throws -> Plan.Row {
            var plan = try plan(nodes: [nodes])
            let configuration = try self.configuration(settings.split(separator: " ").map(String.init))
            try plan.fill(PlannedRun(configuration, try configuration.task.makeTask(configuration, savedIn: nil)), nodes: [nodes])
            return plan.asItIs[0]
        }
        // Four ranks of four lanes: passes of 40 ms. 1 GB at 1 GB/s each way hides no more than the backward pass.
        let whole = try row("")
        #expect(abs(whole.hiddenSeconds - 0.04 * 2 / 3) < 1e-9 && abs(whole.stepSeconds - (0.04 + 0.02 + whole.allReduceSeconds - whole.hiddenSeconds)) < 1e-9)
        // A fifth of it with int8, and nothing for six ranks without a tree, or with local steps, which also send an eighth.
        let groups = "parallel.reproducible=true batch.groups=8"
        let float = try row(groups), bytes = try row("\(groups) parallel.gradients=int8"), half = try row("\(groups) parallel.gradients=bfloat16")
        #expect(abs(float.hiddenSeconds - 0.01 * 2 * 2 / 3) < 1e-9)
        #expect(abs(half.allReduceSeconds / float.allReduceSeconds - 0.5) < 0.01 && abs(bytes.allReduceSeconds / float.allReduceSeconds - 33.0 / 128) < 0.01)
        let local = try row("\(groups) parallel.localSteps=8")
        #expect(local.hiddenSeconds == 0 && abs(local.allReduceSeconds / float.allReduceSeconds - 0.125) < 0.01)
        #expect(try row("", nodes: 3).hiddenSeconds == 0)
        #expect(try row("", nodes: 1).hiddenSeconds == 0)
    }

    @Test func moreRanksThanCoresShareThem() throws {
        // Four ranks of four threads on eight cores: half the products of each, half the memory.
        let row = try plan(ranksPerNode: 4, nodes: [1]).asItIs[0]
        #expect(abs(row.passSeconds - 2 * 0.04) < 1e-9 && abs(row.updateSeconds - 0.04) < 1e-9)
        #expect(abs(row.allReduceSeconds - (3 + 242 * 2e-5)) < 1e-6)
    }

    @Test func groupsAreTheMicroBatches() throws {
        let run = try configuration("batch.groups=4", "parallel.reproducible=true")
        let planned = PlannedRun(run, try run.task.makeTask(run, savedIn: nil))
        #expect(planned.mostRanks == 4)
        #expect([1, 2, 3, 4].map { planned.microBatches(ranks: $0).count } == [4, 2, 2, 1] && planned.microBatches(ranks: 3).lanes == 4)
        let accumulating = try configuration("batch.accumulation=3")
        let other = PlannedRun(accumulating, try accumulating.task.makeTask(accumulating, savedIn: nil))
        #expect(other.mostRanks == 5 && other.microBatches(ranks: 2) == (3, 3))
    }

    @Test func moreRanksThanLanes() throws {
        let error = #expect(throws: UserError.self) { _ = try plan(nodes: [9]) }
        #expect(error?.exitCode == .configuration && error?.description.contains("18 ranks on 9 nodes cannot share the run's lanes: 16 can") == true)
    }

    @Test("what is between measured sizes is interpolated, what is beyond lies on the line")
    func pointsBetween() {
        func point(_ lanes: Int, _ seconds: Double) -> StepRehearsal.Point {
            .init(lanes: lanes, seconds: seconds, productSeconds: seconds / 2, flops: 1, activationBytes: 0)
        }
        let rehearsal = StepRehearsal(points: [point(1, 1), point(3, 2), point(7, 6)], updateSeconds: 0, threads: 1)
        #expect([1, 2, 3, 5, 7, 9].map { rehearsal.point(lanes: $0).seconds } == [1, 1.5, 2, 4, 6, 8])
        #expect(StepRehearsal(points: [point(4, 1)], updateSeconds: 0, threads: 1).point(lanes: 9).seconds == 1)
    }

    @Test func theFileIsReadAsItIsWritten() throws {
        let description = try cluster()
        #expect(try cluster(description.yaml) == description)
        var alone = description
        (alone.insideNode, alone.betweenNodes, alone.writeBytesPerSecond, alone.readBytesPerSecond) = (nil, nil, nil, nil)
        #expect(try cluster(alone.yaml) == alone)
    }

    @Test(arguments: [
        ("cores: 8", "cores: 0", "node.cores"), ("cores: 8, ", "", "node.cores"), ("8e11", "fast", "float32FlopsPerSecond"), ("8e11", "-1", "float32FlopsPerSecond"),
        ("8e11", ".nan", "float32FlopsPerSecond"), ("8e10", ".inf", "memoryBytesPerSecond"), ("ranks: 2, latency", "latency", "network.insideNode.ranks"),
        ("{latencySeconds: 2e-5, ", "{", "network.betweenNodes.latencySeconds"), ("readBytes", "reedBytes", "reedBytes"), ("memoryBytes: 32000000000", "memoryBytes: 1e40", "memoryBytes"),
    ])
    func badFiles(part: String, replacement: String, named: String) throws {
        #expect(PlanTests.cluster.contains(part))
        let error = #expect(throws: UserError.self) { _ = try cluster(PlanTests.cluster.replacing(part, with: replacement)) }
        #expect(error?.exitCode == .configuration && error?.description.contains(named) == true, "\(String(describing: error))")
    }

    /// In a process of its own: products are counted for a whole process, and other tests multiply beside this one.
    @Test func theRehearsalCountsWhatTheModelMultiplies() throws {
        try withScratchDirectory { scratch in
            try PlanTests.cluster.write(toFile: "\(scratch)/cluster.yaml", atomically: true, encoding: .utf8)
            try PlanTests.run(scratch).write(toFile: "\(scratch)/run.yaml", atomically: true, encoding: .utf8)
            let plan = try MPIRun.runAlone(
                executable: "mneme", arguments: ["plan", "\(scratch)/run.yaml", "--cluster", "\(scratch)/cluster.yaml", "--nodes", "1", "--json"])
            let object = try #require(JSONSerialization.jsonObject(with: Data(plan.standardOutput.utf8)) as? [String: Any], "\(plan.standardError)")
            let rehearsal = try #require(object["rehearsal"] as? [String: Any])
            let points = try #require(rehearsal["points"] as? [[String: Double]])
            func values(_ name: String) throws -> [Double] { try points.map { try #require($0[name], "\(name)") } }
            let (lanes, flops) = try (values("lanes"), values("flops"))
            #expect(lanes.count > 1 && lanes.last == 16 && lanes == lanes.sorted())
            #expect(zip(lanes, flops).allSatisfy { $1 == $0 * flops[0] / lanes[0] }, "\(points)")
            // Weights of the LSTM and of its output: twice forward, four times backward, at each of 13 or 14 positions of a lane.
            let weights: Double = 4 * 32 * (32 + 10) + 32 * 8
            let (least, most): (Double, Double) = (6 * 12 * 0.6 * weights, 6 * 15 * weights)
            #expect(flops[0] / lanes[0] > least && flops[0] / lanes[0] < most, "\(flops), \(weights)")
            let (seconds, products, activations) = try (values("seconds"), values("product_seconds"), values("activation_bytes"))
            #expect(zip(seconds, products).allSatisfy { $0 > 0 && $1 > 0 && $1 <= $0 } && activations == activations.sorted())
            #expect(try #require(rehearsal["update_seconds"] as? Double) >= 0)
        }
    }

    @Test func aRunThatNoNodeHolds() throws {
        let configuration = try configuration("model.width=4000")
        let small = try cluster(PlanTests.cluster.replacing("memoryBytes: 32000000000", with: "memoryBytes: 100000000"))
        let error = #expect(throws: UserError.self) { _ = try Plan.made(configuration, on: small, PlanRequest()) }
        #expect(error?.exitCode == .configuration)
        #expect(error?.description.contains("before activations, but a node of the cluster has 100 MB") == true, "\(String(describing: error))")
    }

    @Test func theCommand() throws {
        try withScratchDirectory { scratch in
            try PlanTests.cluster.write(toFile: "\(scratch)/cluster.yaml", atomically: true, encoding: .utf8)
            let yaml = "run: \(scratch)/run\nsteps: 2\ntask: {kind: copy, bits: 8, lengths: [1, 4], testLengths: [4]}\nmodel: {kind: lstm, layers: 1, width: 16}\nbatch: {lanes: 4}\n"
            try yaml.write(toFile: "\(scratch)/run.yaml", atomically: true, encoding: .utf8)
            func plan(_ arguments: String...) throws -> FinishedRun {
                try MPIRun.runAlone(executable: "mneme", arguments: ["plan", "\(scratch)/run.yaml", "--cluster"] + arguments)
            }
            let text = try plan("\(scratch)/cluster.yaml")
            #expect(text.status == 0, "\(text.standardError)")
            for part in ["the run as it is", "with batch.lanes that grow", "8192", "memory of a rank", "by Daly", "assumed", "a node fails once in 5.0 years"] {
                #expect(text.standardOutput.contains(part), "\(part) in \(text.standardOutput)")
            }
            #expect(try plan("\(scratch)/nothing.yaml").status == 66)
            let json = try plan("\(scratch)/cluster.yaml", "--json", "--nodes", "1", "--mtbf", "24h")
            #expect(json.status == 0 && json.standardOutput.contains("\"as_it_is\"") && json.standardOutput.contains("\"growing\":[]"), "\(json.standardOutput)")
            #expect(!FileManager.default.fileExists(atPath: "\(scratch)/run"), "a plan begins no run")
        }
    }
}
