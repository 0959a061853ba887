"""``comfypod master …``: the process that has requests done, and what an operator sees of it and does with it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from comfypod.cli.commands.database import DATABASE, DatabaseOption
from comfypod.cli.commands.jobs import BaseUrlOption, KeyOption

app = typer.Typer(
    no_args_is_help=True,
    help="Requests that are never lost and never answered twice: the process that has them done, and its desk.",
)
_keys = typer.Typer(no_args_is_help=True, help="API keys of the gateway.")
_dead = typer.Typer(no_args_is_help=True, help="Messages that could not be delivered.")
app.add_typer(_keys, name="keys")
app.add_typer(_dead, name="dead")

_AsJSON = Annotated[bool, typer.Option("--json", help="As JSON, one object a line.")]
_Key = Annotated[str, typer.Argument(metavar="KEY", help="The request's key: 32 hex digits.")]
_Limit = Annotated[int | None, typer.Option(min=1, show_default=False, metavar="N")]


@app.command(
    epilog="Examples:\n\n"
    "  comfypod master run --endpoint ENDPOINT_ID --workers 5\n\n"
    "  comfypod master run --database postgresql://… --endpoint FIRST --endpoint SECOND --workers 60 --name one\n\n"
    "The API key comes from RUNPOD_API_KEY, or from ~/.runpod/config.toml as RunPod's own tools write it; the bucket "
    "that the workers commit results to from BUCKET_ENDPOINT_URL, BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY."
)
def run(
    database: DatabaseOption = DATABASE,
    endpoint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            envvar="RUNPOD_ENDPOINT_ID",
            help="The endpoint on RunPod, or its address; repeatable: the next one is taken where the first fails.",
        ),
    ] = None,
    base_url: BaseUrlOption = None,
    api_key: KeyOption = None,
    workers: Annotated[
        int, typer.Option(min=1, max=1000, help="How many workers the endpoints have at most, together.")
    ] = 3,
    name: Annotated[
        str | None,
        typer.Option(help="Of this master: it takes up what the last one of this name left. Default: the machine's."),
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="COMFYPOD_WEBHOOK_URL",
            help="The gateway's address as RunPod reaches it, to be told at once when a job has ended.",
        ),
    ] = None,
    keep_days: Annotated[
        float,
        typer.Option(
            min=0.001,
            help="How long requests and their idempotency keys are kept after the end. The Comfy API wants a day.",
        ),
    ] = 30,
) -> None:
    """Have requests done on RunPod, until it is told to stop: SIGTERM hands everything over within seconds."""
    from comfypod.cli.master import MasterCommand, run_master

    run_master(MasterCommand(database, endpoint or (), base_url, api_key, workers, name, webhook_url, keep_days))


@app.command()
def migrate(database: DatabaseOption = DATABASE) -> None:
    """Make the tables, or bring those of an older version up to this one's. Stop the masters first."""
    from comfypod.cli.master_queue import migrate_database

    migrate_database(database)


@app.command()
def status(database: DatabaseOption = DATABASE, as_json: _AsJSON = False) -> None:
    """Show how many requests are where, and which masters there are."""
    from comfypod.cli.master_desk import show_status

    show_status(database, as_json=as_json)


@app.command()
def pending(
    database: DatabaseOption = DATABASE,
    state: Annotated[
        list[str] | None, typer.Option(help="Only those in this state; repeatable. Default: all that have not ended.")
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only those of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many, the newest first.")] = 50,
    as_json: _AsJSON = False,
) -> None:
    """List requests that have not ended."""
    from comfypod.cli.master_desk import list_requests, states_of

    list_requests(database, states_of(state or ()), tenant, limit, as_json=as_json)


@app.command()
def show(key: _Key, database: DatabaseOption = DATABASE) -> None:
    """Show all that is kept of a request, as JSON; not what was asked for, nor who is told how."""
    from comfypod.cli.master_desk import show_request

    show_request(database, key)


@app.command()
def cancel(key: _Key, database: DatabaseOption = DATABASE) -> None:
    """Cancel a request, wherever it stands."""
    from comfypod.cli.master_desk import cancel_request

    cancel_request(database, key)


@app.command()
def replay(key: _Key, database: DatabaseOption = DATABASE) -> None:
    """Run a request again that failed or was cancelled; its workflow's quarantine is lifted."""
    from comfypod.cli.master_queue import replay_request

    replay_request(database, key)


@app.command()
def drain(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which master; default: all.")] = None,
    database: DatabaseOption = DATABASE,
) -> None:
    """Have masters finish what they have, take nothing new, and end."""
    from comfypod.cli.master_desk import drain_masters

    sys.exit(drain_masters(database, name))


@_keys.command("add")
def keys_add(
    tenant: Annotated[str, typer.Argument(help="Who it is for; a tenant may have several keys.")],
    database: DatabaseOption = DATABASE,
    at_once: _Limit = None,
    per_minute: _Limit = None,
    per_day: _Limit = None,
    user_at_once: _Limit = None,
    weight: Annotated[int, typer.Option(min=1, max=16, help="Turns of its users for one of others.")] = 1,
    as_json: _AsJSON = False,
) -> None:
    """Make an API key, and show it this once. Limits are the tenant's; without any they stay as they are."""
    from comfypod.cli.master_desk import add_key
    from comfypod.master.quotas import Quota

    quota = Quota(at_once, per_minute, per_day, user_at_once, weight)
    add_key(database, tenant, None if quota == Quota() else quota, as_json=as_json)


@_keys.command("list")
def keys_list(database: DatabaseOption = DATABASE, as_json: _AsJSON = False) -> None:
    """List API keys, without their secrets."""
    from comfypod.cli.master_desk import list_keys

    list_keys(database, as_json=as_json)


@_keys.command("revoke")
def keys_revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="How the key begins, as `list` shows it.")],
    database: DatabaseOption = DATABASE,
) -> None:
    """Have an API key open nothing any more."""
    from comfypod.cli.master_desk import revoke_key

    revoke_key(database, identifier)


@_dead.command("list")
def dead_list(
    database: DatabaseOption = DATABASE,
    kind: Annotated[str | None, typer.Option(help="Only of this kind: webhook, discord.")] = None,
    as_json: _AsJSON = False,
) -> None:
    """List what could not be delivered, and why."""
    from comfypod.cli.master_desk import list_dead

    list_dead(database, kind, as_json=as_json)


@_dead.command("revive")
def dead_revive(identifier: Annotated[str, typer.Argument(metavar="ID")], database: DatabaseOption = DATABASE) -> None:
    """Try to deliver it again."""
    from comfypod.cli.master_desk import revive_dead

    revive_dead(database, identifier)
