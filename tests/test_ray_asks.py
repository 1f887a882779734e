"""What is asked of Ray and nobody has: told in one line, and waited for no longer than the limit. Ray is a stand-in."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest

from cse_autoloss.errors import ConfigError, WorkersLost
from cse_autoloss.executors import Devices, Job, Work
from cse_autoloss.executors.ray_pool import RayExecutor
from cse_autoloss.settings.load import load_config
from cse_autoloss.settings.schema import RaySettings

WORK = Work("cse_autoloss.testing.executors:start", "cse_autoloss.testing.executors:act")


class _Method:
    def __init__(self, method: Any) -> None:
        self._method = method

    def remote(self, *values: Any) -> Any:
        return lambda: self._method(*values)


class _FakeRay(ModuleType):
    """Two nodes. Actors that ask for more than a node has never answer; `seats` actors find a place."""

    exceptions = type("exceptions", (), {"RayError": type("RayError", (Exception,), {})})
    has: dict[str, float] = {"CPU": 2.0, "big": 1.0}  # noqa: RUF012
    seats = 4

    def __init__(self) -> None:
        super().__init__("ray")
        self.asked: dict[str, Any] = {}
        self.stuck: set[Any] = set()
        self.made = 0
        self.ended = False
        self.fault: Exception | None = None

    def is_initialized(self) -> bool:
        return False

    def init(self, **options: Any) -> None:
        if self.fault is not None:
            raise self.fault

    def shutdown(self) -> None:
        self.ended = True

    def nodes(self) -> list[dict[str, Any]]:
        return [{"Alive": True, "Resources": self.has}, {"Alive": True, "Resources": self.has}]

    def cluster_resources(self) -> dict[str, float]:
        return {name: 2 * amount for name, amount in self.has.items()}

    def get_runtime_context(self) -> Any:
        return type("Context", (), {"get_node_id": staticmethod(lambda: "a")})

    def remote(self, **options: Any) -> Any:
        self.asked = options
        wanted = {"CPU": options["num_cpus"], **options["resources"]}
        found = all(self.has.get(name, 0) >= amount for name, amount in wanted.items())

        def decorated(kind: Any) -> Any:
            def make(order: bytes) -> Any:
                actor, self.made = kind(order), self.made + 1
                placed = found and self.made <= self.seats
                fake = type("Actor", (), {"ready": _Method(actor.ready), "run": _Method(actor.run)})
                if not placed:
                    call = fake.ready.remote  # type: ignore[attr-defined]
                    fake.ready.remote = lambda: self._late(call())  # type: ignore[attr-defined]
                return fake

            return type("Remote", (), {"remote": staticmethod(make)})

        return decorated

    def _late(self, answer: Any) -> Any:
        self.stuck.add(answer)
        return answer

    def wait(self, answers: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        return [answer for answer in answers if answer not in self.stuck][:num_returns], []

    def get(self, answer: Any) -> Any:
        return answer()

    def kill(self, actor: Any) -> None:
        pass


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> _FakeRay:
    fake = _FakeRay()
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return fake


def _asks(**values: Any) -> Devices:
    return Devices(ray=RaySettings(**values))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"resources": {"big": 5}}, r"asks for CPU 1, big 5, and no node has .* together have CPU 4, big 2"),
        ({"num_cpus": 3}, r"asks for CPU 3, and no node has as much; all nodes together have CPU 4"),
    ],
)
def test_a_ray_of_this_machine_never_gets_more(ray: _FakeRay, asked: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^ray: a worker {told}$"):
        RayExecutor(WORK, None, _asks(**asked))
    assert ray.ended


def test_a_ray_that_does_not_start_is_told(ray: _FakeRay) -> None:
    ray.fault = Exception("The current node timed out during startup.\nSee raylet.out")
    told = (
        r"^no worker can be started: Ray did not start here: Exception: The current .* during startup\. See"
    )
    with pytest.raises(WorkersLost, match=told):
        RayExecutor(WORK, 1)
    assert ray.ended


def test_a_cluster_may_grow_within_the_limit(ray: _FakeRay) -> None:
    devices = _asks(address="auto", resources={"big": 5})
    told = r"no node has as much; .* waiting for a node that has it, 0\.2 s"
    with pytest.warns(UserWarning, match=told):
        executor = RayExecutor(WORK, 2, devices, start_limit=0.2)
    with executor:
        executor.submit(Job("a", {"do": "echo"}))
        assert executor.next_result(timeout=0.01) is None
        told = r"not one was ready within 0\.2 s: a worker asks for CPU 1, big 5"
        with pytest.raises(WorkersLost, match=told):
            executor.next_result()


def test_fewer_workers_than_asked_for_go_on(ray: _FakeRay) -> None:
    ray.seats = 1
    with RayExecutor(WORK, 2, _asks(address="auto"), start_limit=0.05) as executor:
        for number in range(3):
            executor.submit(Job(str(number), {"do": "sleep", "seconds": 0.05}))
        assert sorted(result.key for result in executor.as_completed()) == ["0", "1", "2"]


def test_workers_are_spread_over_the_nodes(ray: _FakeRay) -> None:
    with RayExecutor(WORK, 2, _asks(num_cpus=0.5)):
        assert ray.asked["scheduling_strategy"] == "SPREAD"


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"ray.resources": {"CPU": 2}}, "expected no CPU: that is ray.num_cpus"),
        ({"ray.resources": {"gpu": 2}}, "expected no gpu: that is ray.num_gpus"),
        ({"ray.resources": {"memory": 2}}, "expected no memory"),
        ({"ray.resources": {"big": 0}}, "big"),
        ({"ray.resources": {"big": 1e300}}, "big"),
        ({"ray.resources": {"big": "inf"}}, "big"),
        ({"ray.num_cpus": 1e9}, "num_cpus"),
        ({"ray.num_gpus": 1.5}, "expected a whole number of GPUs, or a part of one"),
        ({"ray.num_gpus": 1e-9}, "expected a whole number of GPUs, or a part of one"),
    ],
)
def test_what_ray_has_no_words_for_is_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        load_config("smoke", values)
    assert "\n" not in str(error.value)
    assert load_config("smoke", {"ray.num_gpus": 0}).ray.num_gpus == 0
