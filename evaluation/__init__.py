"""Evaluation image by image: counts, scores, tables, failures."""
