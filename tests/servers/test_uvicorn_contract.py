"""The names of uvicorn's that capture/uvicorn*.py relies on, in the version under test.

A name that has gone makes one of these fail by name, long before a server test fails for a reason.
"""

from __future__ import annotations

import subprocess

import pytest
from harness import PYTHON, environment

CONTRACT = {
    "a server builds its lifespan from its loaded configuration": """
        source = inspect.getsource(Server._serve if hasattr(Server, "_serve") else Server.serve)
        names = ("config.load()", "config.lifespan_class(config)", "startup(")
        steps = [source.index(name) for name in names]
        assert steps == sorted(steps)
        for kind in (LifespanOn, LifespanOff):
            assert list(inspect.signature(kind.__init__).parameters)[1:] == ["config"]
    """,
    "shutdown is a server's last step, and a coroutine": """
        assert inspect.iscoroutinefunction(Server.shutdown)
        assert "lifespan.shutdown()" in inspect.getsource(Server.shutdown)
    """,
    "a connection looks up the application when it is made": """
        for _, protocol in http():
            assert "self.app = config.loaded_app" in inspect.getsource(protocol.__init__)
        assert "self.config.loaded_app" in inspect.getsource(LifespanOn.main)
    """,
    "a configuration says what we ask it": """
        config = Config("shop:app")
        assert {"app", "forwarded_allow_ips", "proxy_headers"} <= vars(config).keys()
        assert "self.http_protocol_class" in inspect.getsource(Config.load)
    """,
    "malformed requests go through send_400_response": """
        for module, protocol in http():
            if not module.__name__.endswith("_h2_impl"):
                assert list(inspect.signature(protocol.send_400_response).parameters) == ["self", "msg"]
                assert "def data_received(self, data: bytes)" in inspect.getsource(protocol.data_received)
    """,
    "the limit on concurrency is looked up in the module": """
        for module, protocol in http():
            assert "app = service_unavailable" in inspect.getsource(protocol)
            assert inspect.iscoroutinefunction(module.service_unavailable)
            assert '"Service Unavailable"' in inspect.getsource(module.service_unavailable)
    """,
    "a cycle knows of its client and of its response": """
        for module, _ in http():
            source = inspect.getsource(module.RequestResponseCycle.__init__)
            for name in ("disconnected", "response_complete", "more_body", "scope", "transport"):
                assert f"self.{name} = " in source, name
            assert "except BaseException" in inspect.getsource(module.RequestResponseCycle.run_asgi)
            answer = inspect.getsource(module.RequestResponseCycle.send_500_response)
            assert 'b"Internal Server Error"' in answer
    """,
    "a cycle begins every head with its default headers": """
        for module, _ in http():
            cycle = module.RequestResponseCycle
            assert "self.default_headers = default_headers" in inspect.getsource(cycle.__init__)
            assert "self.default_headers" in inspect.getsource(cycle.send)
            assert "self.send(" in inspect.getsource(cycle.send_500_response)
    """,
    "a protocol is told when its transport is full, drained, and closed": """
        for _, protocol in http():
            for name in ("pause_writing", "resume_writing", "connection_lost"):
                assert name in vars(protocol), name
    """,
    "httptools tells what it has parsed": """
        source = inspect.getsource(HttpToolsProtocol)
        for line in ('self.url = b""', "self.headers = []", "self.scope = {", "self.parser = httptools"):
            assert line in source, line
    """,
    "WebSocket handshakes are turned down where we look": """
        source = {name: inspect.getsource(module) for name, module in websockets().items()}
        assert "def process_request" in source["websockets_impl"]
        assert "except RemoteProtocolError" in source["wsproto_impl"]
        sansio = source.get("websockets_sansio_impl", "self.response.status_code != 101")
        assert "self.response.status_code != 101" in sansio
        for text in source.values():
            assert "self.scope" in text
    """,
    "the implementation chosen by itself has a name": """
        from uvicorn.protocols.http.auto import AutoHTTPProtocol
        assert AutoHTTPProtocol in [protocol for _, protocol in http()]
    """,
}
PREAMBLE = """
import importlib, inspect, warnings
warnings.simplefilter("ignore")
from uvicorn.config import Config
from uvicorn.lifespan.off import LifespanOff
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server
from server_tracing.capture.uvicorn_patch import HTTP_PROTOCOLS, loaded_protocols

def present(names):
    for name in names:
        try:
            yield importlib.import_module(name)
        except ImportError:
            pass

def http():
    modules = list(present(name for name, _ in HTTP_PROTOCOLS))
    assert len(modules) >= 2
    return list(loaded_protocols())

def websockets():
    names = ("websockets_impl", "websockets_sansio_impl", "wsproto_impl")
    found = present(f"uvicorn.protocols.websockets.{name}" for name in names)
    return {module.__name__.rpartition(".")[2]: module for module in found}
"""


@pytest.mark.parametrize("promise", CONTRACT)
def test_uvicorn_keeps(promise: str) -> None:
    """Read from its source and signatures, in the interpreter under test."""
    lines = CONTRACT[promise].splitlines()
    script = PREAMBLE + "\n".join(line[8:] for line in lines)
    ended = subprocess.run(
        [PYTHON, "-c", script], env=environment({}), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
