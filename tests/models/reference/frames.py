"""Networks on frame vectors of TS-LSTM and TSN: ConvNet, TSN, pooling heads, vanilla LSTM and TS-LSTM."""

from __future__ import annotations

import torch
from torch import Tensor

from tests.models.reference.elements import Weights, classify, mean, normalised, sigmoid


def linear(weights: Weights, name: str, vector: Tensor) -> Tensor:
    return weights[f"{name}.weight"] @ vector + weights[f"{name}.bias"]


def maximum(vectors: list[Tensor]) -> Tensor:
    best = vectors[0]
    for vector in vectors[1:]:
        best = torch.where(vector > best, vector, best)
    return best


def segments_of(video: Tensor, segments: int) -> list[list[Tensor]]:
    """TS-LSTM's code: S runs of floor(T / S) steps, the remainder dropped."""
    size = len(video) // segments
    return [[video[s * size + t] for t in range(size)] for s in range(segments)]


def convnet(weights: Weights, video: Tensor) -> Tensor:
    """Scores of every frame."""
    return torch.stack([linear(weights, "classifier", x) for x in video])


def tsn(weights: Weights, video: Tensor) -> Tensor:
    """Segmental consensus: the mean of the snippets' scores before the softmax."""
    return mean([linear(weights, "convnet.classifier", x) for x in video])


def pooling(weights: Weights, video: Tensor, kind: str, segments: int = 1) -> Tensor:
    """TS-LSTM, Table 7: BN, FC, pooling of each segment, side by side, BN, FC."""
    pooled = []
    for s, steps in enumerate(segments_of(video, segments)):
        vectors = list(steps)
        if "input_norm.weight" in weights:
            vectors = [normalised(x, weights, "input_norm", s) for x in vectors]
        if "fc.weight" in weights:
            vectors = [weights["fc.weight"][s] @ x + weights["fc.bias"][s] for x in vectors]
        pooled.append(mean(vectors) if kind == "mean" else maximum(vectors))
    joined = torch.cat(pooled)
    if "norm.weight" in weights:
        joined = normalised(joined, weights, "norm")
    return linear(weights, "classifier", joined)


def lstm_layers(weights: Weights, vectors: list[Tensor], layers: int) -> list[Tensor]:
    """PyTorch's LSTM: gates in the order input, forget, candidate, output; two biases; no peepholes."""
    for layer in range(layers):
        w_x, w_h, b_x, b_h = (
            weights[f"layers.{layer}.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        size = w_h.shape[1]
        h = c = torch.zeros(size, dtype=w_h.dtype)
        states = []
        for x in vectors:
            i, f, g, o = (
                w_x[n * size : (n + 1) * size] @ x
                + b_x[n * size : (n + 1) * size]
                + w_h[n * size : (n + 1) * size] @ h
                + b_h[n * size : (n + 1) * size]
                for n in range(4)
            )
            c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
            h = sigmoid(o) * torch.tanh(c)
            states.append(h)
        vectors = states
    return vectors


def lstm(weights: Weights, video: Tensor, layers: int, predict: str) -> Tensor:
    """TS-LSTM's vanilla LSTM and VideoLSTM's: scores of the last step, their mean, or those of every step."""
    vectors = list(video)
    if "input_norm.weight" in weights:
        vectors = [normalised(x, weights, "input_norm", 0) for x in vectors]
    states = lstm_layers(weights, vectors, layers)
    if "norm.weight" in weights:
        states = [normalised(h, weights, "norm", 0) for h in states]
    if "classifier.fc.weight" in weights:
        scores = [classify(weights, h) for h in states]
    else:
        scores = [linear(weights, "classifier.classifier", h) for h in states]
    return {"last": scores[-1], "mean": mean(scores), "steps": torch.stack(scores)}[predict]


def ts_lstm(weights: Weights, video: Tensor, segments: int, kind: str, layers: int) -> Tensor:
    """TS-LSTM, section 3.2: BN of each segment, pooling, LSTM over segments, BN of the last state, FC."""
    pooled = []
    for s, steps in enumerate(segments_of(video, segments)):
        vectors = list(steps)
        if "input_norm.weight" in weights:
            group = s if len(weights["input_norm.weight"]) > 1 else 0
            vectors = [normalised(x, weights, "input_norm", group) for x in vectors]
        pooled.append(mean(vectors) if kind == "mean" else maximum(vectors))
    last = lstm_layers(weights, pooled, layers)[-1]
    if "norm.weight" in weights:
        last = normalised(last, weights, "norm")
    return linear(weights, "classifier", last)
