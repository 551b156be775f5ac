"""Open the Dagster UI on this machine's own address, with the run history of ``DATA_DIR``."""

from __future__ import annotations

import os
import sys

from orchestration.instance import set_writer_slots, use_instance
from orchestration.settings import load_settings


def main() -> None:
    """Replace this process by ``dagster dev`` bound to loopback."""
    use_instance(load_settings())
    set_writer_slots()
    os.execv(
        sys.executable,
        [sys.executable, "-m", "dagster", "dev", "-w", "workspace.yaml", "-h", "127.0.0.1"],
    )


if __name__ == "__main__":
    main()
