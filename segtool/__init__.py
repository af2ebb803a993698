"""segtool: semantic segmentation with a dense CRF inside the model, from training to deployment."""

import os

from segtool.errors import SegtoolError

__all__ = ["SegtoolError", "__version__"]
__version__ = "0.1.0"

# These libraries would report their use to their makers, ONNX Runtime (from 1.29) with names and hashes of models. They
# look at the variables when they are loaded. Whoever sets one of them otherwise is left their way.
for _name, _off in {
    "ORT_DISABLE_TELEMETRY": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}.items():
    os.environ.setdefault(_name, _off)
