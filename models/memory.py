"""Memory-augmented temporal dynamic learning: a network that decides which frames to remember (MATDL)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.backbones.base import Backbone
from models.parts.frame_classifier import feature_width, frame_features
from models.parts.masking import at_least_float32, lengths_of, without_padding
from models.parts.options import Count, Hidden, Share, one_width
from models.parts.output import Output
from models.recurrence.lstm_layer import lstm_step

EmptyMemory = Literal["mean", "best"]


class MemoryNetwork(nn.Module):
    """A growing memory, a discrete controller that writes to it, and a segmental LSTM (MATDL, equations 1 to 10).

    At each step an LSTM gives the context, the memory's mean before the step its history; from both and the frame the
    controller finds the probability a of writing, and writes where a > threshold. Where it does not, the LSTM starts
    again. The mean of what was written is classified. In the backward pass the decision counts as a itself
    (straight-through, equation 10), also in the number of items that the means divide by.

    The memory is kept as running sums of s_t m_t, not as a list; and since the history enters linearly, the sum that a
    step needs is that of W_sm m_t, computed for all steps at once like all else that depends on frames alone.

    Sizes and dropout are not in the paper; their defaults are ours. ``decision`` starts with no
    negative weight, so that at the start every frame is written unless no unit of the controller is active (a memory
    that is never written learns nothing).

    Args:
        num_classes: K.
        feature_dim: D of the frames' features, d in the paper; None for that of the backbone.
        backbone: gives the features where the input is clips.
        memory_dim: width of an item, D in the paper; None for D.
        hidden: width of the LSTM.
        controller: width of the controller.
        threshold: thr in equation 9; 0.5 in the paper.
        empty_memory: what replaces the memory of a clip of which nothing was written, which the paper leaves
            open: ``mean``, as if all steps had been written (our default), or ``best``, as if the step
            with the largest probability had been.
        dropout: share of the video's feature dropped before the linear layer; TSN's 0.8 for rgb, 0.7 for flow.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        feature_dim: int | None = None,
        backbone: Backbone | None = None,
        memory_dim: Count | None = None,
        hidden: Hidden = 512,
        controller: Count = 512,
        threshold: Share = 0.5,
        empty_memory: EmptyMemory = "mean",
        dropout: Share = 0.8,
    ) -> None:
        super().__init__()
        self.threshold, self.empty_memory = threshold, empty_memory
        self.backbone = backbone
        width, state = feature_width(feature_dim, backbone), one_width(hidden)
        item = width if memory_dim is None else memory_dim
        self.lstm = nn.LSTMCell(width, state)  # equation 3
        self.write = nn.Linear(width, item, bias=False)  # W_w
        self.feature = nn.Linear(width, controller)  # W_sf and b_s
        self.context = nn.Linear(state, controller, bias=False)  # W_sc
        self.history = nn.Linear(item, controller, bias=False)  # W_sm
        self.decision = nn.Linear(controller, 1, bias=False)  # v_s
        with torch.no_grad():
            self.decision.weight.abs_()
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(item, num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Output:
        """Classify videos.

        Args:
            features: ``(N, T, D)``; with a backbone clips ``(N, T, 3 or 2L, H, W)``.
            mask: ``(N, T)`` bool, valid steps first.

        Returns:
            Logits ``(N, K)``, the controller's own writes and their probabilities ``(N, T)``, zero where a clip is
            padded, and the memory's mean ``(N, memory_dim)`` as the embedding.
        """
        if mask is not None:
            lengths_of(mask)
        x = without_padding(features, mask) if self.backbone is None else frame_features(self.backbone, features, mask)
        items = self.write(x)  # (N, T, memory_dim)
        dtype = at_least_float32(items)  # of sums, under autocast too
        valid = x.new_ones(x.shape[:2], dtype=dtype) if mask is None else mask.to(dtype)
        writes, probability = self._decide(x, items, valid)
        embedding = self._read(items, writes, probability, valid)
        return Output(
            self.classifier(self.dropout(embedding)), writes=writes, write_probability=probability, embedding=embedding
        )

    def _decide(self, x: Tensor, items: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return writes and probabilities ``(N, T)``."""
        cell = self.lstm
        gates_x = F.linear(x, cell.weight_ih, cell.bias_ih + cell.bias_hh).unbind(1)
        remembered = self.history(items).unbind(1)  # W_sm m_t
        seen = self.feature(x).unbind(1)
        recurrent = torch.cat([cell.weight_hh, self.context.weight]).t()
        sizes = [4 * cell.hidden_size, self.context.out_features]
        # Zeros that have a gradient: with clips of one step DistributedDataParallel would wait for that of W_sm.
        history, count = remembered[0].to(valid.dtype) * 0, torch.zeros_like(valid[:, :1])
        c, gates_h = valid.new_zeros(len(x), cell.hidden_size), torch.zeros_like(gates_x[0])
        writes, probabilities = [], []
        for step, here in enumerate(valid.unsqueeze(2).unbind(1)):
            h, c = lstm_step(gates_x[step] + gates_h, c)
            gates_h, context = torch.split(h @ recurrent, sizes, 1)
            units = F.relu(seen[step] + context + history / (count + (count == 0)))  # equation 6
            write, probability = straight_through(self.decision(units), self.threshold)
            write, probability = write * here, probability * here
            gates_h, c = write * gates_h, write * c  # equations 4 and 5: W_hh (s h) = s W_hh h
            history, count = history + write * remembered[step], count + write  # equation 2
            writes.append(write)
            probabilities.append(probability)
        return torch.cat(writes, 1), torch.cat(probabilities, 1)

    def _read(self, items: Tensor, writes: Tensor, probability: Tensor, valid: Tensor) -> Tensor:
        """Return the mean of the written items ``(N, memory_dim)``, by the rule where there is none."""
        if self.empty_memory == "mean":
            stand_in = valid
        else:
            stand_in = F.one_hot(probability.argmax(1), probability.shape[1]).to(valid.dtype)
        empty = (writes.sum(1, keepdim=True) == 0).to(valid.dtype)
        weights = writes + empty * stand_in
        # The division comes last: 0 and 1 are exact in any type, their share of a sum is not.
        return torch.einsum("nt,ntd->nd", weights, items) / weights.sum(1, keepdim=True)


def straight_through(q: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Return the decision s = 1[sigmoid(q) > threshold], 0 or 1, and the probability sigmoid(q), both like ``q``.

    The gradient of s is that of the probability: ds/dq = sigma(q) (1 - sigma(q)) (equations 7 to 10).
    """
    probability = q.sigmoid()
    hard = (probability > threshold).to(q.dtype)
    return hard + (probability - probability.detach()), probability
