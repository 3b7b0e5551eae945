"""Certificates for one test: an authority, a server and clients, made with the command `openssl`."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

OPENSSL: Final = shutil.which("openssl")
DAYS: Final = "2"


@dataclass(frozen=True)
class Certificate:
    """PEM files."""

    key: Path
    certificate: Path


def make_authority(folder: Path, name: str) -> Certificate:
    made = _files(folder, name)
    _openssl("req", "-x509", "-days", DAYS, *_new_key(made, name), "-out", made.certificate)
    return made


def make_certificate(
    folder: Path, authority: Certificate, common_name: str, alternative_names: str = ""
) -> Certificate:
    """One that the authority has signed; alternative names are as openssl writes them, such as `IP:127.0.0.1`."""
    made = _files(folder, common_name)
    request = folder / f"{common_name}.csr"
    names = ["-addext", f"subjectAltName={alternative_names}"] if alternative_names else []
    _openssl("req", *_new_key(made, common_name), *names, "-out", request)
    signed_by = (
        "-CA",
        authority.certificate,
        "-CAkey",
        authority.key,
        "-CAcreateserial",
        "-copy_extensions",
        "copyall",
    )
    _openssl("x509", "-req", "-days", DAYS, "-in", request, *signed_by, "-out", made.certificate)
    return made


def _files(folder: Path, name: str) -> Certificate:
    return Certificate(folder / f"{name}.key", folder / f"{name}.pem")


def _new_key(made: Certificate, common_name: str) -> tuple[str | Path, ...]:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-keyout", made.key)
    return (*curve, "-subj", f"/CN={common_name}")


def _openssl(*arguments: str | Path) -> None:
    assert OPENSSL is not None
    done = subprocess.run([OPENSSL, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
