"""Segmenting folders and object storage by the million, with Ray Data.

`storage` reads and writes files wherever they are, `index` says what is done, `worker` runs a model on a block of
images, `job` puts them together.
"""
