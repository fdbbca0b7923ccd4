"""Statistics of measured numbers: `intervals`, in plain Python, and `paired` tests of two systems on the same clips."""
