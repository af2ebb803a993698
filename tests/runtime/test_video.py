"""Videos, written and read by PyAV itself."""

import av
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from segtool.cli import cli
from segtool.drawing import overlay
from segtool.errors import SegtoolError
from segtool.runtime import load
from segtool.runtime.video import segment_video


def write_video(path, frames, size=(47, 64), rate=10):
    """Frames of one brightness each, brighter and brighter."""
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = size[1] // 2 * 2, size[0] // 2 * 2, "yuv420p"
        for number in range(frames):
            pixels = np.full((stream.height, stream.width, 3), 20 + 10 * number, np.uint8)
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        writer.mux(stream.encode(None))
    return path


def read_video(path):
    with av.open(str(path)) as reader:
        return [(float(f.pts * f.time_base), f.to_ndarray(format="rgb24")) for f in reader.decode(video=0)]


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_keep_order_time_and_labels(tiny_onnx, tmp_path, batch, suffix):
    source, target, seen = write_video(tmp_path / "in.mp4", 12), tmp_path / f"out{suffix}", {}
    model = load(tiny_onnx)
    count = segment_video(source, target, model.batch, model.card.colors, batch=batch, each=seen.__setitem__)
    assert count == 12
    assert list(seen) == list(range(12))
    before, after = read_video(source), read_video(target)
    assert [round(t, 2) for t, _ in after] == [round(t, 2) for t, _ in before]
    for number, (_, frame) in enumerate(before):
        np.testing.assert_array_equal(seen[number].labels, model(frame).labels)
    for number, ((_, frame), (_, drawn)) in enumerate(zip(before, after, strict=True)):
        expected = overlay(frame, seen[number].labels, model.card.colors)
        assert np.abs(expected.astype(float) - drawn).mean() < 12, "but for the compression"


@pytest.mark.parametrize("degrees", [0, 90, 180, -90])
def test_videos_of_a_camera_that_was_turned(tiny_onnx, tmp_path, degrees):
    """The network sees what a player shows, and so is the result."""
    corner = np.zeros((48, 64, 3), np.uint8)
    corner[:24, :32] = 255
    with av.open(str(tmp_path / "in.mp4"), "w") as writer:
        stream = writer.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(degrees)  # counterclockwise
        for _ in range(3):
            writer.mux(stream.encode(av.VideoFrame.from_ndarray(corner, format="rgb24")))
        writer.mux(stream.encode(None))
    model, seen = load(tiny_onnx), []

    def predict(images):
        seen.extend(images)
        return model.batch(images)

    assert segment_video(tmp_path / "in.mp4", tmp_path / "out.mp4", predict, model.card.colors) == 3
    upright = np.rot90(corner, degrees // 90)
    assert all(np.abs(image.astype(int) - upright).mean() < 3 for image in seen)
    with av.open(str(tmp_path / "out.mp4")) as reader:
        frame = next(reader.decode(video=0))
        assert (frame.height, frame.width, frame.rotation) == (*upright.shape[:2], 0)


def test_command_segments_a_video_beside_an_image(tiny_onnx, tmp_path, photo):
    source, out = write_video(tmp_path / "drive.mp4", 5), tmp_path / "out"
    Image.fromarray(photo).save(tmp_path / "still.png")
    arguments = ["predict", tiny_onnx, tmp_path / "still.png", source, "--out", out, "--frames", "--batch", "2"]
    result = CliRunner().invoke(cli, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    assert "2 of 2 files written" in result.output
    assert len(read_video(out / "drive_overlay.mp4")) == 5
    assert sorted(p.name for p in (out / "drive").iterdir()) == [f"{i:06d}.png" for i in range(5)]
    assert {p.name for p in out.iterdir()} == {"still.png", "still_overlay.jpg", "drive", "drive_overlay.mp4"}


def test_what_is_no_video_leaves_nothing(tiny_onnx, tmp_path):
    model = load(tiny_onnx)
    (tmp_path / "bad.mp4").write_bytes(b"hello" * 100)
    with pytest.raises(SegtoolError, match="not a readable video"):
        segment_video(tmp_path / "bad.mp4", tmp_path / "out.mp4", model.batch, model.card.colors)
    whole = write_video(tmp_path / "in.mp4", 12).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegtoolError, match="not a readable video"):
        segment_video(tmp_path / "cut.mp4", tmp_path / "out.mp4", model.batch, model.card.colors)
    assert not (tmp_path / "out.mp4").exists()
    assert not list(tmp_path.glob(".out*"))
