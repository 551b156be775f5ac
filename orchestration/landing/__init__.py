"""Landing: deliveries become typed Parquet, and what cannot be typed is kept with a reason.

Decides only what no seed edit can cure. Prices, credits and customers are judged in SQL.
"""

from orchestration.landing import withdrawals
from orchestration.landing.files import Delivery, refusal
from orchestration.landing.preparation import prepare_landing
from orchestration.landing.prices import (
    land_energy_mix,
    land_energy_prices,
    land_fx_rates,
    land_gpu_prices,
)
from orchestration.landing.usage import interrupted_usage, land_usage

__all__ = [
    "Delivery",
    "interrupted_usage",
    "land_energy_mix",
    "land_energy_prices",
    "land_fx_rates",
    "land_gpu_prices",
    "land_usage",
    "prepare_landing",
    "refusal",
    "withdrawals",
]
