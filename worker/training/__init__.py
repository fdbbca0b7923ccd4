"""Training in plain PyTorch: batches, optimisers, the loop, checkpoints, interrupts, several processes."""
