"""Every way in which comfypod fails, as one tree.

Each class has a stable ``code`` and says whether the same request may succeed later (``retryable``). The fields hold
the facts; the sentence a person reads is made from them in ``__str__`` and nowhere else::

    ComfyPodError
    ├─ ConfigurationError      configuration         the operator acts
    ├─ InputError
    │  ├─ InvalidJobInput      invalid_job_input     the caller acts
    │  ├─ InvalidWorkflow      invalid_workflow
    │  └─ InputFetchFailed     input_fetch_failed    blocked, too large, not there, not what its name says
    │     └─ InputSourceUnavailable                  retryable: the source did not answer
    │  (of a batch: InvalidManifest, invalid_manifest; PlanImpossible, plan_impossible)
    ├─ ComfyUIError
    │  ├─ GPUUnavailable       gpu_unavailable       retryable, on another machine
    │  ├─ ComfyUIUnavailable   comfyui_unavailable   retryable
    │  │  └─ ComfyUIUnresponsive                     it is alive, and busy or stuck
    │  ├─ PromptRejected       prompt_rejected
    │  ├─ PromptFailed         prompt_failed
    │  │  └─ OutOfMemory       out_of_memory         retryable, on a larger GPU
    │  ├─ PromptStalled        prompt_stalled        retryable
    │  ├─ PromptInterrupted    prompt_interrupted
    │  └─ PromptLost           prompt_lost           retryable
    ├─ DeadlineExceeded        deadline_exceeded
    ├─ DownloadFailed          download_failed       what storage says; callers hear it as one of the next two
    │  └─ DownloadInterrupted                        retryable
    ├─ ModelFetchFailed        model_fetch_failed    the operator acts
    │  └─ ModelSourceUnavailable                     retryable
    ├─ DiskFailed              disk_failed           retryable: the worker's own disk
    ├─ DeliveryError
    │  ├─ NoOutput             no_output
    │  ├─ OutputTooLarge       output_too_large      the operator acts
    │  ├─ OutputVanished       output_vanished       retryable
    │  ├─ UploadFailed         upload_failed         retryable
    │  │  └─ UploadRefused                           not retryable
    │  ├─ CommitsUnavailable   commits_unavailable   retryable: what is done once cannot be told
    │  │  └─ CommitsRefused                          the operator acts
    │  └─ SavingFailed         saving_failed         the client's disk
    ├─ CloudError
    │  ├─ AuthenticationFailed, EndpointNotFound, RequestRefused, JobNotFound
    │  ├─ CloudUnavailable     cloud_unavailable     retryable
    │  ├─ SubmissionUncertain  submission_uncertain  a job was sent that may or may not exist
    │  ├─ ResultOnVolume       result_on_volume      a file that only the endpoint's workers can read
    │  └─ JobFailed, JobCancelled, JobTimedOut       JobFailed: also of the class that the worker named
    ├─ SourceFetchFailed       source_fetch_failed   a git repository; the developer acts, on these three
    ├─ RequirementsConflict    requirements_conflict
    ├─ SmokeTestFailed         smoke_test_failed
    ├─ WebError                                      the web page's server, to browsers and programs
    │  ├─ BadRequest           bad_request
    │  │  ├─ UnsupportedContent                      unsupported_content
    │  │  └─ NothingThere      not_found
    │  ├─ UnknownHost, ForeignRequest                unknown_host, foreign_request
    │  ├─ SignInRequired, WrongToken                 sign_in_required, wrong_token
    │  ├─ TooMany              too_many              retryable
    │  ├─ TooLarge             too_large
    │  ├─ RunNotFound, FileNotFound                  run_not_found, file_not_found
    │  ├─ RunNotEnded          run_not_ended
    │  ├─ TooManyRuns          too_many_runs         retryable
    │  └─ EndpointChanged      endpoint_changed
    ├─ MasterError                                   the store of requests, and the master that works on it
    │  ├─ InvalidRequest       invalid_request
    │  ├─ RequestNotFound      request_not_found
    │  ├─ IdempotencyKeyReused idempotency_key_reused
    │  ├─ QuotaExceeded        quota_exceeded        retryable
    │  ├─ QueueFull            queue_full            retryable
    │  ├─ RequestQuarantined   request_quarantined   the operator acts
    │  ├─ NotReplayable        not_replayable
    │  ├─ AccessKeyNotFound, DeadLetterNotFound
    │  ├─ StoreUnavailable     store_unavailable     retryable
    │  └─ StoreOutdated        store_outdated        the operator acts
    ├─ BatchError                                    batches, their pods, and who rents these out
    │  ├─ BatchNotFound, PodNotFound                batch_not_found, pod_not_found
    │  ├─ BatchInUse, PodEnded                      batch_in_use, pod_ended
    │  ├─ NoCapacity           no_capacity           retryable
    │  ├─ ProviderUnavailable  provider_unavailable  retryable
    │  ├─ ProviderRefused      provider_refused
    │  ├─ PodUnfit             pod_unfit
    │  └─ CoordinatorUnavailable  coordinator_unavailable  retryable
    │     └─ CoordinatorRefused  coordinator_refused
    ├─ GatewayError                                  the Comfy API v2, to programs; its codes are that interface's
    │  ├─ Unauthorized         unauthorized
    │  ├─ MalformedCall        invalid_request
    │  │  ├─ InvalidMetadata, InvalidMetadataFilter, InvalidCursor
    │  │  └─ NothingFound      not_found
    │  ├─ WorkflowFormatUI     workflow_format_ui
    │  ├─ MissingAsset, KeyUsed                      missing_asset, idempotency_key_reuse
    │  ├─ DeploymentNotReady   deployment_not_ready  retryable
    │  ├─ TooManyStreams       too_many_streams      retryable
    │  ├─ PayloadTooLarge, HashMismatch, RangeNotSatisfiable
    │  ├─ BlobNotFound, AssetInUse, OutputUnavailable
    │  └─ WebhookRefused       webhook_refused
    ├─ DiscordError                                  the Discord bot
    │  ├─ DiscordTokenRefused  discord_token_refused the operator acts
    │  ├─ DiscordUnavailable   discord_unavailable   retryable
    │  ├─ DiscordRefused       discord_refused       a permission is missing, or a message is not taken
    │  ├─ TextRefused          text_refused          by the content rules
    │  └─ ButtonRefused        button_refused
    └─ ProtocolViolation       protocol_violation    a server said what its protocol does not allow

A class exists only if somebody catches it, or if its code or ``retryable`` differs from its parent's.
"""

from comfypod.errors.base import (
    ComfyPodError,
    ConfigurationError,
    DeadlineExceeded,
    ProtocolViolation,
)
from comfypod.errors.batch import (
    BatchError,
    BatchInUse,
    BatchNotFound,
    CoordinatorRefused,
    CoordinatorUnavailable,
    InvalidManifest,
    NoCapacity,
    PlanImpossible,
    PodEnded,
    PodNotFound,
    PodUnfit,
    ProviderRefused,
    ProviderUnavailable,
)
from comfypod.errors.cloud import (
    AuthenticationFailed,
    CloudError,
    CloudUnavailable,
    EndpointNotFound,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobTimedOut,
    RequestRefused,
    ResultOnVolume,
    SubmissionUncertain,
)
from comfypod.errors.comfyui import (
    ComfyUIError,
    ComfyUIUnavailable,
    ComfyUIUnresponsive,
    GPUUnavailable,
    OutOfMemory,
    PromptFailed,
    PromptInterrupted,
    PromptLost,
    PromptRejected,
    PromptStalled,
)
from comfypod.errors.discord import (
    ButtonRefused,
    DiscordError,
    DiscordRefused,
    DiscordTokenRefused,
    DiscordUnavailable,
    TextRefused,
)
from comfypod.errors.gateway import (
    AssetInUse,
    BlobNotFound,
    DeploymentNotReady,
    GatewayError,
    HashMismatch,
    InvalidCursor,
    InvalidMetadata,
    InvalidMetadataFilter,
    KeyUsed,
    MalformedCall,
    MissingAsset,
    NothingFound,
    OutputUnavailable,
    PayloadTooLarge,
    RangeNotSatisfiable,
    TooManyStreams,
    Unauthorized,
    WebhookRefused,
    WorkflowFormatUI,
)
from comfypod.errors.image import RequirementsConflict, SmokeTestFailed, SourceFetchFailed
from comfypod.errors.inputs import (
    InputError,
    InputFetchFailed,
    InputSourceUnavailable,
    InvalidJobInput,
    InvalidWorkflow,
)
from comfypod.errors.master import (
    AccessKeyNotFound,
    DeadLetterNotFound,
    IdempotencyKeyReused,
    InvalidRequest,
    MasterError,
    NotReplayable,
    QueueFull,
    QuotaExceeded,
    RequestNotFound,
    RequestQuarantined,
    StoreOutdated,
    StoreUnavailable,
)
from comfypod.errors.runs import EndpointChanged, FileNotFound, RunNotEnded, RunNotFound, TooManyRuns
from comfypod.errors.transfers import (
    CommitsRefused,
    CommitsUnavailable,
    DeliveryError,
    DiskFailed,
    DownloadFailed,
    DownloadInterrupted,
    ModelFetchFailed,
    ModelSourceUnavailable,
    NoOutput,
    OutputTooLarge,
    OutputVanished,
    SavingFailed,
    UploadFailed,
    UploadRefused,
)
from comfypod.errors.web import (
    BadRequest,
    ForeignRequest,
    NothingThere,
    SignInRequired,
    TooLarge,
    TooMany,
    UnknownHost,
    UnsupportedContent,
    WebError,
    WrongToken,
)

__all__ = [
    "AccessKeyNotFound",
    "AssetInUse",
    "AuthenticationFailed",
    "BadRequest",
    "BatchError",
    "BatchInUse",
    "BatchNotFound",
    "BlobNotFound",
    "ButtonRefused",
    "CloudError",
    "CloudUnavailable",
    "ComfyPodError",
    "ComfyUIError",
    "ComfyUIUnavailable",
    "ComfyUIUnresponsive",
    "CommitsRefused",
    "CommitsUnavailable",
    "ConfigurationError",
    "CoordinatorRefused",
    "CoordinatorUnavailable",
    "DeadLetterNotFound",
    "DeadlineExceeded",
    "DeliveryError",
    "DeploymentNotReady",
    "DiscordError",
    "DiscordRefused",
    "DiscordTokenRefused",
    "DiscordUnavailable",
    "DiskFailed",
    "DownloadFailed",
    "DownloadInterrupted",
    "EndpointChanged",
    "EndpointNotFound",
    "FileNotFound",
    "ForeignRequest",
    "GPUUnavailable",
    "GatewayError",
    "HashMismatch",
    "IdempotencyKeyReused",
    "InputError",
    "InputFetchFailed",
    "InputSourceUnavailable",
    "InvalidCursor",
    "InvalidJobInput",
    "InvalidManifest",
    "InvalidMetadata",
    "InvalidMetadataFilter",
    "InvalidRequest",
    "InvalidWorkflow",
    "JobCancelled",
    "JobFailed",
    "JobNotFound",
    "JobTimedOut",
    "KeyUsed",
    "MalformedCall",
    "MasterError",
    "MissingAsset",
    "ModelFetchFailed",
    "ModelSourceUnavailable",
    "NoCapacity",
    "NoOutput",
    "NotReplayable",
    "NothingFound",
    "NothingThere",
    "OutOfMemory",
    "OutputTooLarge",
    "OutputUnavailable",
    "OutputVanished",
    "PayloadTooLarge",
    "PlanImpossible",
    "PodEnded",
    "PodNotFound",
    "PodUnfit",
    "PromptFailed",
    "PromptInterrupted",
    "PromptLost",
    "PromptRejected",
    "PromptStalled",
    "ProtocolViolation",
    "ProviderRefused",
    "ProviderUnavailable",
    "QueueFull",
    "QuotaExceeded",
    "RangeNotSatisfiable",
    "RequestNotFound",
    "RequestQuarantined",
    "RequestRefused",
    "RequirementsConflict",
    "ResultOnVolume",
    "RunNotEnded",
    "RunNotFound",
    "SavingFailed",
    "SignInRequired",
    "SmokeTestFailed",
    "SourceFetchFailed",
    "StoreOutdated",
    "StoreUnavailable",
    "SubmissionUncertain",
    "TextRefused",
    "TooLarge",
    "TooMany",
    "TooManyRuns",
    "TooManyStreams",
    "Unauthorized",
    "UnknownHost",
    "UnsupportedContent",
    "UploadFailed",
    "UploadRefused",
    "WebError",
    "WebhookRefused",
    "WorkflowFormatUI",
    "WrongToken",
]
