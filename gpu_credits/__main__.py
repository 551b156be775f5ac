"""``python -m gpu_credits``: the command of the GPU Credit Warehouse."""

from gpu_credits.cli import app

if __name__ == "__main__":
    app(prog_name="gpu-credits")
