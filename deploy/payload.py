"""The archive that a VM installs itself from: units, scripts, and the list of its wheels.

The same files and the same list make the same bytes, so the archive can be stored by its hash, and
two clusters of one version share it.
"""

from __future__ import annotations

import gzip
import io
import re
import tarfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
WHEELS: Final = "wheels.sha256"
"""The manifest's name in the archive; lines as `sha256sum` writes them."""
PRICES: Final = "prices.json"
"""The name in the archive of a price list that a master is to count by instead of its own."""
_EXECUTABLE: Final = ("install", "startup.sh", "tail-logs", "after-daemon", "seal")
_FILES: Final = {
    "vm": (
        "install",
        "startup.sh",
        "tail-logs",
        "after-daemon",
        "vm.conf",
        "backoff.conf",
        "standby.conf",
    ),
    "image": ("seal",),
    "ops-agent": ("ops-agent.yaml",),
}
_LINE: Final = re.compile(r"[0-9a-f]{64}  ([A-Za-z0-9][\w.+!-]*\.whl)")


def startup_script() -> Path:
    """Return the file for the metadata attribute `startup-script`."""
    return HERE / "vm" / "startup.sh"


def shutdown_script() -> Path:
    """Return the file for the metadata attribute `shutdown-script`."""
    return HERE / "vm" / "shutdown.sh"


def build_payload(manifest: str, prices: bytes = b"") -> bytes:
    """Return the archive (tar.gz) for VMs that need the wheels of `manifest`, and a price list.

    Each line is `SHA256  FILE.whl`; pip's own wheel must be among them, since the VM's Python may
    come without pip. Raises ValueError with a sentence for a manifest that is not so.
    """
    members = {name: HERE / folder / name for folder, names in _FILES.items() for name in names}
    members |= {f"systemd/{path.name}": path for path in (HERE / "systemd").iterdir()}
    contents = {name: path.read_bytes() for name, path in members.items()}
    contents[WHEELS] = _checked(manifest).encode()
    if prices:
        contents[PRICES] = prices
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(contents):
            entry = tarfile.TarInfo(name)
            entry.size = len(contents[name])
            entry.mode = 0o755 if name in _EXECUTABLE else 0o644
            archive.addfile(entry, io.BytesIO(contents[name]))
    return gzip.compress(packed.getvalue(), mtime=0)


def _checked(manifest: str) -> str:
    """Return the manifest, sorted by name."""
    lines = manifest.splitlines()
    names = []
    for line in lines:
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{line!r} is not a line `SHA256  FILE.whl` of a list of wheels.")
        names.append(match[1])
    if not any(name.startswith("pip-") for name in names):
        raise ValueError("The list of wheels lacks pip's own, which a VM installs the others with.")
    if len(set(names)) < len(names):
        raise ValueError("The list of wheels names one of them twice.")
    return "".join(f"{line}\n" for _, line in sorted(zip(names, lines, strict=True)))
