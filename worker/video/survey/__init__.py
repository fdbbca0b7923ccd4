"""What video files hold: the manifest of a dataset, what is wrong with a clip, and what a file has beside frames.

Open ``survey`` first; ``inspection`` looks at one clip, ``isolation`` does so in a process that may die.
"""
