"""Tell people about a failed run: a line in the log, and the services that NOTIFY_URLS names.

Telling is a courtesy: whatever goes wrong with it is logged and changes nothing else. What is sent
and logged holds no secret, and the URLs, which are secrets, are never shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr

from orchestration.addresses import services, spare_this_machine
from orchestration.night.failures import FailedRun

if TYPE_CHECKING:
    from orchestration.settings import Settings

_LONGEST_MESSAGE = 8_000

Say = Callable[[str], Any]


def notify(settings: Settings, run: FailedRun, *, log: Say, warn: Say) -> None:
    """Tell about a failed run. Never raises.

    Args:
        settings: NOTIFY_URLS, and the secrets that no message may hold.
        run: what failed.
        log: takes the line that says so.
        warn: takes the line that says that a service could not be told.
    """
    try:
        log(without_secrets(f"{run.title} (run {run.run_id})", settings))
        if settings.notify_urls is None:
            return
        message = without_secrets(run.message, settings)
        if len(message) > _LONGEST_MESSAGE:
            message = message[:_LONGEST_MESSAGE] + " ..."
        told = services(settings.notify_urls)
        spare_this_machine()
        failed = [n for n, service in enumerate(told, 1) if not _tell(service, run.title, message)]
        if failed:
            warn(
                f"The failure could not be sent to service {_listed(failed)} of the {len(told)} in "
                "NOTIFY_URLS; check that it can be reached and takes the message"
            )
    except Exception as error:
        # Without its text, which may hold a URL.
        warn(f"Nobody could be notified of the failure ({type(error).__name__})")


def without_secrets(text: str, settings: Settings) -> str:
    """A text without the value of any secret setting, and without users and passwords in URLs."""
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            for secret in value.get_secret_value().split():
                text = text.replace(secret, "***")
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _tell(service: Any, title: str, message: str) -> bool:
    try:
        return bool(service.notify(title=title, body=message))
    except Exception:
        # Whatever a service's plugin raises: that it could not be told is all that can be said.
        return False


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(map(str, numbers))
