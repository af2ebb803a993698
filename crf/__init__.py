"""The dense CRF: mean field with a spatial and a bilateral Gaussian kernel.

The bilateral kernel is a permutohedral lattice, built once per image and filtered many times.

One definition, several faces, all tested against the first:

* `reference`: exact Gaussian filtering, every pixel with every pixel, for small images.
* `plain`: the four operators in plain torch, readable and portable to any device and to ONNX.
* `operators`: the same four by the native library, as `torch.library` custom operators with autograd.
* `native`: the native library on numpy arrays, without torch.

`layer.DenseCRF` is the layer that is trained; `widths` gives the kernel widths gradients too.

The lattice follows Adams, Baek and Davis, "Fast High-Dimensional Filtering Using the Permutohedral
Lattice" (2010); the symmetric normalisation and its use follow Krähenbühl and Koltun (2011).
"""
