"""Where it runs: asked of the machine's own services, in bounded time, in the exporter's thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from believable import request
from export_kit import Clock
from segment_schema import checked

from server_tracing.config import Config, XRay
from server_tracing.config.accepted import PLUGINS as NAMES
from server_tracing.export.exporter import Setup
from server_tracing.export.xray import plugins
from server_tracing.export.xray.exporter import XRayExporter
from server_tracing.export.xray.plugins import PLUGINS
from server_tracing.export.xray.surroundings import AGAIN_AFTER, TRIES, Explorer, Plugin

ARN = "arn:aws:ecs:eu-west-1:123456789012:container/shop/0206b271"
CONTAINER = "ab" * 32


class Metadata:
    """Answers by path; a PUT needs a lifetime, everything under /latest/dynamic the token."""

    def __init__(self) -> None:
        self.answers: dict[str, object] = {}
        self.asked: list[str] = []
        metadata = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"] == "60"
                self._say(200, b"the-token")

            def do_GET(self) -> None:
                metadata.asked.append(self.path)
                allowed = self.headers["X-aws-ec2-metadata-token"] == "the-token"
                if self.path.startswith("/latest") and not allowed:
                    self._say(401, b"")
                elif self.path in metadata.answers:
                    self._say(200, json.dumps(metadata.answers[self.path]).encode())
                else:
                    self._say(404, b"")

            def _say(self, status: int, content: bytes) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(30)
        self._server.server_close()


@pytest.fixture
def metadata(monkeypatch) -> Iterator[Metadata]:
    metadata = Metadata()
    monkeypatch.setattr(plugins, "IMDS", metadata.url)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")  # which nothing here may use
    yield metadata
    metadata.close()


def segment(*names: str) -> dict:
    """A segment of an exporter with these plugins."""
    exporter = XRayExporter(Setup(Config(xray=XRay(plugins=names)), {}, "shop", ""))
    for _ in range(TRIES):
        exporter._explorer._next = 0.0
        exporter.tend()
    (sheet,) = exporter.sheets(request())
    return checked(sheet.data)


def test_every_name_that_the_settings_take_is_a_plugin():
    """And the other way round."""
    assert set(PLUGINS) == set(NAMES)


def test_an_instance_is_known_by_version_2_of_its_metadata(metadata):
    """With the names that X-Ray documents."""
    metadata.answers["/latest/dynamic/instance-identity/document"] = {
        "instanceId": "i-075ad396f12bc325a",
        "instanceType": "t3.small",
        "imageId": "ami-1",
        "availabilityZone": "eu-west-1c",
        "accountId": "123456789012",
    }
    told = segment("ec2")
    assert told["origin"] == "AWS::EC2::Instance"
    assert told["aws"]["ec2"] == {
        "instance_id": "i-075ad396f12bc325a",
        "instance_size": "t3.small",
        "ami_id": "ami-1",
        "availability_zone": "eu-west-1c",
    }


def test_a_task_is_known_by_version_4_of_its_metadata(metadata, monkeypatch):
    """With its log, which X-Ray links to."""
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"{metadata.url}/v4/abc")
    metadata.answers["/v4/abc"] = {
        "DockerId": CONTAINER,
        "ContainerARN": ARN,
        "LogDriver": "awslogs",
        "LogOptions": {"awslogs-group": "/ecs/shop", "awslogs-region": "eu-west-1"},
    }
    told = segment("ecs")
    assert told["origin"] == "AWS::ECS::Container"
    assert told["aws"]["ecs"] == {
        "container": socket.gethostname(),
        "container_id": CONTAINER,
        "container_arn": ARN,
    }
    log = {"log_group": "/ecs/shop", "arn": "arn:aws:logs:eu-west-1:123456789012:log-group:/ecs/shop"}
    assert told["aws"]["cloudwatch_logs"] == [log]


@pytest.mark.parametrize("odd", [{}, {"LogDriver": "awslogs"}, {"LogDriver": "awslogs", "LogOptions": [1]}])
def test_a_task_without_a_log_there_has_none(metadata, monkeypatch, odd):
    """Whatever the endpoint says."""
    monkeypatch.setenv("ECS_CONTAINER_METADATA_URI_V4", f"{metadata.url}/v4/abc")
    metadata.answers["/v4/abc"] = odd
    assert "cloudwatch_logs" not in segment("ecs")["aws"]


def test_a_pod_is_known_where_it_has_an_account(tmp_path, monkeypatch):
    """Its cluster only where it may ask."""
    (tmp_path / "token").write_text("secret-token\n")
    monkeypatch.setattr(plugins, "SERVICE_ACCOUNT", str(tmp_path))
    monkeypatch.setattr(plugins, "_container_id", lambda: CONTAINER)
    told = segment("eks")
    assert told["origin"] == "AWS::EKS::Container"
    assert told["aws"]["eks"] == {"pod": socket.gethostname(), "container_id": CONTAINER}

    def ask(method: str, url: str, headers: dict) -> bytes:
        assert (method, headers) == ("GET", {"Authorization": "Bearer secret-token"})
        assert url == "https://[fd00::1]:443/api/v1/namespaces/amazon-cloudwatch/configmaps/cluster-info"
        return b'{"data": {"cluster.name": "shop-cluster"}}'

    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
    monkeypatch.setattr(plugins, "_ask", ask)
    assert segment("eks")["aws"]["eks"]["cluster_name"] == "shop-cluster"


def test_an_environment_is_known_by_the_platforms_file(tmp_path, monkeypatch):
    """Its number is one."""
    conf = tmp_path / "environment.conf"
    conf.write_text('{"deployment_id": 32, "environment_name": "shop", "version_label": "v1", "other": 1}')
    monkeypatch.setattr(plugins, "BEANSTALK", str(conf))
    told = segment("elastic_beanstalk")
    assert told["origin"] == "AWS::ElasticBeanstalk::Environment"
    assert told["aws"]["elastic_beanstalk"] == {
        "environment_name": "shop",
        "version_label": "v1",
        "deployment_id": 32,
    }


def test_of_several_places_the_most_specific_is_the_origin():
    """In the order of X-Ray's guide, whatever the order they are named in."""
    found = {name: Plugin(f"AWS::{name}", lambda name=name: {name: {"a": name}}) for name in PLUGINS}
    told = Explorer(("ec2", "ecs", "elastic_beanstalk", "eks"), lambda: found).look()
    assert told.origin == "AWS::elastic_beanstalk"
    assert list(told.aws) == ["elastic_beanstalk", "eks", "ecs", "ec2"]
    assert Explorer(("ec2", "ecs"), lambda: found).look().origin == "AWS::ecs"


def test_a_service_that_starts_late_is_asked_again(caplog):
    """A few times, and then said to be missing; what was found meanwhile stays."""
    clock, script = Clock(), [OSError("not yet"), {"ecs": {"container": "web"}}]

    def ecs() -> dict:
        answer = script.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    def ec2() -> dict:
        raise TimeoutError("timed out")

    found = {"ecs": Plugin("AWS::ECS", ecs), "ec2": Plugin("AWS::EC2", ec2)}
    explorer = Explorer(["ec2", "ecs"], lambda: found, clock)
    assert explorer.look() is None
    assert explorer.look() is None
    assert len(script) == 1
    clock.advance(AGAIN_AFTER)
    assert explorer.look() == ({"ecs": {"container": "web"}}, "AWS::ECS")
    for _ in range(TRIES):
        clock.advance(AGAIN_AFTER)
        assert explorer.look() is None
    assert caplog.messages == ["the X-Ray plugin ec2 found nothing: TimeoutError: timed out"]
    assert repr(explorer) == "<Explorer of nothing more>"


def test_a_plugin_that_finds_nothing_is_one_warning_and_no_origin(metadata, monkeypatch, tmp_path, caplog):
    """Neither on this machine nor wrongly: the SDK takes any machine for a container."""
    monkeypatch.delenv("ECS_CONTAINER_METADATA_URI_V4", raising=False)
    monkeypatch.setattr(plugins, "BEANSTALK", str(tmp_path / "none"))
    monkeypatch.setattr(plugins, "SERVICE_ACCOUNT", str(tmp_path / "none"))
    told = segment(*PLUGINS)
    assert "origin" not in told
    assert set(told["aws"]) == {"xray"}
    assert len(caplog.messages) == 4
    ecs, eks = ("the X-Ray plugin ecs found nothing: ", "the X-Ray plugin eks found nothing: ")
    assert f"{ecs}ECS_CONTAINER_METADATA_URI_V4 is not set, as it is in a task of ECS" in caplog.messages
    assert f"{eks}{tmp_path}/none/token: No such file or directory" in caplog.messages
    assert "the X-Ray plugin ec2 found nothing: OSError: 127.0.0.1 said 404" in caplog.messages


def test_a_service_that_does_not_answer_is_left_alone(monkeypatch, caplog):
    """After a moment."""
    silent = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(plugins, "IMDS", f"http://127.0.0.1:{silent.getsockname()[1]}")
    monkeypatch.setattr(plugins, "TIMEOUT", 0.05)
    assert "origin" not in segment("ec2")
    assert "timed out" in caplog.text
    silent.close()


def test_plugins_are_asked_once_and_not_by_the_server(metadata):
    """Making an exporter asks nobody."""
    exporter = XRayExporter(Setup(Config(xray=XRay(plugins=("ec2",))), {}, "shop", ""))
    assert metadata.asked == []
    for _ in range(3):
        exporter.tend()
    assert metadata.asked == ["/latest/dynamic/instance-identity/document"]


def test_a_container_is_found_in_what_the_kernel_says(tmp_path, monkeypatch):
    """By control groups of version 1, or by what is mounted."""
    files = {"/proc/self/cgroup": f"1:cpu:/docker/{CONTAINER}\n", "/proc/self/mountinfo": ""}
    monkeypatch.setattr(plugins.Path, "read_text", lambda path, *_how: files[str(path)])
    assert plugins._container_id() == CONTAINER
    files["/proc/self/cgroup"] = "0::/\n"
    files["/proc/self/mountinfo"] = f"1 2 /var/lib/docker/containers/{CONTAINER}/hostname /etc/hostname\n"
    assert plugins._container_id() == CONTAINER
    files["/proc/self/mountinfo"] = "nothing"
    assert plugins._container_id() is None
