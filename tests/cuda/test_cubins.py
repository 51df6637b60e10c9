"""Every kernel compiled for every card that we name: what it needs of each thread, what it takes, where it is
kept."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cuda.bindings", reason="needs the extra `cuda`")

from fusion_rt.errors import DeviceError
from fusion_rt.kernels import cubins, nvrtc, sources

MACHINE = 190  # EM_CUDA
PARAMETER, SIZED = 0x17, 0x04  # EIATTR_KPARAM_INFO, and the form of an attribute that says its own size
SIZES = {"pointer": 8, "int": 4, "float": 4, "Grid": 20, "Lens": 52}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cubins")


@pytest.fixture(scope="module", params=nvrtc.ARCHITECTURES)
def compiled(request, folder):
    return request.param, cubins.load(request.param, folder).files


def sections(elf):
    """Name -> bytes, of a 64-bit little-endian ELF."""
    at, each, count, names = (*struct.unpack_from("<Q", elf, 40), *struct.unpack_from("<3H", elf, 58))
    heads = [struct.unpack_from("<IIQQQQ", elf, at + i * each) for i in range(count)]
    strings = heads[names][4]
    return {
        elf[strings + h[0] : elf.index(b"\0", strings + h[0])].decode(): elf[h[4] : h[4] + h[5]]
        for h in heads
        if h[1] != 8  # no bytes in the file
    }


def parameters(info):
    """[(offset, size)] from a kernel's .nv.info."""
    found, at = {}, 0
    while at < len(info):
        form, attribute, size = struct.unpack_from("<BBH", info, at)
        if form == SIZED:
            if attribute == PARAMETER:
                _, ordinal, offset, packed = struct.unpack_from("<IHHI", info, at + 4)
                found[ordinal] = offset, packed >> 18
            at += 4 + size
        else:
            at += 4
    return [found[i] for i in sorted(found)]


def test_no_kernel_spills(compiled):
    _, files = compiled
    needs = {name: r for file in files.values() for name, r in file.resources.items()}
    assert set(needs) == set(sources.kernels())
    assert {name: r.spill_bytes for name, r in needs.items() if r.spill_bytes} == {}
    # Blocks of 256, 128 or 64 threads must find their registers: 65536 on each processor.
    assert {name for name, r in needs.items() if r.registers > 255} == set()


def test_a_cubin_takes_what_the_source_says(compiled):
    """Number, order, size and place of every parameter: what is packed for a launch goes by the source."""
    for file in compiled[1].values():
        held = sections(file.cubin)
        assert struct.unpack_from("<H", file.cubin, 18)[0] == MACHINE
        for name in file.resources:
            wanted, offset = [], 0
            for p in sources.kernels()[name]:
                align = 8 if p.kind == "pointer" else 4
                offset += -offset % align
                wanted.append((offset, SIZES[p.kind]))
                offset += SIZES[p.kind]
            assert parameters(held[f".nv.info.{name}"]) == wanted, name


def test_the_second_start_compiles_nothing(folder):
    for architecture in nvrtc.ARCHITECTURES:
        cubins.load(architecture, folder)
    again = cubins.load("sm_90", folder)
    assert (again.compiled, again.warnings) == (0, [])


@pytest.mark.parametrize("damage", [b"", b"no cubin", None], ids=["empty", "foreign", "one bit"])
def test_a_damaged_file_is_compiled_again(tmp_path, damage):
    first = cubins.load("sm_90", tmp_path)
    victim = next(tmp_path.glob("deskew-*"))
    whole = victim.read_bytes()
    victim.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]) if damage is None else damage)
    again = cubins.load("sm_90", tmp_path)
    assert again.compiled == 1
    assert [str(victim) in w and "damaged" in w for w in again.warnings] == [True]
    assert again.files == first.files
    assert cubins.load("sm_90", tmp_path).warnings == []


def test_a_folder_that_cannot_be_written_costs_time_only(tmp_path):
    (tmp_path / "file").write_text("in the way")
    found = cubins.load("sm_90", tmp_path / "file" / "cubins")
    assert found.compiled == len(found.files)
    assert len(found.warnings) == 2
    assert "every start compiles again" in " ".join(found.warnings)


def test_two_processes_share_a_folder(tmp_path):
    """Both compile, both write, and what stays is whole."""
    program = (
        "import sys; from pathlib import Path; from fusion_rt.kernels import cubins;"
        "c = cubins.load('sm_86', Path(sys.argv[1])); assert not c.warnings; print(len(c.files))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-I", "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [p.communicate(timeout=120)[0].strip() for p in both] == [str(len(list(tmp_path.iterdir())))] * 2
    assert cubins.load("sm_86", tmp_path).compiled == 0
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".new-")]


@pytest.mark.parametrize("changed", ["source", "header", "compiler", "architecture"])
def test_whatever_decides_the_code_is_in_its_name(tmp_path, monkeypatch, changed):
    compiled = nvrtc.Compiled(b"as if", {})  # what is asked here is only where it is looked for
    monkeypatch.setattr(nvrtc, "compile_file", lambda *_: compiled)
    cubins.load("sm_80", tmp_path)
    texts = dict(sources.texts())
    architecture = "sm_86" if changed == "architecture" else "sm_80"
    if changed == "source":
        texts["deskew.cu"] += "\n// other\n"
    if changed == "header":
        texts["frt.h"] += "\n// other\n"
    if changed == "compiler":
        monkeypatch.setattr(nvrtc, "version", lambda: "13.9")
    monkeypatch.setattr(sources, "texts", lambda: texts)
    assert cubins.load(architecture, tmp_path).compiled == (1 if changed == "source" else len(texts) - 2)


def test_an_error_in_a_kernel_is_shown(tmp_path, monkeypatch):
    texts = dict(sources.texts())
    texts["deskew.cu"] += "\nFRT_KERNEL(wrong)(int n) { nonsense; }\n"
    monkeypatch.setattr(sources, "texts", lambda: texts)
    with pytest.raises(DeviceError, match=r"deskew.cu does not compile for sm_90 .*\n.*nonsense"):
        cubins.load("sm_90", tmp_path)


def test_an_unknown_architecture_is_named_with_those_there_are(tmp_path):
    with pytest.raises(DeviceError, match=r"does not compile for 'sm_33', only for sm_75, sm_80"):
        cubins.load("sm_33", tmp_path)


def test_without_the_compiler_it_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    nvrtc._nvrtc.cache_clear()
    try:
        with pytest.raises(DeviceError, match=r"NVRTC.* is missing.*pip install 'fusion-rt\[cuda\]'"):
            cubins.load("sm_90", tmp_path)
    finally:
        nvrtc._nvrtc.cache_clear()


def test_the_folder_is_the_user_s(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cubins.cache_folder() == tmp_path / "fusion_rt" / "cubins"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # not to be used, says the standard
    assert cubins.cache_folder() == Path.home() / ".cache" / "fusion_rt" / "cubins"


def test_the_command_tells_what_each_kernel_needs(tmp_path):
    program = "from fusion_rt.cli import main; main()"
    command = [sys.executable, "-I", "-c", program, "cuda", "compile", "--arch", "sm_87", "--json"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    runs = [
        json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        for _ in range(2)
    ]
    (first,), (second,) = runs
    assert first["compiled"] > 0
    assert second["compiled"] == 0
    assert first["kernels"] == second["kernels"]
    assert set(first["kernels"]) == set(sources.kernels())
