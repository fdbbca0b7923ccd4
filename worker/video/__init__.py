"""Video: decoding, optical flow, sampling, transforms, datasets and the generated clips.

Only `transforms` and `dataset` import torch; the stages `index` and `flow` use the rest and stay torch-free.
"""
