"""What a visitor is told when something is not possible."""

import gradio as gr


def refusal(text: str) -> gr.Error:
    """A message on the page. The visitor's mistake is nothing that the server's log should hold a traceback of."""
    return gr.Error(text, print_exception=False)
