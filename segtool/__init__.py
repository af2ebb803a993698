"""segtool: semantic segmentation with a dense CRF inside the model, from training to deployment."""

from segtool.errors import SegtoolError

__all__ = ["SegtoolError", "__version__"]
__version__ = "0.1.0"
