"""The bilateral operator: a permutohedral lattice built once per image and filtered many times.

One definition, several faces, all tested against the first:

* `torch_reference`: exact Gaussian filtering, every pixel with every pixel, for small images.
* `torch_lattice`: the lattice in plain torch, readable and portable to any device and to ONNX.
* `torch_ops`: the native library as `torch.library` custom operators with autograd.
* `native`: the native library on numpy arrays, without torch.

The lattice follows Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral
Lattice" (2010); the symmetric normalisation and its use follow Krähenbühl and Koltun (2011).
"""
