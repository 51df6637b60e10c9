"""Tiny files in the layouts of the published data sets."""

import gzip

import pytest


@pytest.fixture
def write(tmp_path):
    """(name, header, rows) -> the file; a name that ends with .gz is compressed."""

    def make(name, header, rows):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "\n".join([header, *rows]) + "\n"
        if name.endswith(".gz"):
            path.write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text, encoding="utf-8")
        return path

    return make
