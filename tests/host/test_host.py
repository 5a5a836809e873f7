"""Plugins are found through entry points, fail on their own, and never win a name silently."""

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from configparser import ConfigParser
from importlib import metadata
from pathlib import Path

import pytest

from eap_plugin.errors import EapPluginError, UsageError
from eap_plugin.host import Host
from eap_plugin.host.kinds import KINDS

ROOT = Path(__file__).parents[2]

GOOD = """
    from eap_plugin.host import hookimpl
    class Metric:
        summary = "always zero"
        def __init__(self, name): self.name = name
        def __call__(self, logits, batch): return 0
    @hookimpl
    def register_metrics(register):
        register(Metric("zero"))
        register(Metric("nought"))
"""
OTHER = GOOD.replace('"zero"', '"other"').replace('"nought"', '"another"')
NOT_A_METRIC = """
    from eap_plugin.host import hookimpl
    class Metric:
        name, summary = "half", "not callable"
    @hookimpl
    def register_metrics(register):
        register(Metric())
"""


class Site:
    """A folder of installed distributions, each with one plugin module."""

    def __init__(self, folder):
        self.folder = folder

    def install(self, dist, code, *, version="1.0", entry="plugin", attribute=""):
        module = f"module_of_{dist.replace('-', '_')}" if dist == "eap-plugin" else dist.replace("-", "_")
        (self.folder / f"{module}.py").write_text(textwrap.dedent(code))
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {dist}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[eap_plugin]\n{entry} = {module}{attribute}\n")

    def host(self):
        dists = metadata.distributions(path=[str(self.folder)])
        return Host(entry_points=[e for d in dists for e in d.entry_points if e.group == "eap_plugin"])


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.delenv("EAP_PLUGIN_STRICT", raising=False)
    monkeypatch.delenv("EAP_PLUGIN_DISABLE", raising=False)
    monkeypatch.delenv("EAP_PLUGIN_PREFER", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield Site(tmp_path)
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and tmp_path in Path(sys.modules[name].__file__).parents:
            del sys.modules[name]


def states(host):
    return {info.name: info.state for info in host.plugins()}


def reason(host, name):
    (info,) = [info for info in host.plugins() if info.name == name]
    assert info.state == "failed"
    assert "\n" not in info.reason
    return info.reason


def test_a_plugin_is_listed_and_its_things_found_by_name(site):
    site.install("acme", GOOD, version="2.3")
    host = site.host()
    (info,) = host.plugins()
    assert (info.name, info.distribution, info.version) == ("acme:plugin", "acme", "2.3")
    assert (info.hooks, info.state, info.reason) == (("register_metrics",), "ok", "")
    metrics = host.registry("metrics")
    assert list(metrics) == ["nought", "zero"]
    assert len(metrics) == 2
    assert "zero" in metrics
    assert metrics["zero"](None, None) == 0
    assert metrics.provider("zero") == info
    assert host.registry("metrics") is metrics
    assert list(host.registry("tasks")) == []
    assert host.warnings() == []


def test_listing_calls_no_hook_and_a_registry_calls_only_its_own(site):
    site.install(
        "acme",
        """
        from eap_plugin.host import hookimpl
        called = []
        @hookimpl
        def register_metrics(register): called.append("metrics")
        @hookimpl
        def register_tasks(register): called.append("tasks")
        """,
    )
    host = site.host()
    assert host.plugins()[0].hooks == ("register_metrics", "register_tasks")
    called = sys.modules["acme"].called
    assert called == []
    host.registry("tasks")
    host.registry("tasks")
    assert called == ["tasks"]


def test_an_entry_point_may_be_an_object(site):
    code = textwrap.dedent(GOOD).replace("def register_metrics(register)", "def register_metrics(self, register)")
    head, hook = code.split("@hookimpl")
    hook = textwrap.indent("@hookimpl" + hook, "    ")
    site.install("acme", f"{head}class Plugin:\n{hook}\nplugin = Plugin()\n", attribute=":plugin")
    assert list(site.host().registry("metrics")) == ["nought", "zero"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (
            "import no_such_module_anywhere",
            "cannot load bad: ModuleNotFoundError: No module named 'no_such_module_anywhere' (install",
        ),
        ("raise RuntimeError('first line\\nsecond line')", "RuntimeError: first line second line"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("raise KeyboardInterrupt('not pressed')", "KeyboardInterrupt: not pressed"),
        ("class Stop(BaseException): pass\nraise Stop('everything')", "Stop: everything"),
        ("def broken(:", "SyntaxError"),
        ("def register_metrics(register): pass", "implements no hook; decorate one with eap_plugin.hookimpl"),
    ],
)
def test_a_plugin_that_cannot_be_imported_is_reported_and_the_others_work(site, code, said):
    site.install("bad", code)
    site.install("good", GOOD)
    host = site.host()
    assert states(host) == {"bad:plugin": "failed", "good:plugin": "ok"}
    assert said in reason(host, "bad:plugin")
    advice = "update bad, tell its author, or set EAP_PLUGIN_DISABLE=bad:plugin"
    assert host.warnings() == [f"plugin bad:plugin 1.0 failed: {reason(host, 'bad:plugin')}; {advice}"]
    assert "zero" in host.registry("metrics")


def test_ctrl_c_while_a_plugin_is_imported_is_not_its_failure(site):
    site.install("slow", "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    with pytest.raises(KeyboardInterrupt):
        site.host().plugins()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        (
            "register_metric(register)",
            "register_metric(register): unknown hook 'register_metric'; did you mean",
        ),
        ("register_metric(register)", "(known: register_algorithms, register_backends, register_formats, "),
        ("register_metrics(register, extra)", "; hookimpl definition: register_metrics(register, extra); "),
        ("register_metrics(register, extra)", "(known hooks: register_algorithms(register), "),
        ("register_metrics()", "register_metrics() must take one argument named 'register'"),
    ],
)
def test_a_hook_the_host_cannot_call_is_a_failure(site, signature, said):
    site.install("bad", f"from eap_plugin.host import hookimpl\n@hookimpl\ndef {signature}: pass\n")
    site.install("good", GOOD)
    host = site.host()
    assert said in reason(host, "bad:plugin")
    assert list(host.registry("metrics")) == ["nought", "zero"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('register(Metric("nought"))', "1 / 0", "register_metrics: ZeroDivisionError: division by zero"),
        ('register(Metric("nought"))', 'register(Metric("zero"))', "metric 'zero' is registered twice"),
        ('register(Metric("nought"))', "register(Metric)", "register an instance of Metric, not the class"),
        ("self.name = name", "self.name = None", "a metric must have a .name of letters, digits"),
        ('"zero"', '"two words"', "Metric has 'two words'"),
        ('summary = "always zero"', "", "metric 'zero' lacks .summary"),
        ("def __call__", "def call", "metric 'zero' lacks .__call__"),
    ],
)
def test_a_plugin_that_registers_wrongly_fails_alone_and_for_that_kind_only(site, old, new, said):
    tasks = "    @hookimpl\n    def register_tasks(register): pass\n"
    assert old in GOOD
    site.install("bad", GOOD.replace(old, new) + tasks)
    site.install("good", OTHER)
    host = site.host()
    assert states(host)["bad:plugin"] == "ok"
    assert list(host.registry("metrics")) == ["another", "other"]
    assert said in reason(host, "bad:plugin")
    with pytest.raises(UsageError, match=r"failed to load \(bad:plugin\)"):
        host.registry("metrics")["zero"]
    with pytest.raises(UsageError, match=r"\(known: none\)$"):
        host.registry("tasks")["zero"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_names_every_attribute_an_object_lacks(kind):
    thing = type("Thing", (), {"name": "thing"})()
    with pytest.raises(EapPluginError) as error:
        KINDS[kind].check(thing)
    assert str(error.value).endswith("lacks ." + ", .".join(KINDS[kind].attributes))
    for attribute in KINDS[kind].attributes:
        setattr(type(thing), attribute, lambda self: None)
    assert KINDS[kind].check(thing) == "thing"


def test_an_unknown_name_is_answered_with_the_nearest_and_the_failures(site):
    site.install("good", GOOD)
    with pytest.raises(UsageError, match=r"unknown metric 'zeroo'; did you mean 'zero'\? \(known: nought, zero\)$"):
        site.host().registry("metrics")["zeroo"]
    site.install("bad", "1 / 0")
    site.install("worse", "1 / 0")
    with pytest.raises(UsageError, match=r"; 2 plugins failed to load \(bad:plugin, worse:plugin\): see `eap plug"):
        site.host().registry("metrics").provider("zeroo")
    with pytest.raises(UsageError, match="unknown kind of registry 'metric'; did you mean 'metrics'"):
        site.host().registry("metric")


def test_a_name_claimed_twice_belongs_to_neither_and_the_other_names_work(site):
    site.install("first", GOOD, version="1.0")
    site.install("second", GOOD.replace('"nought"', '"nil"'), version="2.0")
    host = site.host()
    metrics = host.registry("metrics")
    assert states(host) == {"first:plugin": "ok", "second:plugin": "ok"}
    assert metrics["nought"].name == "nought"
    assert metrics.provider("nil").distribution == "second"
    assert list(metrics) == ["nil", "nought"]
    assert len(metrics) == 2
    assert "zero" in metrics
    for use in (lambda: metrics["zero"], lambda: metrics.provider("zero")):
        with pytest.raises(EapPluginError) as error:
            use()
        assert "metric 'zero' is registered by first:plugin 1.0 and by second:plugin 2.0" in str(error.value)
        assert "EAP_PLUGIN_PREFER=first:plugin" in str(error.value)
        assert metrics.conflicts == [str(error.value)]
    with pytest.raises(UsageError, match=r"unknown metric 'nouhgt'.*; metric 'zero' is registered by first"):
        metrics["nouhgt"]


def test_a_built_in_name_stays_the_built_in_one_unless_another_is_preferred(site, monkeypatch):
    site.install("eap-plugin", GOOD)
    site.install("other", GOOD, version="2.0")
    metrics = site.host().registry("metrics")
    assert metrics.provider("zero").distribution == "eap-plugin"
    assert list(metrics) == ["nought", "zero"]
    assert metrics.conflicts[1] == (
        "metric 'zero' is registered by eap-plugin:plugin 1.0 and by other:plugin 2.0; "
        "that of eap-plugin:plugin is used, EAP_PLUGIN_PREFER=other:plugin chooses the other"
    )
    monkeypatch.setenv("EAP_PLUGIN_PREFER", "other")
    assert site.host().registry("metrics").provider("zero").distribution == "other"
    monkeypatch.setenv("EAP_PLUGIN_PREFER", "othr")
    assert site.host().warnings() == [
        "EAP_PLUGIN_PREFER: unknown plugin 'othr'; did you mean 'other'? "
        "(known: eap-plugin, eap-plugin:plugin, other, other:plugin, plugin)"
    ]


@pytest.mark.parametrize("name", ["acme-eap", "Acme_EAP", "special", "acme-eap:special", " nobody , special"])
def test_a_disabled_plugin_is_not_even_imported(site, monkeypatch, name):
    site.install("acme-eap", "1 / 0", entry="special")
    site.install("good", GOOD)
    monkeypatch.setenv("EAP_PLUGIN_DISABLE", name)
    host = site.host()
    assert states(host) == {"acme-eap:special": "disabled", "good:plugin": "ok"}
    assert "acme_eap" not in sys.modules
    assert host.plugins()[0].reason == "disabled by EAP_PLUGIN_DISABLE"


def test_disabling_a_plugin_that_is_not_there_is_reported(site, monkeypatch):
    site.install("good", GOOD)
    monkeypatch.setenv("EAP_PLUGIN_DISABLE", "goood")
    assert site.host().warnings() == [
        "EAP_PLUGIN_DISABLE: unknown plugin 'goood'; did you mean 'good'? (known: good, good:plugin, plugin)"
    ]


def test_strict_turns_failures_into_errors(site, monkeypatch):
    monkeypatch.setenv("EAP_PLUGIN_STRICT", "1")
    site.install("half", NOT_A_METRIC)
    host = site.host()
    assert states(host) == {"half:plugin": "ok"}
    with pytest.raises(EapPluginError, match=r"plugin half:plugin 1.0 failed: register_metrics: metric 'half' lacks"):
        host.registry("metrics")
    site.install("bad", "1 / 0")
    host = site.host()
    for _ in range(2):
        with pytest.raises(EapPluginError, match=r"plugin bad:plugin 1\.0 failed: cannot load bad: Zero"):
            host.plugins()
    monkeypatch.setenv("EAP_PLUGIN_STRICT", "0")
    assert states(site.host()) == {"bad:plugin": "failed", "half:plugin": "ok"}
    monkeypatch.setenv("EAP_PLUGIN_STRICT", "perhaps")
    with pytest.raises(UsageError, match="EAP_PLUGIN_STRICT must be 1 or 0, got 'perhaps'"):
        site.host()


def test_a_hook_that_asks_the_host_for_names_is_told_to_wait(site, monkeypatch):
    site.install(
        "eager",
        """
        from eap_plugin.host import hookimpl
        @hookimpl
        def register_metrics(register):
            import eap_plugin.host
            eap_plugin.host.get_host().registry("metrics")
        """,
    )
    site.install("good", GOOD)
    host = site.host()
    monkeypatch.setattr("eap_plugin.host.get_host", lambda: host)
    assert list(host.registry("metrics")) == ["nought", "zero"]
    assert "look them up when they are used" in reason(host, "eager:plugin")


def test_threads_that_ask_at_once_get_the_same_answer(site):
    site.install("slow", "import time; time.sleep(0.2)" + textwrap.dedent(GOOD))
    host = site.host()
    with ThreadPoolExecutor(4) as pool:
        answers = [pool.submit(host.registry, "metrics") for _ in range(4)]
    assert {id(answer.result()) for answer in answers} == {id(host.registry("metrics"))}


def in_new_process(code, *folders):
    env = {k: v for k, v in os.environ.items() if not k.startswith("EAP_PLUGIN_")}
    env["PYTHONPATH"] = os.pathsep.join(map(str, (*folders, ROOT)))
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def declared_entry_points():
    """Return the entry points that the project declares, as an installer would write them."""
    text = (ROOT / "pyproject.toml").read_text().replace('"', "")
    section = text.split("[project.entry-points.eap_plugin]")[1].split("\n[")[0]
    parser = ConfigParser()
    parser.read_string(f"[eap_plugin]{section}")
    return dict(parser["eap_plugin"])


def test_the_built_ins_come_through_entry_points_and_listing_imports_no_torch(tmp_path):
    info = tmp_path / "eap_plugin-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: eap-plugin\nVersion: 0\n")
    lines = [f"{name} = {module}" for name, module in declared_entry_points().items()]
    (info / "entry_points.txt").write_text("\n".join(["[eap_plugin]", *lines]))
    printed = in_new_process(
        """
        import sys
        from eap_plugin.host import get_host
        assert get_host() is get_host()
        for info in get_host().plugins():
            print(info.name, info.state)
        print("torch" in sys.modules)
        """,
        tmp_path,
    )
    names = [f"eap-plugin:{name}" for name in sorted(declared_entry_points())]
    assert printed == [word for name in names for word in (name, "ok")] + ["False"]
