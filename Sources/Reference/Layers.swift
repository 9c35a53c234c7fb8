// The layers of transformers.
//
// Legend: I input width, O output width, D width, V rows of a table; ... any leading axes.

/// y = x W^T + b. x: [..., I], weight: [O, I], bias: [O]; returns [..., O].
public func linear(_ x: ReferenceArray, weight: ReferenceArray, bias: ReferenceArray = 0) -> ReferenceArray {
    let y = x.reshaped([x.values.count / weight.shape[1], weight.shape[1]]).times(weight.transposed)
    return y.reshaped(x.shape.dropLast() + [weight.shape[0]]) + bias
}

/// (x - mean) / sqrt(variance + epsilon) * gain + bias over the last axis (Ba, Kiros and Hinton 2016, equation 4; the biased variance).
public func layerNorm(_ x: ReferenceArray, gain: ReferenceArray, bias: ReferenceArray = 0, epsilon: Double = 1e-5) -> ReferenceArray {
    let centred = x - x.mean()
    let variance = (centred * centred).mean()
    return centred / squareRoot(variance + ReferenceArray(epsilon)) * gain + bias
}

/// x / sqrt(mean(x^2) + epsilon) * gain over the last axis (Zhang and Sennrich 2019, equation 4).
public func rmsNorm(_ x: ReferenceArray, gain: ReferenceArray, epsilon: Double = 1e-6) -> ReferenceArray {
    x / squareRoot((x * x).mean() + ReferenceArray(epsilon)) * gain
}

/// Rows of a table [V, D], times `scale` (Vaswani et al. 2017, section 3.4): [n, D].
public func embedding(_ table: ReferenceArray, _ indices: [Int], scale: Double = 1) -> ReferenceArray {
    .stacked(indices.map { table[$0] }) * ReferenceArray(scale)
}

/// residual + x * mask: the mask holds 0 with the probability `rate`, otherwise 1 / (1 - rate) (Srivastava et al. 2014, section 4).
public func addDropout(_ residual: ReferenceArray, _ x: ReferenceArray, mask: ReferenceArray) -> ReferenceArray { residual + x * mask }
