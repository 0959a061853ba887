"""``comfypod batch watch``: a batch live, from its database; and the same picture while ``batch run`` works."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from logging import StreamHandler
from pathlib import Path

from rich.console import Console
from rich.live import Live

from comfypod.batch.store import BatchStore
from comfypod.cli.batch.watch_view import Seen, picture
from comfypod.cli.reports import PIPED_WIDTH
from comfypod.errors import ConfigurationError, StoreUnavailable
from comfypod.logs import log

REFRESH_SECONDS = 1.0


def watch_command(database: str, batch: str | None, *, once: bool) -> None:
    """Show a batch until it is over, or until Ctrl-C; once where nobody is at a terminal.

    Raises:
        BatchNotFound, StoreOutdated, StoreUnavailable, ConfigurationError: as `BatchStore.open`.
    """
    console = Console()
    with closing(BatchStore.open(database)) as store:
        number = store.find(batch).number
        if once or not console.is_terminal or console.is_dumb_terminal:
            if not console.is_terminal:
                console = Console(width=PIPED_WIDTH)
            console.print(picture(look(store, number)))
            return
        _show_live(store, number, console)


def look(store: BatchStore, batch: int) -> Seen:
    """All that the picture shows."""
    return Seen(store.of(batch), store.account(batch), tuple(store.pods(batch)), tuple(store.events(batch, 6)))


def _show_live(store: BatchStore, batch: int, console: Console) -> None:
    seen, problem = look(store, batch), None
    try:
        with Live(console=console, screen=False, auto_refresh=False) as live:
            while True:
                live.update(picture(seen, lines=console.height, problem=problem), refresh=True)
                if seen.has_ended:
                    return
                time.sleep(REFRESH_SECONDS)
                try:
                    seen, problem = look(store, batch), None
                except StoreUnavailable as error:
                    problem = f"Not up to date: {error}"
    except KeyboardInterrupt:
        return


@contextmanager
def watching(store: BatchStore, batch: int, log_file: Path) -> Iterator[None]:
    """Show a batch on stderr while the body runs; what is logged goes to a file meanwhile.

    Raises:
        ConfigurationError: the file cannot be written.
    """
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        file = log_file.open("a", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError([f"The log {log_file} cannot be written ({error.strerror})."]) from error
    console, over = Console(stderr=True), threading.Event()
    handlers = [handler for handler in log.handlers if isinstance(handler, StreamHandler)]
    with file, Live(console=console, auto_refresh=False, transient=False) as live:
        streams = [handler.setStream(file) for handler in handlers]

        def show() -> None:
            while not over.is_set():
                try:
                    live.update(picture(look(store, batch), lines=console.height), refresh=True)
                except StoreUnavailable as error:
                    log.warning("waiting_for", extra={"fields": {"code": error.code, "cause": str(error)}})
                over.wait(REFRESH_SECONDS)

        thread = threading.Thread(target=show, name="comfypod-watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(timeout=10)
            for handler, stream in zip(handlers, streams, strict=True):
                if stream is not None:
                    handler.setStream(stream)
            live.update(picture(look(store, batch)), refresh=True)
