"""The sizes of the workloads of `mneme bench`, as Sources/Training/Benchmarks has them."""

GPT = dict(kind="tokens", dropout=0.0, smoothing=0.0, pre_norm=True, source=0, optimizer="adamw", learning_rate=3e-4, betas=(0.9, 0.95), decay=0.1, clip=1.0)
PAIRS = dict(kind="pairs", dropout=0.1, optimizer="adamw", decay=0.01, clip=1.0)
BASE = dict(PAIRS, layers=6, width=512, heads=8, inner=2048, vocabulary=32000, batch=64, source=32, target=32, smoothing=0.1, pre_norm=False,
            learning_rate=5e-4, betas=(0.9, 0.98))

WORKLOADS = {
    "story-pairs": dict(PAIRS, layers=2, width=64, heads=4, inner=256, vocabulary=448, batch=64, source=60, target=60, smoothing=0.0, pre_norm=True,
                        learning_rate=1e-3, betas=(0.9, 0.999)),
    "gpt-small": dict(GPT, layers=6, width=384, heads=6, inner=1536, vocabulary=8192, batch=8, target=256),
    "gpt2-124m": dict(GPT, layers=12, width=768, heads=12, inner=3072, vocabulary=50257, batch=2, target=512),
    "encoder-decoder": BASE,
    "lstm": dict(kind="recurrent", layers=2, width=650, vocabulary=10000, batch=20, source=0, target=35, dropout=0.5, optimizer="sgd", learning_rate=1.0,
                 clip=5.0),
    "greedy": dict(BASE, dropout=0.0, beam=1),
    "beam": dict(BASE, dropout=0.0, beam=4),
}
MACHINE = dict(optimizer="rmsprop", learning_rate=1e-4, clip=10.0, dropout=0.0, batch=16)
COMPUTER = dict(MACHINE, kind="neural-computer", rows=256, width=64, reads=4, controller=256, bits=8)
WORKLOADS |= {
    "ntm-copy": dict(MACHINE, kind="turing-machine", rows=128, width=20, reads=1, controller=100, bits=8, read=20, steps=41),
    "dnc-repeat-copy": dict(COMPUTER, rows=16, width=16, controller=64, bits=4, read=7, steps=15),
    "dnc-copy": dict(COMPUTER, read=50, steps=100),
    "dnc-long": dict(COMPUTER, read=250, steps=500),
    "memn2n": dict(kind="end-to-end", hops=3, width=20, sentences=50, words=10, vocabulary=200, batch=32, optimizer="sgd", learning_rate=0.01, clip=40.0,
                   dropout=0.0),
}
# The symbol that decoding starts from.
START = 1
