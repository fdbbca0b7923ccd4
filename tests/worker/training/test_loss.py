"""One row of logits a clip, or one for each step."""

import torch
from torch.nn import functional

from worker.training.loss import clip_logits, clip_probabilities, cross_entropy

LOGITS = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 4, 2])


def test_steps_are_summed_and_clips_as_well() -> None:
    expected = sum(functional.cross_entropy(LOGITS[:, step], LABELS, reduction="sum") for step in range(4))
    torch.testing.assert_close(cross_entropy(LOGITS, LABELS), expected)
    torch.testing.assert_close(
        cross_entropy(LOGITS[:, 0], LABELS), functional.cross_entropy(LOGITS[:, 0], LABELS, reduction="sum")
    )


def test_a_clips_answer_is_the_mean_over_its_steps() -> None:
    expected = sum(LOGITS[:, step].softmax(1) for step in range(4)) / 4
    torch.testing.assert_close(clip_probabilities(LOGITS), expected)
    torch.testing.assert_close(clip_logits(LOGITS), LOGITS.mean(1))
    torch.testing.assert_close(clip_probabilities(LOGITS[:, 0]), LOGITS[:, 0].softmax(1))
    torch.testing.assert_close(clip_logits(LOGITS[:, 0]), LOGITS[:, 0])
