"""The Gradio demo of an exported model."""
