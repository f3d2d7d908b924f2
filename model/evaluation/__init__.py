"""Scores of stages and pictures against the truth, and histograms as baselines.

Everything works on arrays; nothing here reads photographs from files.
"""
