"""The configurations that we hand out are ones that the servers take."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tools.backends.server import ROOT, build

CONFIG = ROOT / "otel-collector.yaml"


def validate(program: str, *configs: Path) -> subprocess.CompletedProcess[str]:
    """Have the real program check every key of `configs`, the later over the earlier, without any variable set."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL", "JAEGER"))}
    arguments = [f"--config={config}" for config in configs]
    return subprocess.run(
        [build(program), "validate", *arguments], env=clean, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("program", "config"), [("otelcol", CONFIG), ("jaeger", ROOT / "tools" / "backends" / "jaeger.yaml")]
)
def test_every_key_is_valid(program: str, config: Path) -> None:
    """`validate` of the program itself finds nothing wrong, with the defaults of all variables."""
    done = validate(program, config)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "named"),
    [
        ("queue_size", "queue_length", "queue_length"),
        ("sizer: items", "sizer: spans", "sizer"),
        ("otlp_grpc/jaeger:", "otlp_grpc/grafana:", "otlp_grpc/jaeger"),
        ("check_interval: 1s", "check_interval: 0s", "check_interval"),
    ],
)
def test_a_wrong_key_is_found(right: str, wrong: str, named: str, tmp_path: Path) -> None:
    """The check above can fail: a key, a name or a value that does not exist is refused, and named."""
    text = "\n".join(
        line for line in CONFIG.read_text(encoding="utf-8").splitlines() if not line.strip().startswith("#")
    )
    assert right in text
    broken = tmp_path / "otel-collector.yaml"
    broken.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    done = validate("otelcol", broken)
    assert done.returncode != 0
    assert named in done.stderr


def test_the_head_of_the_file_tells_its_variables_and_their_defaults() -> None:
    """What the comment says of the variables is what the configuration does with them."""
    head, body = CONFIG.read_text(encoding="utf-8").split("\n\n", 1)[0], CONFIG.read_text(encoding="utf-8")
    used = dict(re.findall(r"\$\{env:([A-Z_]+):-([^}]*)\}", body))
    assert set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", head)) == set(used)
    for default in used.values():
        assert default in head


def test_all_listen_on_this_machine_only() -> None:
    """Whoever starts it without a thought opens no port to the network."""
    for config in (CONFIG, ROOT / "tools" / "backends" / "jaeger.yaml"):
        addresses = re.findall(
            r"(?:endpoint|host): \$\{env:[A-Z_]+:-([^}]*)\}", config.read_text(encoding="utf-8")
        )
        assert addresses
        assert all(address.startswith("127.0.0.1") for address in addresses)


def test_docker_runs_what_is_tested() -> None:
    """The versions in docker-compose.yaml are those that are built here, and its variables are ones that are read."""
    compose = (ROOT / "docker-compose.yaml").read_text(encoding="utf-8")
    script = (ROOT / "tools" / "backends" / "build").read_text(encoding="utf-8")
    (collector,) = re.findall(r"^collector=v(\S+)", script, re.MULTILINE)
    (jaeger,) = re.findall(r"^jaeger=\S+ +# the same commit as v([\d.]+)", script, re.MULTILINE)
    assert f"image: otel/opentelemetry-collector-contrib:{collector}\n" in compose
    assert f"image: jaegertracing/jaeger:{jaeger} " in compose
    read = set(re.findall(r"\$\{env:([A-Z_]+)", CONFIG.read_text(encoding="utf-8")))
    written = set(re.findall(r"^ +([A-Z_]+): ", compose, re.MULTILINE))
    assert written - read == set()
