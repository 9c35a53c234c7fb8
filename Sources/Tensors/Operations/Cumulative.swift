// Running sums and products along the last axis, on the tape.

import Kernels

extension Tensor {
    /// y[i] = x[0] + ... + x[i] along the last axis; without x[i] when `exclusive`.
    public func cumulativeSum(exclusive: Bool = false) -> Tensor {
        let (rows, columns) = (shape.rows, shape.columns)
        let y = Tensor(uninitialized: shape)
        let (input, output) = (floats, y.floats)
        for row in 0..<rows {
            var sum: Float = 0
            for i in row * columns..<(row + 1) * columns {
                let next = sum + input[i]
                output[i] = exclusive ? sum : next
                sum = next
            }
        }
        return Operation("cumulative sum").record(y, from: self) { [node] gradient in
            let g = gradient.floats
            node?.withZeroedGradient { target in
                for row in 0..<rows {
                    var sum: Float = 0
                    for i in stride(from: (row + 1) * columns - 1, through: row * columns, by: -1) {
                        let next = sum + g[i]
                        target[i] += exclusive ? sum : next
                        sum = next
                    }
                }
            }
        }
    }

    /// y[i] = x[0] * ... * x[i] along the last axis; without x[i] when `exclusive` (y[0] = 1).
    ///
    /// The gradient of x[k] is the product before k times S[k], S[k] = g[k] + x[k+1] S[k+1] (one place on when exclusive): two passes and
    /// no division, so it is right where elements are zero (the DNC's allocation, Graves et al. 2016, equation 1).
    public func cumulativeProduct(exclusive: Bool = false) -> Tensor {
        let (rows, columns) = (shape.rows, shape.columns)
        let y = Tensor(uninitialized: shape)
        let (input, output) = (floats, y.floats)
        for row in 0..<rows {
            var product: Float = 1
            for i in row * columns..<(row + 1) * columns {
                let next = product * input[i]
                output[i] = exclusive ? product : next
                product = next
            }
        }
        return Operation("cumulative product").record(y, from: self) { [x = self] gradient in
            let (input, output, g) = (x.floats, y.floats, gradient.floats)
            x.node?.withZeroedGradient { target in
                for row in 0..<rows {
                    let first = row * columns
                    var suffix: Float = 0
                    for i in stride(from: first + columns - 1, through: first, by: -1) {
                        if exclusive {
                            // output[i] is the product before i; suffix gathers g beyond i.
                            target[i] += output[i] * suffix
                            suffix = g[i] + input[i] * suffix
                        } else {
                            suffix = g[i] + (i + 1 < first + columns ? input[i + 1] * suffix : 0)
                            target[i] += (i > first ? output[i - 1] : 1) * suffix
                        }
                    }
                }
            }
        }
    }
}
