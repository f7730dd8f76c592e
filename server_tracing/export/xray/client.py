"""botocore's client for X-Ray, and what its errors mean for whoever has to do something about them.

Loaded when it is first needed, in the exporter's thread. Credentials and region are found in botocore's usual
order, the region behind AWS_REGION, which containers have and botocore does not read. It tries a call once:
when to try again is the sender's to decide.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from server_tracing import __version__
from server_tracing.config import XRay
from server_tracing.units import printable

PATIENCE = 5.0  # seconds to connect, and as many for the reply
LONGEST_REASON = 200


def client(settings: XRay) -> Any:
    """A client as the settings have it."""
    import botocore.session
    from botocore.config import Config

    return botocore.session.get_session().create_client(
        "xray",
        region_name=settings.region or os.environ.get("AWS_REGION") or None,
        endpoint_url=settings.endpoint or None,
        config=Config(
            connect_timeout=PATIENCE,
            read_timeout=PATIENCE,
            retries={"total_max_attempts": 1},
            parameter_validation=False,  # of what we have written ourselves, 50 documents a call
            user_agent_extra=f"server-tracing/{__version__}",
        ),
    )


class Trouble(NamedTuple):
    """What a call came to: one sentence, what to do about it, and whether the same call may succeed later."""

    sentence: str
    remedy: str
    reason: str
    permanent: bool = False
    retry_after: float | None = None


CREDENTIALS = (
    "give this process credentials in one of AWS's usual ways: a role, AWS_PROFILE, AWS_ACCESS_KEY_ID"
)
REGION = "set xray.region, or AWS_REGION"
SLOWLY = 5.0  # seconds to leave a service alone that says it is too much

_CODES = {
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException"), "expired"),
    **dict.fromkeys(("RequestExpired", "RequestTimeTooSkewed", "InvalidSignatureException"), "signature"),
    **dict.fromkeys(
        ("UnrecognizedClientException", "InvalidClientTokenId", "MissingAuthenticationToken"), "stranger"
    ),
    **dict.fromkeys(("AccessDenied", "AccessDeniedException"), "forbidden"),
    **dict.fromkeys(
        ("ThrottledException", "ThrottlingException", "Throttling", "TooManyRequestsException"), "throttled"
    ),
    **dict.fromkeys(("InvalidRequestException", "ValidationException", "SerializationException"), "invalid"),
}


def explained(error: Exception, place: str) -> Trouble:
    """What an exception of botocore's means."""
    response = getattr(error, "response", None)
    if isinstance(response, dict) and isinstance(response.get("Error"), dict):
        return _refused(response, place)
    kind, said = type(error).__name__, _short(str(error))
    if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"):
        return Trouble(f"there are no AWS credentials for {place}: {said}", CREDENTIALS, "credentials")
    if kind in ("TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError"):
        return Trouble(f"the AWS credentials for {place} have expired: {said}", CREDENTIALS, "credentials")
    if kind in ("NoRegionError", "InvalidRegionError"):
        return Trouble(f"no AWS region is known for {place}: {said}", REGION, "region")
    if kind == "EndpointConnectionError":
        remedy = "correct xray.region or xray.endpoint, or let this process reach it"
        return Trouble(f"{place} cannot be reached: {said}", remedy, "unreachable")
    if kind in ("ModuleNotFoundError", "ImportError"):
        remedy = "pip install 'server-tracing[xray]'"
        return Trouble('xray.transport = "api" needs botocore, which is not installed', remedy, "unavailable")
    return Trouble(f"{place} gave no answer: {kind}: {said}", "", "unreachable")


def _refused(response: dict[str, Any], place: str) -> Trouble:
    code, said = (
        str(response["Error"].get("Code") or "?"),
        _short(str(response["Error"].get("Message") or "")),
    )
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0
    match _CODES.get(code):
        case "expired":
            return Trouble(
                f"the AWS credentials for {place} have expired ({code})", CREDENTIALS, "credentials"
            )
        case "signature":
            return _signature(code, said, place)
        case "stranger":
            text = f"{place} does not know these AWS credentials ({code}); they may be another partition's"
            return Trouble(text, f"{CREDENTIALS}; or correct xray.region", "credentials")
        case "forbidden":
            text = f"these AWS credentials may not use {place} ({code}): {said}"
            return Trouble(text, "attach the policy AWSXRayDaemonWriteAccess to the role", "forbidden")
        case "throttled":
            return Trouble(f"{place} asks for less ({code})", "", "throttled", retry_after=SLOWLY)
        case "invalid":
            return Trouble(f"{place} refused what was sent ({code}): {said}", "", "invalid", permanent=True)
    permanent = status in (400, 413)
    return Trouble(f"{place} said {code}: {said}", "", "invalid" if permanent else "failed", permanent)


def _signature(code: str, said: str, place: str) -> Trouble:
    """A clock that is wrong, a region that is another's, or a secret that is not the key's."""
    low = said.lower()
    if code in ("RequestExpired", "RequestTimeTooSkewed") or "expired" in low or "not yet current" in low:
        text = f"this machine's clock is not that of {place} ({code}): {said}"
        return Trouble(text, "correct the clock, best by NTP", "clock")
    if "region" in low or "scope" in low:
        return Trouble(f"{place} is of another region than the signature ({code}): {said}", REGION, "region")
    return Trouble(f"{place} does not accept the signature ({code}): {said}", CREDENTIALS, "credentials")


def _short(text: str) -> str:
    return printable(" ".join(text.split()))[:LONGEST_REASON]
