"""Generates the Python code of the contract, or tells what is not fresh.

    python tools/generate_proto.py                 write clients/python/earmark/v1/
    python tools/generate_proto.py --check         write nothing; fail when that folder differs
    python tools/generate_proto.py --image FILE    write the contract as an image for buf

buf would fetch the imported googleapis files itself; here they come from the pinned wheels.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
CLIENT = ROOT / "clients" / "python"
PACKAGE = Path("earmark") / "v1"


def wheel_folder(module: str) -> Path:
    """The site-packages folder that holds `module`; SystemExit when it is not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"{module} is not installed: run `make install`")
    return Path(next(iter(spec.submodule_search_locations)))


def contract_files() -> list[str]:
    """The contract's files relative to proto/, sorted: protoc's output follows their order."""
    files = sorted(path.relative_to(PROTO).as_posix() for path in (PROTO / PACKAGE).glob("*.proto"))
    if not files:
        raise SystemExit(f"no .proto file in {(PROTO / PACKAGE).relative_to(ROOT)}")
    return files


def run_protoc(*options: str) -> None:
    """Runs protoc on the whole contract; SystemExit with its message already shown when it refuses."""
    includes = [PROTO, wheel_folder("google.rpc").parent.parent, wheel_folder("grpc_tools") / "_proto"]
    arguments = ["protoc", *(f"-I{folder}" for folder in includes), *options, *contract_files()]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc refused the contract")


def generate(target: Path) -> None:
    """Writes the generated package into `target`/earmark/v1."""
    plugin = Path(sys.executable).parent / "protoc-gen-mypy"
    run_protoc(
        f"--plugin=protoc-gen-mypy={plugin}",
        f"--plugin=protoc-gen-mypy_grpc={plugin}_grpc",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet:{target}",
    )
    (target / PACKAGE / "__init__.py").write_text("")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the generated package by name; what Python compiled beside them does not count."""
    package = folder / PACKAGE
    return {
        path.relative_to(package).as_posix(): path.read_bytes()
        for path in sorted(package.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def differences(fresh: dict[str, bytes], present: dict[str, bytes]) -> list[str]:
    """One line per file that is missing, stale or surplus; empty when all is fresh."""
    lines = []
    for name in sorted(fresh.keys() | present.keys()):
        if name not in present:
            lines.append(f"missing: {PACKAGE / name}")
        elif name not in fresh:
            lines.append(f"surplus: {PACKAGE / name}")
        elif fresh[name] != present[name]:
            lines.append(f"stale: {PACKAGE / name}")
    return lines


def write(fresh: dict[str, bytes], present: dict[str, bytes]) -> None:
    """Brings the committed package to `fresh`, touching only the files that differ."""
    package = CLIENT / PACKAGE
    package.mkdir(parents=True, exist_ok=True)
    for name in present.keys() - fresh.keys():
        (package / name).unlink()
    for name, content in fresh.items():
        if present.get(name) != content:
            (package / name).write_bytes(content)


def main() -> None:
    parser = argparse.ArgumentParser(description="Generate the Python code of the contract.")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="fail when the committed code is not fresh")
    mode.add_argument("--image", type=Path, metavar="FILE", help="write an image for buf and nothing else")
    options = parser.parse_args()

    if options.image:
        run_protoc(f"--descriptor_set_out={options.image}", "--include_imports", "--include_source_info")
        return
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh, present = contents(Path(folder)), contents(CLIENT)
    found = differences(fresh, present)
    if not options.check:
        write(fresh, present)
        print(f"Generated {len(fresh)} files, {len(found)} of them changed.")
    elif found:
        print("\n".join(found))
        raise SystemExit("Generated code is not fresh: run `make proto` and commit the result.")
    else:
        print(f"Generated code is fresh: {len(fresh)} files.")


if __name__ == "__main__":
    main()
