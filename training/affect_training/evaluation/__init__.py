"""Figures of a classifier on a split: accuracy, calibration, significance, groups, robustness."""
