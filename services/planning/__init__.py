"""A spec becomes a graph of stages, and the graph becomes rows. Open `plan` first, then `submission`."""
