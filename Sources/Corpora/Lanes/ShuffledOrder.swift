// Numbered examples in shuffled order, lane by lane.
//
// Legend: N examples, L lanes of the global batch.

import Diagnostics

/// N examples, shuffled anew each epoch. Step by step the L lanes take the next L of them; where an epoch has no L left, the step goes on with the next
/// one.
struct ShuffledOrder {
    let count: Int
    let laneCount: Int
    let seed: UInt64
    /// The epoch, and the place in it of lane 0's example.
    private(set) var (epoch, index) = (0, 0)

    /// - Parameters:
    ///   - count: N, at least 1.
    ///   - lanes: L, at least 1.
    ///   - seed: of the run.
    init(count: Int, lanes: Int, seed: UInt64) {
        require(lanes >= 1 && count >= 1, "\(lanes) lanes, \(count) examples")
        (self.count, laneCount, self.seed) = (count, lanes, seed)
    }

    /// The example of a lane in this step.
    func example(ofLane lane: Int) -> Int {
        require(lane >= 0 && lane < laneCount, "lane \(lane) of \(laneCount)")
        let (more, place) = (index + lane).quotientAndRemainder(dividingBy: count)
        return Permutation(count: count, seed: seed, stream: UInt64(epoch + more))[place]
    }

    /// What is drawn for a lane's example in this step.
    func choices(ofLane lane: Int) -> SeededChoices { SeededChoices(seed: seed, path: [UInt64(epoch), UInt64(index), UInt64(lane)]) }

    mutating func advance() {
        let (more, place) = (index + laneCount).quotientAndRemainder(dividingBy: count)
        (epoch, index) = (epoch + more, place)
    }

    var position: LoaderPosition { LoaderPosition(global: [Int64(epoch), Int64(index)]) }

    /// - Parameter what: what is counted, in the plural.
    /// - Throws: `UserError(.configuration)` where the position is none of these examples.
    mutating func seek(to position: LoaderPosition, of what: String) throws {
        guard position.global.count == 2, let epoch = Int(exactly: position.global[0]), let index = Int(exactly: position.global[1]), epoch >= 0,
            (0..<count).contains(index)
        else {
            throw UserError(
                .configuration, "the saved position \(position.global) does not fit these \(count) \(what)",
                advice: "resume with the \(what) of the saved run")
        }
        (self.epoch, self.index) = (epoch, index)
    }
}
