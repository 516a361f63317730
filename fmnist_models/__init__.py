"""Everything that touches a tensor: families, data, augmentation, training engine, evaluation.

Importing the package imports no torch, so that commands which only read stay fast.
"""
