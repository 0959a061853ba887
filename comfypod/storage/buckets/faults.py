"""What is wrong when a store refuses or does not answer, read from obstore's errors. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto

from obstore.exceptions import BaseError


class Fault(Enum):
    """What is wrong, as far as the store's answer tells."""

    NO_BUCKET = auto()
    NO_OBJECT = auto()
    KEY_ID = auto()
    SECRET = auto()
    PERMISSION = auto()
    REGION = auto()
    CONDITION = auto()
    CLOCK = auto()
    NAME = auto()
    HOST = auto()
    UNREACHABLE = auto()
    OTHER = auto()


@dataclass(eq=False)
class StoreFailure(Exception):
    """A request to the store failed; ``cause`` is a clause, ``passing`` says whether a later one may succeed."""

    fault: Fault
    cause: str
    passing: bool = False

    def __str__(self) -> str:
        return self.cause


@contextmanager
def explained() -> Iterator[None]:
    """Turn obstore's errors into `StoreFailure`.

    The cause is left out: its text quotes requests and answers, among them signatures and key ids.
    """
    try:
        yield
    except (BaseError, OSError, NotImplementedError) as error:
        raise _failure(error) from None


_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>\s*(\w+)\s*</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_EXPECTED_REGION = re.compile(r"expecting '([\w-]+)'|<Region>([\w-]+)</Region>")

# docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; the other stores use the same codes.
_FAULTS_BY_CODE = {
    "NoSuchBucket": (Fault.NO_BUCKET, "there is no such bucket"),
    "InvalidBucketName": (Fault.NO_BUCKET, "no bucket can have this name"),
    "NoSuchKey": (Fault.NO_OBJECT, "there is no such object"),
    "InvalidAccessKeyId": (Fault.KEY_ID, "the access key is unknown"),
    "SignatureDoesNotMatch": (Fault.SECRET, "the signature was refused"),
    "AccessDenied": (Fault.PERMISSION, "access was denied"),
    "AllAccessDisabled": (Fault.PERMISSION, "access was denied"),
    "AuthorizationHeaderMalformed": (Fault.REGION, "the region is wrong"),
    "PermanentRedirect": (Fault.REGION, "the bucket is in another region"),
    "IllegalLocationConstraintException": (Fault.REGION, "the bucket is in another region"),
    "RequestTimeTooSkewed": (Fault.CLOCK, "the clocks differ too much"),
}
_FAULTS_BY_STATUS = {
    401: Fault.PERMISSION,
    403: Fault.PERMISSION,
    # S3 says 409, ConditionalRequestConflict, where another writes at the same moment (docs.aws.amazon.com, PutObject).
    409: Fault.CONDITION,
    412: Fault.CONDITION,
}
# Words of reqwest, hyper and rustls, in the order in which they tell most; none that a key may well hold.
_FAULTS_OF_CONNECTION = (
    ('"dns error"', Fault.HOST, "the host cannot be found"),
    ("InvalidCertificate", Fault.OTHER, "its TLS certificate is not valid"),
    ("ConnectionRefused", Fault.UNREACHABLE, "the connection was refused"),
    ("TimedOut", Fault.UNREACHABLE, "it did not answer in time"),
    ("kind: Timeout", Fault.UNREACHABLE, "it did not answer in time"),
)


def _failure(error: Exception) -> StoreFailure:
    text = str(error)
    if "BareRedirect" in text:
        return StoreFailure(Fault.REGION, "the bucket is in another region")
    status = _STATUS.search(text)
    if status is None:
        return _connection_failure(text)
    return _answer_failure(int(status[1]), text)


def _answer_failure(status: int, text: str) -> StoreFailure:
    code = _CODE.search(text)
    # 501: "A header that you provided implies functionality that is not implemented", as of conditional writes.
    passing = status in {408, 429} or (status >= 500 and status != 501)
    fault = _FAULTS_BY_STATUS.get(status, Fault.OTHER)
    if code is None:
        return StoreFailure(fault, f"the store answered HTTP {status}", passing)
    fault, cause = _FAULTS_BY_CODE.get(code[1], (fault, ""))
    if fault is Fault.REGION and (region := _EXPECTED_REGION.search(text)):
        cause += f" (it is {region[1] or region[2]!r})"
    if not cause:
        message = _MESSAGE.search(text)
        cause = f"the store answered {status} {code[1]}" + (f" ({_shortened(message[1])})" if message else "")
    return StoreFailure(fault, cause, passing)


def _connection_failure(text: str) -> StoreFailure:
    for words, fault, cause in _FAULTS_OF_CONNECTION:
        if words in text:
            return StoreFailure(fault, cause, passing=fault is not Fault.OTHER)
    if "HTTP error" in text:
        return StoreFailure(Fault.UNREACHABLE, "the connection failed or broke off", passing=True)
    return StoreFailure(Fault.OTHER, "it does not answer as an S3 store does")


def _shortened(message: str) -> str:
    return re.sub(r"(?i)(signature|credential)=\S+", r"\1=…", " ".join(message.split()))[:160]
