"""The .proto files that users get say what the hub does: a real compiler reads them as our own reading does."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from protobuf.wkt import FileDescriptorSet

from streamtask.hub import protos

BUF = shutil.which("buf", path=str(Path(sys.executable).parent))
FOLDER = Path(protos.__file__).with_name("proto")


@pytest.mark.skipif(BUF is None, reason="buf-bin is not installed")
def test_a_compiler_reads_the_files_as_we_do(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "proto")
    assert BUF is not None
    command = [
        BUF,
        "build",
        "proto",
        "--as-file-descriptor-set",
        "--exclude-imports",
        "--exclude-source-info",
        "-o",
        "-",
    ]
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True, timeout=60).stdout
    theirs = {file.name: file for file in FileDescriptorSet.from_binary(built).file}
    assert set(theirs) == set(protos.FILES)
    for name, file in theirs.items():
        ours = protos.parse(name, protos.source(name))
        for one in (file, ours):
            one.clear_field("options")
        assert ours.to_json() == file.to_json()


def test_what_is_not_understood_is_an_error() -> None:
    text = 'syntax = "proto3"; package a.b; message M { oneof x { string y = 1; } }'
    with pytest.raises(ValueError, match="not understood"):
        protos.parse("x.proto", text)
