// A communicator whose long works stop at a request.

/// Another communicator, with requests to stop.
final class InterruptibleCommunicator: ForwardingCommunicator {
    private let isRequested: () -> Bool

    init(_ base: any Communicator, _ isRequested: @escaping () -> Bool) {
        self.isRequested = isRequested
        super.init(base)
    }

    override var interruption: (() -> Bool)? { isRequested }
}
