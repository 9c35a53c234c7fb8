"""Fits the polynomials of Sources/KernelsBaseline/ElementaryFunctions.swift.

Each is a minimax fit in the relative error of the function it serves, found by Remez exchange in 60-digit arithmetic, printed as
float32 literals from the highest power down, with the largest relative error before rounding the coefficients.
Needs mpmath. Run: python3 fit.py
"""
import struct
import mpmath as mp

mp.mp.dps = 60


def remez(function, weight, low, high, degree, rounds=12):
    """The polynomial p of `degree` that minimises max |weight (p - function)| on [low, high]."""
    n = degree + 2
    low, high = mp.mpf(low), mp.mpf(high)
    nodes = [(low + high) / 2 + (low - high) / 2 * mp.cos(mp.pi * (2 * k + 1) / (2 * n)) for k in range(n)]
    grid = [low + (high - low) * (1 - mp.cos(mp.pi * mp.mpf(k) / 1500)) / 2 for k in range(1501)]
    values = [(x, function(x), weight(x)) for x in grid]
    for _ in range(rounds):
        matrix, right = mp.matrix(n, n), mp.matrix(n, 1)
        for row, x in enumerate(nodes):
            for power in range(degree + 1):
                matrix[row, power] = x ** power
            matrix[row, degree + 1] = (-1) ** row / weight(x)
            right[row] = function(x)
        solution = mp.lu_solve(matrix, right)
        coefficients = [solution[k] for k in range(degree + 1)]
        errors = [(x, w * (mp.polyval(coefficients[::-1], x) - f)) for x, f, w in values]
        peaks, best = [], errors[0]
        for x, e in errors[1:]:
            if mp.sign(e) != mp.sign(best[1]):
                peaks.append(best)
                best = (x, e)
            elif abs(e) > abs(best[1]):
                best = (x, e)
        peaks.append(best)
        while len(peaks) > n:
            peaks.pop(0 if abs(peaks[0][1]) < abs(peaks[-1][1]) else -1)
        if len(peaks) < n:
            break
        nodes = [x for x, _ in peaks]
    return coefficients, max(abs(e) for _, e in errors)


def show(name, fit):
    coefficients, error = fit
    rounded = [struct.unpack("f", struct.pack("f", float(c)))[0] for c in coefficients]
    print(f"{name}: relative error {mp.nstr(error, 3)}")
    for c in rounded[::-1]:
        print("    ", c.hex(), f"{c!r}")


# exp(r) = 1 + r + r^2 p(r) for |r| <= ln(2) / 2
show("exponential", remez(lambda r: (mp.exp(r) - 1 - r) / r ** 2 if abs(r) > 1e-12 else mp.mpf(1) / 2,
                          lambda r: (r ** 2 + mp.mpf(10) ** -3) / mp.exp(r),
                          -0.3475, 0.3475, 4))
# log(1 + f) = f - f^2 / 2 + f^3 p(f) for 1 / sqrt(2) <= 1 + f <= sqrt(2)
show("logarithm", remez(lambda f: (mp.log(1 + f) - f + f * f / 2) / f ** 3 if abs(f) > 1e-12 else mp.mpf(1) / 3,
                        lambda f: abs(f ** 3 / mp.log(1 + f)) + mp.mpf(10) ** -30 if abs(f) > 1e-12 else mp.mpf(10) ** -30, -0.2935, 0.4145, 8))
# tanh(x) = x + x z p(z), z = x^2, for |x| <= 0.625
show("hyperbolic tangent", remez(lambda z: (mp.tanh(mp.sqrt(z)) / mp.sqrt(z) - 1) / z if z > 1e-15 else -mp.mpf(1) / 3,
                                 lambda z: z * mp.sqrt(z) / mp.tanh(mp.sqrt(z)) + mp.mpf(10) ** -30 if z > 1e-15 else mp.mpf(10) ** -30, 0, 0.625 ** 2, 4))
# exp(t^2) erfc(t) = s p(s), s = 1 / (1 + t / 2), for t >= 0
show("scaled complementary error function",
     remez(lambda s: mp.exp(((1 / s - 1) * 2) ** 2) * mp.erfc((1 / s - 1) * 2) / s, lambda s: s / (mp.exp(((1 / s - 1) * 2) ** 2) * mp.erfc((1 / s - 1) * 2)),
           0.12, 1, 10))
# sin(r) = r + r z p(z) and cos(r) = 1 - z / 2 + z^2 q(z), z = r^2, for |r| <= pi / 4
show("sine", remez(lambda z: (mp.sin(mp.sqrt(z)) / mp.sqrt(z) - 1) / z if z > 1e-15 else -mp.mpf(1) / 6,
                   lambda z: z + mp.mpf(10) ** -30, 0, 0.6169, 2))
show("cosine", remez(lambda z: (mp.cos(mp.sqrt(z)) - 1 + z / 2) / z ** 2 if z > 1e-12 else mp.mpf(1) / 24,
                     lambda z: z ** 2 + mp.mpf(10) ** -30, 0, 0.6169, 2))
