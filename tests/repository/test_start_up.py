"""Which slow packages each script imports before its work: what a job does not use costs it no time.

One process imports what every script needs, then forks once per script; the children import what their scripts import.
`benchmarks/startup.py` measures the seconds.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

SLOW = (
    "torch", "timm", "torchvision", "torch._dynamo", "huggingface_hub", "captum", "safetensors", "onnx", "scipy.special", "scipy.ndimage",
    "scipy.optimize", "scipy.stats", "sklearn", "matplotlib", "matplotlib.pyplot", "seaborn", "h5py", "PIL",
)  # fmt: skip
TABLES, STORES, NETWORK = set[str](), {"h5py"}, {"torch", "safetensors", "h5py"}
IMAGES = {"h5py", "PIL", "scipy.special", "scipy.ndimage"}
FIGURES = {
    "matplotlib",
    "matplotlib.pyplot",
    "PIL",
    "seaborn",
}
USED = {  # by script; a plug-in's own packages come later, if the study uses it, and timm's with the network
    "across": STORES | {"scipy.special", "scipy.ndimage"},
    "adopt": NETWORK, "agreement": STORES, "audit": IMAGES | {"scipy.optimize", "scipy.stats", "sklearn"}, "claims": STORES,
    "estimate": STORES, "explain": NETWORK, "faithfulness": NETWORK, "fetch": TABLES, "figure": STORES | FIGURES,
    "group": IMAGES, "index": STORES, "leakage_check": TABLES, "list_raw": TABLES, "localization": STORES | {"scipy.special", "scipy.ndimage"},
    "merge_scores": STORES, "meta": STORES, "pack_images": IMAGES, "predict": NETWORK | {"scipy.special", "scipy.optimize"},
    "provenance": STORES, "randomise": NETWORK, "split": STORES, "table": STORES, "train": NETWORK, "verdict": STORES, "weights": NETWORK - STORES,
    "packaged_weights": NETWORK - STORES, "table_index": TABLES, "table_provenance": STORES,
    **dict.fromkeys(("table_train", "table_explain", "table_scores"), STORES | {"safetensors"}),
}  # fmt: skip
PROBE = """
import ast, json, os, sys
from pathlib import Path

slow, light, network = json.load(sys.stdin)
import numpy, pandas, psutil, pydantic, yaml, gradfaith.dag.job_work
from snakemake.iocontainers import Snakemake
from snakemake.logging import logger

def imported_by(script):
    reading, writing = os.pipe()
    if not os.fork():
        lines = [ast.unparse(node) for node in ast.parse(Path(script).read_text()).body]
        exec("\\n".join(lines[: lines.index("job = snakemake")]), {})
        os.write(writing, json.dumps([name for name in slow if name in sys.modules]).encode())
        os._exit(0)
    os.close(writing)
    return json.loads(os.fdopen(reading).read() or "null")

found = {Path(script).stem: imported_by(script) for script in light}
import torch
print(json.dumps(found | {Path(script).stem: imported_by(script) for script in network}))
"""


def test_scripts_import_no_slow_package_that_they_do_not_use(root: Path) -> None:
    scripts = sorted((root / "scripts").glob("*.py"))
    light = [str(script) for script in scripts if "torch" not in USED.get(script.stem, ())]
    network = [str(script) for script in scripts if str(script) not in light]
    environment = {key: value for key, value in os.environ.items() if key != "GRADFAITH_PARENT"}
    done = subprocess.run([sys.executable, "-c", PROBE], input=json.dumps([SLOW, light, network]), env=environment,
                          capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {script: set(names) for script, names in json.loads(done.stdout).items()}
    wrong = {
        script: (found.get(script), USED.get(script))
        for script in {*USED, *found}
        if found.get(script) != USED.get(script)
    }
    assert wrong == {}, "imported, and expected"
