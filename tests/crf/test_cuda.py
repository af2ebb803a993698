"""The operators on a GPU against the CPU; `test_cuda_on_cpu` proves the kernels' logic without one."""

import pytest
import torch

from segtool.crf import cuda, native, operators
from segtool.crf.layer import DenseCRF, KernelWidths

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def image(photo):
    return torch.from_numpy(photo.copy()).permute(2, 0, 1)[None].float().repeat(2, 1, 1, 1)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("reverse", [False, True])
def test_same_filter_as_on_the_cpu(image, layout, reverse):
    values = torch.rand(2, 21, *image.shape[2:]).contiguous(memory_format=layout)
    expected = operators.bilateral_filter(values, *operators.bilateral_lattice(image, 30.0, 13.0), reverse)
    lattice = operators.bilateral_lattice(image.cuda(), 30.0, 13.0)
    got = operators.bilateral_filter(values.cuda(), *lattice, reverse)
    assert got.stride() == values.stride()
    torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels", [1, 19, 21, 40, 100, 150, 255])
def test_same_spatial_kernel_and_update_as_on_the_cpu(layout, channels):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(3, 2, channels, 67, 45, generator=generator)
    values = [part.contiguous(memory_format=layout) for part in values]
    tables = [torch.randn(channels, channels, generator=generator) / channels**0.5 for _ in range(2)]
    on_gpu = [part.cuda() for part in values]
    for sigma in (0.4, 3.0, 50.0):
        got = operators.spatial_filter(on_gpu[0], sigma)
        torch.testing.assert_close(got.cpu(), operators.spatial_filter(values[0], sigma), rtol=1e-4, atol=1e-5)
    for normalize in (True, False):
        got = operators.mean_field_update(*on_gpu, *[table.cuda() for table in tables], normalize)
        expected = operators.mean_field_update(*values, *tables, normalize)
        assert got.stride() == values[0].stride()
        torch.testing.assert_close(got.cpu(), expected, rtol=1e-4, atol=1e-5)


def test_deterministic_mode_gives_the_same_bits(image):
    values = torch.rand(2, 21, *image.shape[2:], device="cuda")
    torch.use_deterministic_algorithms(True)
    try:
        runs = [
            operators.bilateral_filter(values, *operators.bilateral_lattice(image.cuda(), 30.0, 13.0)) for _ in range(5)
        ]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(torch.equal(runs[0], run) for run in runs[1:])


def test_lattice_and_filter_in_a_cuda_graph(image):
    device_image, values = image.cuda(), torch.rand(2, 5, *image.shape[2:], device="cuda")

    def message():
        stream = torch.cuda.current_stream().cuda_stream
        *lattice, status = cuda.build_lattice(device_image, 30.0, 13.0, stream, capacity=200_000)
        options = {"reverse": False, "deterministic": False, "status": status}
        out = cuda.filter_values(values, tuple(lattice), stream, **options)
        return out, status

    message()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out, status = message()
    device_image.copy_(image.flip(3).cuda())  # replayed on another image
    graph.replay()
    expected = operators.bilateral_filter(values.cpu(), *operators.bilateral_lattice(image.flip(3), 30.0, 13.0))
    assert int(status[1]) == 0
    torch.testing.assert_close(out.cpu(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_whole_inference_in_one_call_and_a_cuda_graph(image, layout):
    logits = 3 * torch.randn(2, 21, *image.shape[2:]).contiguous(memory_format=layout)
    widths, tables = (3.0, 30.0, 13.0), (3 * torch.eye(21), 10 * torch.eye(21))
    on_gpu = (logits.cuda(), image.cuda(), widths, tuple(t.cuda() for t in tables), 10)

    def infer():
        return cuda.mean_field(*on_gpu, torch.cuda.current_stream().cuda_stream, 200_000)

    infer()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        q, status = infer()
    graph.replay()
    arrays = [t.contiguous().numpy() for t in (logits, image)]
    expected = torch.from_numpy(native.mean_field(*arrays, widths, tuple(t.numpy() for t in tables), 10))
    assert int(status[1]) == 0
    torch.testing.assert_close(q.cpu().contiguous(), expected, rtol=1e-3, atol=1e-4)
    assert (q.cpu().argmax(1) == expected.argmax(1)).float().mean() >= 0.9999


def test_crf_and_its_gradients(image):
    logits = 3 * torch.randn(2, 7, *image.shape[2:])
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        crf = DenseCRF(7, KernelWidths(2.0, 30.0, 13.0), (1.0, 2.0)).to(device)
        leaf = logits.to(device).requires_grad_()
        z = crf(leaf, image.to(device), 5)
        z.square().mean().backward()
        gradients = [crf.spatial_weight.grad, crf.bilateral_weight.grad, leaf.grad]
        results.append([t.detach().cpu() for t in (z, *gradients)])
    for on_cpu, on_gpu in zip(*results, strict=True):
        torch.testing.assert_close(on_gpu, on_cpu, rtol=1e-3, atol=1e-4 * float(on_cpu.abs().max()))
    agreement = (results[0][0].argmax(1) == results[1][0].argmax(1)).float().mean()
    assert agreement >= 0.9999
