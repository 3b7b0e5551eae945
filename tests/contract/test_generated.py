"""The generated code is what the contract generates, and what is not would be found."""

import subprocess
import sys

from tests.contract.image import ROOT
from tools.generate_proto import differences


def test_the_generated_code_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "tools/generate_proto.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_missing_stale_or_surplus_is_named() -> None:
    fresh = {"a_pb2.py": b"new", "b_pb2.py": b"same", "c_pb2.py": b"new"}
    present = {"a_pb2.py": b"old", "b_pb2.py": b"same", "d_pb2.py": b"old"}
    assert differences(fresh, present) == [
        "stale: earmark/v1/a_pb2.py",
        "missing: earmark/v1/c_pb2.py",
        "surplus: earmark/v1/d_pb2.py",
    ]
