"""The kernels and the tracker for arm64 (Jetson), by a cross compiler; and the same bits as here, where an
emulator runs them."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fusion_rt
from fusion_rt.device import CpuDevice

ROOT = Path(fusion_rt.__file__).parent
COMPILER = shutil.which("aarch64-linux-gnu-g++")
EMULATOR = shutil.which("qemu-aarch64")
OPTIONS = ["-std=c++17", "-O3", "-ffp-contract=off", "-fno-math-errno", "-pthread", "-Wno-unused-function"]
pytestmark = pytest.mark.skipif(
    COMPILER is None, reason="no compiler for arm64: apt install g++-aarch64-linux-gnu"
)
N, KNOTS, CHANNELS = 5000, 5, 16
# Reads its inputs from a file, and writes what two kernels make of them to another.
PROGRAM = """
#include "cpu.cpp"
#include <cstdio>
#include <vector>
int main(int, char** given) {
  const int n = %(n)d, k = %(k)d, c = %(c)d, cells = 64 * 48;
  std::vector<float> in(n * 4 + k * 13 + cells * c + 6), moved(n * 3), warped(cells * c);
  FILE* file = std::fopen(given[1], "rb");
  if (std::fread(in.data(), 4, in.size(), file) != in.size()) return 1;
  const float *xyz = in.data(), *t = xyz + 3 * n, *at = t + n, *T = at + k, *state = T + 12 * k;
  frt_deskew(2, xyz, t, n, at, T, k, moved.data());
  const Grid grid{-10.f, -12.f, 0.5f, 64, 48};
  const int warping = frt_bev_warp(2, state, c, state + cells * c, grid, warped.data());
  frt_wait(2, warping);
  FILE* out = std::fopen(given[2], "wb");
  std::fwrite(moved.data(), 4, moved.size(), out);
  std::fwrite(warped.data(), 4, warped.size(), out);
  return std::fclose(out);
}
"""


class Grid:
    x_min, y_min, cell_m, nx, ny = -10.0, -12.0, 0.5, 64, 48


def compiled(*arguments):
    subprocess.run([COMPILER, *OPTIONS, *map(str, arguments)], check=True, timeout=300)


def test_it_builds(tmp_path):
    for source, first in (
        (ROOT / "kernels" / "cpu.cpp", "frt_pillars"),
        (ROOT / "tracking" / "core.cpp", "frt_"),
    ):
        out = tmp_path / f"{source.stem}.so"
        compiled(source, "-fPIC", "-shared", "-Wall", "-Wextra", "-Werror", "-o", out)
        data = out.read_bytes()
        assert data[:4] == b"\x7fELF"
        assert int.from_bytes(data[18:20], "little") == 183  # EM_AARCH64
        assert first.encode() in data


@pytest.mark.skipif(EMULATOR is None, reason="no emulator of arm64: apt install qemu-user")
def test_the_same_bits_on_arm64(tmp_path):
    rng = np.random.default_rng(5)
    xyz, t = rng.normal(0, 30, (N, 3)).astype(np.float32), rng.uniform(-0.06, 0.06, N).astype(np.float32)
    xyz[:3], t[5] = [[np.nan, 0, 0], [np.inf, 1, 2], [1e30, 0, 0]], np.nan
    at = np.linspace(-0.05, 0.05, KNOTS, dtype=np.float32)
    T = rng.normal(0, 1, (KNOTS, 3, 4)).astype(np.float32)
    state = rng.normal(0, 1, (48, 64, CHANNELS)).astype(np.float32)
    turn = np.array([[0.99, -0.1, 0.7], [0.1, 0.99, -0.4]], np.float32)
    (tmp_path / "in").write_bytes(b"".join(a.tobytes() for a in (xyz, t, at, T, state, turn)))
    (tmp_path / "main.cpp").write_text(PROGRAM % {"n": N, "k": KNOTS, "c": CHANNELS}, encoding="utf-8")
    compiled(f"-I{ROOT / 'kernels'}", tmp_path / "main.cpp", "-static", "-o", tmp_path / "main")
    command = [EMULATOR, str(tmp_path / "main"), str(tmp_path / "in"), str(tmp_path / "out")]
    subprocess.run(command, check=True, timeout=120)
    got = np.fromfile(tmp_path / "out", np.float32)

    device, moved, warped = CpuDevice(2), np.empty_like(xyz), np.empty_like(state)
    device.kernel("deskew")(xyz, t, at, T, moved)
    device.kernel("bev_warp")(state, turn, Grid, warped)
    expected = np.concatenate([moved.ravel(), warped.ravel()])
    assert np.count_nonzero(warped) > 1000
    numbers = ~np.isnan(expected)  # a NaN is a NaN whatever its payload
    np.testing.assert_array_equal(numbers, ~np.isnan(got))
    np.testing.assert_array_equal(got[numbers].view(np.int32), expected[numbers].view(np.int32))
