// What a language model is read together with, as options give it.

import ArgumentParser
import Training

struct MemoryReadingOptions: ParsableArguments {
    @Option(help: ArgumentHelp("A bank that mneme memory build has made with this run.", valueName: "bank"))
    var bank: String?

    @Option(help: ArgumentHelp("The namespace of the bank that is read.", valueName: "name"))
    var namespace: String?

    @Option(help: ArgumentHelp("Neighbours of each token in the bank (default: 256).", valueName: "count"))
    var neighbors: Int?

    @Option(help: ArgumentHelp("Search only so many lists of the bank's index (default: exactly).", valueName: "lists"))
    var probe: Int?

    @Option(help: ArgumentHelp("The weight of the bank, 0 to 1 (default: 0.25).", valueName: "weight"))
    var lambda: Double?

    @Option(help: ArgumentHelp("What squared distances are divided by (default: 1).", valueName: "number"))
    var temperature: Double?

    @Option(help: ArgumentHelp("Read beside it the latest N tokens of the text before each.", valueName: "count"))
    var cache: Int?

    @Option(help: ArgumentHelp("What inner products are multiplied by (default: 0.3).", valueName: "number"))
    var cacheTheta: Double?

    @Option(help: ArgumentHelp("The weight of the cache, 0 to 1 (default: 0.1).", valueName: "weight"))
    var cacheLambda: Double?

    // Not --tune: Open MPI's mpirun takes that for its own wherever it stands.
    @Option(help: ArgumentHelp("Choose weights, temperature and theta that are not given on this corpus.", valueName: "dir"))
    var tuneOn: String?

    var reading: MemoryReading {
        var reading = MemoryReading()
        (reading.bank, reading.namespace, reading.neighbors, reading.lambda) = (bank, namespace, neighbors, lambda)
        (reading.temperature, reading.cache, reading.cacheTheta, reading.cacheLambda) = (temperature, cache, cacheTheta, cacheLambda)
        (reading.probes, reading.tune) = (probe, tuneOn)
        return reading
    }
}
