"""Tests share the cores with other processes: one thread each, or OpenMP's threads spin and wait for one another."""

import torch

torch.set_num_threads(1)
