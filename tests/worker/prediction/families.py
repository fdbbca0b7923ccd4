"""One system of each family, small enough for a processor, with the ways in which each reads clips."""

from __future__ import annotations

from typing import Any

OPTIMIZER = {"name": "adam", "learning_rate": 0.003}
TRAINING = {"epochs": 1, "batch_size": 8, "optimizer": OPTIMIZER}
TINY = {"name": "tiny", "finetune": {**TRAINING, "samples_per_clip": 1, "augmentation": None}}
TOGETHER = {"name": "tiny", "finetune": None, "end_to_end": {"snippets": 4, "augmentation": False}}
FLOW = {"algorithm": "farneback", "stack": 2, "shards": 2}
LATE = {"flow": FLOW, "training": TRAINING}

FAMILIES: dict[str, dict[str, Any]] = {
    "MATDL": {
        **LATE,
        "model": {"kind": "memory"},
        "backbone": TOGETHER,
        "evaluation": {"frames": 4, "crops": "ten"},
        "fusion": {"method": "probabilities"},
    },
    "TS-LSTM": {
        **LATE,
        "model": {"kind": "ts_lstm", "segments": 2, "hidden": [8]},
        "backbone": TINY,
        "evaluation": {"frames": 6},
        "fusion": {"method": "features"},
    },
    "Temporal-Inception": {
        **LATE,
        "model": {"kind": "temporal_convnet", "kernels": [5, 7], "reduction": "mean", "pools": [2, 2], "fc_dim": None},
        "backbone": TINY,
        "evaluation": {"frames": 25},
        "fusion": {"method": "features"},
    },
    "VideoLSTM": {
        **LATE,
        "model": {"kind": "video_lstm", "hidden": 8},
        "backbone": TINY,
        "flow_stream": {"model": {"kind": "conv_alstm", "hidden": 8}},
        "evaluation": {"frames": 3, "snippet": 6, "crops": "stretch"},
        "fusion": {"method": "product"},
    },
    "Relational LSTM": {
        **LATE,
        "model": {"kind": "relational_lstm", "segments": 4, "branches": "both"},
        "backbone": TOGETHER,
        "flow_stream": {"from_rgb": True},
        "evaluation": {"frames": 4, "positions": 2, "crops": "five", "average": "logits"},
        "fusion": {"method": "logits", "rgb": 0.45, "flow": 0.55},
    },
}
