"""Generate the protobuf code of proto/attribution.proto into a folder.

    python proto/generate.py FOLDER

The four files land in FOLDER itself; protocol/wire/generated holds the committed ones. The
proto file is compiled under the path of that package, so that the generated imports say
``protocol.wire.generated`` and nothing has to be edited afterwards. protoc finds the plugins of
mypy-protobuf beside the interpreter that runs this.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
PACKAGE = "protocol/wire/generated"
PLUGINS = ("mypy", "mypy_grpc")


def generate(folder: Path) -> None:
    """Write attribution_pb2.py, attribution_pb2_grpc.py and their .pyi into ``folder``."""
    plugins = [f"--plugin=protoc-gen-{name}={Path(sys.executable).parent / f'protoc-gen-{name}'}" for name in PLUGINS]
    with tempfile.TemporaryDirectory() as made:
        outputs = [f"--{kind}_out={made}" for kind in ("python", "grpc_python", *PLUGINS)]
        status = protoc.main(["protoc", f"-I{PACKAGE}={HERE}", *plugins, *outputs, f"{PACKAGE}/attribution.proto"])
        if status != 0:
            sys.exit(status)
        for file in sorted((Path(made) / PACKAGE).iterdir()):
            shutil.copyfile(file, folder / file.name)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("expected one folder: python proto/generate.py FOLDER")
    generate(Path(sys.argv[1]))
