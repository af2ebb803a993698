"""Training: data, networks, the CRF, losses, the three stages, evaluation and reports."""
