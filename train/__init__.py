"""Training: data, networks, the CRF, losses, the three piecewise stages, evaluation and reports."""
