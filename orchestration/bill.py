"""``python -m orchestration.bill FROM TO``: the old name of ``gpu-credits bill``, for one release."""

from __future__ import annotations

import sys

from gpu_credits.cli import app

if __name__ == "__main__":
    print("orchestration.bill is gpu_credits now: python -m gpu_credits bill", file=sys.stderr)
    app(["bill", *sys.argv[1:]], prog_name="gpu-credits")
