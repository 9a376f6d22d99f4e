"""How others find and run the project: containers, the workflow catalog, the documentation site."""

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import yaml
from support.workplace import REPOSITORY

from nmtprune.experiment import schemas

CONTAINERS = ("Dockerfile", "apptainer.def")
DEMO = re.compile(r'snakemake[", ]+--cores[", ]+all[", ]+--config[", ]+preset=toy')


def tool(name):
    file = Path(sys.executable).parent / name
    if not file.exists():
        pytest.skip(f"there is no {name} beside this Python: make .venv/installed-dev")
    return file


def test_the_dockerfile_is_clean():
    done = subprocess.run(
        [tool("hadolint"), REPOSITORY / "envs" / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


@pytest.mark.parametrize("name", CONTAINERS)
def test_containers_install_by_the_script_of_the_makefile_and_run_its_demo(name):
    text = (REPOSITORY / "envs" / name).read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "sh envs/install.sh" in text and "sh envs/install.sh" in makefile
    assert DEMO.search(text) and "snakemake --cores $(CORES) --config preset=toy" in makefile
    assert "python:3.11-" in text and "install --yes --no-install-recommends g++ make" in text


def test_what_the_dockerfile_copies_before_it_installs_is_all_that_installing_reads():
    text = (REPOSITORY / "envs" / "Dockerfile").read_text(encoding="utf-8")
    before = text.partition("RUN PIP_NO_CACHE_DIR")[0]
    assert re.findall(r"^COPY (\S+) ", before, re.MULTILINE) == ["pyproject.toml", "envs", "workflow"]


def test_the_catalog_names_a_preset_and_kinds_of_deployment():
    stated = yaml.safe_load((REPOSITORY / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    usage = stated["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    preset = re.fullmatch(r"--config preset=(\w+)", usage["mandatory-flags"]["flags"]).group(1)
    assert (REPOSITORY / "workflow" / "presets" / f"{preset}.yaml").exists()
    assert (
        usage["software-stack-deployment"]["conda"] is True and (REPOSITORY / "envs" / "conda.yaml").exists()
    )


def test_the_readme_of_the_configuration_speaks_of_settings_that_are_there():
    text = (REPOSITORY / "config" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    settings = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert len(settings) >= 8 and set(settings) <= set(schemas.read("config")["properties"])


@pytest.mark.parametrize(
    ("url", "text", "shown"),
    [
        (
            "https://example.org/n",
            "[a](../CONTRIBUTING.md)",
            "[a](https://example.org/n/blob/main/CONTRIBUTING.md)",
        ),
        (None, "see [a](../CONTRIBUTING.md).", "see a."),
        (None, "[b](../chains.md) [c](numbers.md)", "[b](../chains.md) [c](numbers.md)"),
    ],
)
def test_links_of_the_site_stay_within_it_or_lead_to_the_repository(url, text, shown):
    namespace = {}
    exec((REPOSITORY / "docs" / "mkdocs_links.py").read_text(encoding="utf-8"), namespace)
    where = "methods/see2016.md" if "chains" in text else "index.md"
    page = types.SimpleNamespace(file=types.SimpleNamespace(src_uri=where))
    made = namespace["on_page_markdown"](text, page=page, config=types.SimpleNamespace(repo_url=url))
    assert made == shown


def test_the_site_has_every_page_and_no_broken_link(tmp_path):
    done = subprocess.run(
        [tool("mkdocs"), "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        env={"PATH": "/usr/bin:/bin", "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = {
        file.relative_to(REPOSITORY / "docs").with_suffix("") for file in (REPOSITORY / "docs").rglob("*.md")
    }
    wanted = {str(page) for page in pages if page.parts[0] != "examples"} - {"index"}
    assert all((tmp_path / "site" / page / "index.html").exists() for page in wanted)
    html = "".join(file.read_text(encoding="utf-8") for file in (tmp_path / "site").rglob("*.html"))
    loaded = re.findall(r'<(?:script|img|link|iframe)[^>]+(?:src|href)="(https?://[^"]+)"', html)
    assert loaded == []
