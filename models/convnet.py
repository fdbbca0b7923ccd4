"""A frame-level classifier: a backbone and one linear layer (the two ConvNets of TS-LSTM, section 3.1)."""

from __future__ import annotations

from models.parts.frame_classifier import FrameClassifier


class ConvNet(FrameClassifier):
    """Classifies every frame or flow stack of a clip by itself; a clip's score is the mean over its frames."""
