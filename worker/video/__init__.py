"""Video, in wings: what stands in a wing below imports nothing from one above it.

``input``      what networks see: frames and stacks of clips, sampled, cropped, normalised
``survey``     what files hold: the manifest of a dataset, the doctor
``flow``       optical flow, and how it is stored
``decoding``   frames of a file, right or refused
``generated``  clips that are made, for tests and demos
"""
