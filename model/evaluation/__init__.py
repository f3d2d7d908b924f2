"""Scores of stages and pictures against the truth, and histograms to compare with.

Arrays in, figures out; no files of photographs are read here.
"""
