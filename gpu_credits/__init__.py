"""The command of the GPU Credit Warehouse."""
