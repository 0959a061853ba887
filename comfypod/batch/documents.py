"""What the parts of the batch engine tell one another: assets, items, offers, plans, leases and records. Pure.

Money is in US dollars, time in seconds unless a name says hours, sizes in bytes (a GB is 10^9 of them, as prices are
quoted), moments in seconds since 1970.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

GIGABYTE: Final = 10**9
PATCH_FOLDERS: Final = frozenset({"loras", "embeddings", "hypernetworks"})
"""Folders of small files that change a model, and are changed without loading it anew."""

Objective = Literal["cost", "early", "balanced"]
PriceClass = Literal["on_demand", "interruptible", "serverless"]
BatchState = Literal["running", "paused", "cancelled", "over"]
ItemState = Literal["waiting", "leased", "succeeded", "failed", "cancelled"]
PodState = Literal["starting", "running", "ending", "ended"]


_CONFIG: Final = ConfigDict(frozen=True, extra="forbid")


class Document(BaseModel):
    """Never changes, and knows every one of its fields."""

    model_config = _CONFIG


class Asset(Document):
    """A model file that items need; ``entry``, its table in ``models.toml``, says where it comes from."""

    key: str
    """``folder/name``, as in `comfypod.storage.models.manifest.ModelEntry.key`: ``checkpoints/x.safetensors``."""
    size_bytes: int = Field(ge=0)
    sha256: str | None = None
    entry: Mapping[str, Any] | None = None
    """None: it is in the image, or nobody knows where it comes from."""

    @property
    def folder(self) -> str:
        """ComfyUI's word for the kind, such as ``checkpoints`` or ``loras``."""
        return self.key.partition("/")[0]

    @property
    def comes_with_image(self) -> bool:
        """Whether a pod has it without a download: by its entry, or because there is none to fetch it by."""
        return self.entry is None or self.entry.get("when") == "build"


class Item(Document):
    """One picture, or whatever a workflow makes, that is wanted once.

    ``identifier`` is of the content: what is made, of which files, and under which name; not of its row.
    """

    identifier: str
    row: int = Field(ge=0)
    """Its place in the manifest."""
    job: Mapping[str, Any]
    """The job's input, as `comfypod.schema.job.JobInput` reads it: a workflow or a template with parameters, files."""
    assets: tuple[str, ...] = ()
    """Keys, in the order in which ComfyUI's loaders need them; of `Asset.key`."""
    work: float = Field(default=1.0, gt=0)
    """In megapixel-steps: how much the GPU has to do; 1024 x 1024 at 20 steps is about 21."""
    name: str | None = None
    """Results begin with it, instead of the identifier."""


# A plan has hundreds of thousands of these two, which nobody changes either. They are no models of pydantic's, of which
# each is three objects to the collector of cycles, and not frozen, which makes them three times as slow to make.


@dataclass(slots=True, unsafe_hash=True)
class Signature:
    """All items that need the same files: one group of a plan."""

    __pydantic_config__ = _CONFIG

    bases: tuple[str, ...]
    """Keys of files of which one set is on the GPU at a time: checkpoints, diffusion models, text encoders, VAEs …"""
    patches: tuple[str, ...] = ()
    """Keys of files that are laid over them, of `PATCH_FOLDERS`: LoRAs."""

    @classmethod
    def of(cls, assets: Iterable[str]) -> Signature:
        """The group of an item with these assets; in whatever order they are named, it is the same."""
        keys = sorted(set(assets))
        is_patch = [key.partition("/")[0] in PATCH_FOLDERS for key in keys]
        return cls(
            bases=tuple(key for key, patch in zip(keys, is_patch, strict=True) if not patch),
            patches=tuple(key for key, patch in zip(keys, is_patch, strict=True) if patch),
        )

    @property
    def assets(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.bases, *self.patches)


class Offer(Document):
    """What can be rented: a type of GPU, at a price."""

    provider: str
    gpu: str
    """The provider's word: ``NVIDIA RTX A4000``."""
    price_class: PriceClass
    dollars_per_hour: float = Field(ge=0)
    """For interruptible ones the least bid that is taken."""
    memory_bytes: int = Field(gt=0)
    """Of the GPU."""
    megapixel_steps_per_second: float = Field(gt=0)
    """How fast it works, as measured, or learned from earlier runs."""
    download_bytes_per_second: float = Field(gt=0)
    disk_dollars_per_gigabyte_hour: float = Field(default=0.10 / 730, ge=0)
    setup_seconds: float = Field(default=120.0, ge=0)
    """From rented to the first download, paid."""
    load_seconds: float = Field(default=8.0, ge=0)
    """To bring another set of bases onto the GPU."""
    patch_seconds: float = Field(default=0.7, ge=0)
    """To change the patches."""
    interruptions_per_hour: float = Field(default=0.0, ge=0)
    most_pods: int = Field(default=20, ge=1)


@dataclass(slots=True)
class Share:
    """Items of one signature, and their work: a whole group, or as much of it as one pod is to make."""

    __pydantic_config__ = _CONFIG

    signature: Signature
    items: Annotated[int, Field(ge=1)]
    work: Annotated[float, Field(gt=0)]


class PodPlan(Document):
    """One pod of a plan."""

    number: int = Field(ge=0)
    offer: Offer
    shares: tuple[Share, ...]
    """In the order in which they are to be made."""
    downloads: tuple[str, ...]
    """Keys of assets, in the order in which they are to come."""
    disk_bytes: int
    """Payload and tool chain."""
    bid_dollars_per_hour: float | None = None
    bid_ceiling_dollars_per_hour: float | None = None
    seconds: float
    """From rented to ended, set-up and expected interruptions included."""
    first_item_seconds: float
    idle_seconds: float
    dollars: float


class Plan(Document):
    """What is going to be done, what it costs, and how far it is from the best that can be."""

    batch: str
    """Identifier of the batch: of its items', so the same batch is the same."""
    objective: Objective
    pods: tuple[PodPlan, ...]
    items: int
    work: float
    dollars: float
    seconds: float
    bound_dollars: float
    """No plan can be cheaper."""
    bound_seconds: float | None = None
    deadline_seconds: float | None = None
    budget_dollars: float | None = None
    payload_cap_bytes: int
    assets: tuple[Asset, ...]


class PodWish(Document):
    """A pod that is to be rented."""

    batch: str
    number: int
    """Of `PodPlan`; one that takes an ended one's place has the same number."""
    name: str
    """By which a pod of ours is found again, whoever rented it: ``comfypod-BATCH-NUMBER-GENERATION``."""
    offer: Offer
    image: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    disk_bytes: int
    bid_dollars_per_hour: float | None = None


class Pod(Document):
    """A pod as its provider tells of it."""

    identifier: str
    name: str
    state: PodState
    dollars_per_hour: float
    price_class: PriceClass
    gpu: str
    started_at: float | None = None
    end_reason: str | None = None
    """``outbid``, ``exited``, ``terminated`` … once it has ended."""


# What pods and the coordinator say to one another: JSON bodies of HTTP requests, see docs/reference/batch-protocol.md.


class Welcome(Document):
    """The coordinator's answer to a pod that says hello: ``POST pods/NAME/hello``, with `Condition`."""

    batch: str
    state: BatchState
    assets: tuple[Asset, ...]
    """In the order in which they are to be downloaded."""
    results: Mapping[str, Any]
    """Where they go: ``{"kind": "http", "url": …}`` or ``{"kind": "bucket"}`` (of the worker's settings).

    With ``"archives": true`` in one zip file for each item, else in single files.
    """
    lease_seconds: float
    session_items: int
    """So many are leased at once."""
    ends_at: float
    """The pod's dead man's switch: it ends then, whatever it still has."""
    offer: Offer | None = None
    """What it was rented as, to which its GPU's memory and its link are held; None: to nothing."""


class Condition(Document):
    """What a pod found of itself before anything was downloaded."""

    gpu: str
    gpu_memory_bytes: int
    free_disk_bytes: int
    disk_write_bytes_per_second: float
    download_bytes_per_second: float | None
    """None: there was nothing to measure it with."""
    problem: str | None = None
    """A clause; the pod ends, and its host is remembered."""


class Work(Document):
    """``POST pods/NAME/lease {"items": N, "present": [asset keys]}``: what the pod is to make next, in order.

    An empty list with ``running``: ask again after ``retry_seconds``; with ``over``: nothing will come any more.
    """

    state: BatchState
    items: tuple[Item, ...] = ()
    lease_seconds: float
    retry_seconds: float = 5.0
    assets: tuple[Asset, ...] = ()
    """Of the items, those that were not ``present``: what `Welcome.assets` lacks of them is to be fetched, too."""


class File(Document):
    """One delivered file of a result."""

    name: str
    """Where it went: ``NAME-OR-IDENTIFIER/FILE`` below the batch's results; the same for whoever makes it."""
    sha256: str
    size_bytes: int
    media_type: str


class Record(Document):
    """How an item ended, told once its files are delivered: ``POST pods/NAME/records {"records": […]}``.

    Telling the same one again changes nothing.
    """

    identifier: str
    status: Literal["succeeded", "failed"]
    files: tuple[File, ...] = ()
    started_at: float
    gpu_seconds: float = Field(ge=0)
    load_seconds: float = Field(default=0.0, ge=0)
    error: Mapping[str, Any] | None = None
    """``code``, ``message``, ``retryable``, as in a job's output."""


class Pulse(Document):
    """``POST pods/NAME/pulse``, every few seconds; it renews the leases of ``in_hand``. Answered with `Orders`."""

    in_hand: tuple[str, ...]
    """Identifiers: leased, and not recorded yet."""
    present: tuple[str, ...]
    """Keys of assets that are complete."""
    downloading: Mapping[str, int] = Field(default_factory=dict)
    """Bytes so far, by key."""
    spool_items: int = 0
    spool_bytes: int = 0
    busy_seconds: float = 0.0
    """Of the GPU, since the pod's start."""
    idle_seconds: float = 0.0
    """Waited though there were items left to make."""
    downloaded_bytes: int = 0
    is_leaving: bool = False
    """It has been told to end (outbid, stopped): what is in hand is given back."""


class Orders(Document):
    """What a pod is to do from now on."""

    state: BatchState
    revoked: tuple[str, ...] = ()
    """Identifiers whose lease has gone to another pod: do not begin them."""
    ends_at: float
