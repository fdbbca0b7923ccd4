"""What networks see of clips: which frames, what is cut out of them, and datasets for training and for the test.

Open ``dataset`` first, and ``snippets`` for networks that are trained end to end.
"""
