"""The Gradio demo of an exported model."""

import os

# Before gradio is imported: a demo of one's own images tells nobody.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
