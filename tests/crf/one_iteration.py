"""One iteration of the CRF through TensorRT's plugins, whichever they are, against the CPU library."""

import numpy as np
import torch

from segtool.crf import native, plain


def check_one_iteration(run, photo):
    """`run(name, fields, *inputs)` enqueues a plugin on arrays and gives its outputs."""
    image = np.ascontiguousarray(np.stack([photo, 255 - photo]).transpose(0, 3, 1, 2), np.float32)
    unary = np.random.default_rng(0).normal(size=(2, 4, *photo.shape[:2])).astype(np.float32)
    tables = [np.random.default_rng(i).normal(size=(4, 4)).astype(np.float32) for i in (1, 2)]
    sigmas = {"spatial_sigma": 20.0, "color_sigma": 8.0, "vertices_per_pixel": 6.0}
    vertex, weight, neighbor, status = run("BilateralLattice", sigmas, image)
    expected = native.bilateral_lattice(image, 20.0, 8.0)
    assert status.tolist() == [expected.neighbor.shape[2], 0]
    for reverse in (1, 0):
        (message,) = run("BilateralFilter", {"reverse": reverse}, unary, vertex, weight, neighbor, status)
        wanted = native.bilateral_filter(unary, expected, bool(reverse))
        np.testing.assert_allclose(message, wanted, rtol=1e-4, atol=1e-5)
    (spatial,) = run("SpatialFilter", {"sigma": 1.5}, unary)
    np.testing.assert_allclose(spatial, plain.spatial_filter(torch.from_numpy(unary), 1.5), rtol=1e-4, atol=1e-5)
    z = unary + sum(np.einsum("nchw,cd->ndhw", m, t) for m, t in zip((spatial, message), tables, strict=True))
    (got,) = run("MeanFieldUpdate", {"normalize": 0}, unary, spatial, message, *tables)
    np.testing.assert_allclose(got, z, rtol=1e-4, atol=1e-4)
    (q,) = run("MeanFieldUpdate", {"normalize": 1}, unary, spatial, message, *tables)
    np.testing.assert_allclose(q, torch.from_numpy(z).softmax(1), rtol=1e-4, atol=1e-6)
