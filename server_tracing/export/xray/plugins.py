"""The plugins: EC2 (IMDSv2), ECS (task metadata version 4), EKS and Elastic Beanstalk.

Each asks what is on its own machine, without a proxy, TIMEOUT seconds at most for an answer, and takes the
fields that X-Ray documents. Most specific first, as X-Ray's guide has it.
https://docs.aws.amazon.com/xray/latest/devguide/xray-api-segmentdocuments.html#api-segmentdocuments-aws
"""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from .surroundings import NotHereError, Plugin

TIMEOUT = 1.0  # seconds
LARGEST = 1 << 20  # bytes of an answer

ECS_ENDPOINT = "ECS_CONTAINER_METADATA_URI_V4"
IMDS = "http://169.254.169.254"
BEANSTALK = "/var/elasticbeanstalk/xray/environment.conf"
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CLUSTER_INFO = "/api/v1/namespaces/amazon-cloudwatch/configmaps/cluster-info"
_CONTAINER = re.compile(r"[0-9a-f]{64}|[0-9a-f]{32}-[0-9]{10}")  # Docker's and containerd's, Fargate's


def ec2() -> Mapping[str, Any]:
    """The instance, by version 2 of its metadata service; version 1, without a token, is not asked."""
    token = _ask("PUT", f"{IMDS}/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    headers = {"X-aws-ec2-metadata-token": token.decode("ascii")}
    told = _object(_ask("GET", f"{IMDS}/latest/dynamic/instance-identity/document", headers))
    named = {
        "instance_id": told.get("instanceId"),
        "instance_size": told.get("instanceType"),
        "ami_id": told.get("imageId"),
        "availability_zone": told.get("availabilityZone"),
    }
    return {"ec2": _texts(named)}


def ecs() -> Mapping[str, Any]:
    """The container and its log, by the metadata endpoint of its task."""
    endpoint = os.environ.get(ECS_ENDPOINT)
    if not endpoint:
        raise NotHereError(f"{ECS_ENDPOINT} is not set, as it is in a task of ECS")
    told = _object(_ask("GET", endpoint))
    named = {
        "container": socket.gethostname(),
        "container_id": told.get("DockerId"),
        "container_arn": told.get("ContainerARN"),
    }
    return {"ecs": _texts(named), **_logs(told)}


def _logs(told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The group in CloudWatch that the container's output goes to, which X-Ray links to its traces."""
    options = told.get("LogOptions")
    options = options if isinstance(options, Mapping) else {}
    group = options.get("awslogs-group")
    if told.get("LogDriver") != "awslogs" or not isinstance(group, str):
        return {}
    log = {"log_group": group}
    arn = str(told.get("ContainerARN") or "").split(":")  # arn:<partition>:ecs:<region>:<account>:...
    if len(arn) > 5:
        region = options.get("awslogs-region") or arn[3]
        log["arn"] = f"arn:{arn[1]}:logs:{region}:{arn[4]}:log-group:{group}"
    return {"cloudwatch_logs": [log]}


def eks() -> Mapping[str, Any]:
    """The pod; its cluster's name only where Container Insights has left it."""
    token = _read(f"{SERVICE_ACCOUNT}/token").decode("ascii").strip()
    named = {"pod": socket.gethostname(), "container_id": _container_id(), "cluster_name": _cluster(token)}
    return {"eks": _texts(named)}


def _cluster(token: str) -> str | None:
    """Of the configuration map that Container Insights makes, if this pod's account may read it."""
    try:
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        place = f"https://{f'[{host}]' if ':' in host else host}:{port}{CLUSTER_INFO}"
        told = _object(_ask("GET", place, {"Authorization": f"Bearer {token}"}))
        name = told["data"]["cluster.name"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return name if isinstance(name, str) else None


def _container_id() -> str | None:
    """Of this process's control group (version 1), or of what is mounted from the host (version 2)."""
    for file in ("/proc/self/cgroup", "/proc/self/mountinfo"):
        try:
            found = _CONTAINER.findall(Path(file).read_text("utf-8", "replace"))
        except OSError:
            continue
        if found:
            return str(found[-1] if file.endswith("cgroup") else found[0])
    return None


def elastic_beanstalk() -> Mapping[str, Any]:
    """The environment, of the file that the platform writes."""
    told = _object(_read(BEANSTALK))
    named = _texts({name: told.get(name) for name in ("environment_name", "version_label")})
    number = told.get("deployment_id")
    return {"elastic_beanstalk": {**named, "deployment_id": number} if type(number) is int else named}


PLUGINS = {  # most specific first
    "elastic_beanstalk": Plugin("AWS::ElasticBeanstalk::Environment", elastic_beanstalk),
    "eks": Plugin("AWS::EKS::Container", eks),
    "ecs": Plugin("AWS::ECS::Container", ecs),
    "ec2": Plugin("AWS::EC2::Instance", ec2),
}


# ---------------------------------------------------------------- asking


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise NotHereError(f"{path}: {error.strerror}") from None


def _ask(method: str, url: str, headers: Mapping[str, str] | None = None) -> bytes:
    parts = urlsplit(url)
    connection = _connection(parts.scheme, parts.hostname or "", parts.port)
    try:
        connection.request(method, parts.path or "/", headers=dict(headers or {}))
        answer = connection.getresponse()
        content = answer.read(LARGEST)
    finally:
        connection.close()
    if answer.status != 200:
        raise OSError(f"{parts.hostname} said {answer.status}")
    return content


def _connection(scheme: str, host: str, port: int | None) -> HTTPConnection:
    if scheme != "https":
        return HTTPConnection(host, port, timeout=TIMEOUT)
    trusted = ssl.create_default_context(cafile=os.path.join(SERVICE_ACCOUNT, "ca.crt"))
    return HTTPSConnection(host, port, timeout=TIMEOUT, context=trusted)


def _object(content: bytes) -> dict[str, Any]:
    return msgspec.json.decode(content, type=dict[str, Any])


def _texts(named: Mapping[str, object]) -> dict[str, str]:
    return {name: told for name, told in named.items() if isinstance(told, str) and told}
