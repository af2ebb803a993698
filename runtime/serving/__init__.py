"""Serving exported models over HTTP with Ray Serve.

`application` knows HTTP and no Ray, `replica` runs a model, `gateway` joins the two, `cluster` starts them.
"""
