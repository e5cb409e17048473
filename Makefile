# Two commands: `make demo` sets up and runs the embedded study, `make test` sets up and passes the tests.

PYTHON ?= python3
BIN := .venv/bin
RUN := env OMP_WAIT_POLICY=PASSIVE PATH="$(CURDIR)/$(BIN):$$PATH"

SMALL_STUDIES ?= paper-phantom-small paper-shortcut-small cam-report-small ranking-small refine-imagenet-small

.PHONY: demo studies resume test test-end-to-end test-all lint docs clean

demo: .venv/run
	$(RUN) snakemake
	$(RUN) snakemake --report results/phantom/report.zip
	@echo "Figures and tables: results/phantom/figures, results/phantom/tables. Report: results/phantom/report.zip"

studies: .venv/run # the small studies of the papers, one after another: make studies SMALL_STUDIES="refine-imagenet-small"
	for study in $(SMALL_STUDIES); do $(RUN) snakemake --configfile config/studies/$$study.yaml || exit 1; done

resume: .venv/run # after a crash or a kill, STUDY=config/studies/X.yaml and PROFILE=slurm as they were; refuses while a job still lives
	$(RUN) gradfaith unlock $(STUDY)
	$(RUN) snakemake $(if $(PROFILE),--workflow-profile $(PROFILE)) $(if $(STUDY),--configfile $(STUDY))

test: .venv/test
	$(RUN) OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadgroup -m "not slow and not end_to_end"

test-end-to-end: .venv/test # whole runs, kills, signals, a real SLURM
	$(RUN) OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadgroup -m "end_to_end and not slow"

test-all: .venv/test
	$(RUN) OMP_NUM_THREADS=1 pytest -q -n 2 --dist loadgroup

lint: .venv/lint
	$(RUN) ruff format --check .
	$(RUN) ruff check .
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile rules workflow/Snakefile
	$(RUN) lint-imports
	$(RUN) snakemake --lint

docs: .venv/docs # the site, into site/; fails at a dead link; no network
	$(RUN) NO_MKDOCS_2_WARNING=1 mkdocs build --quiet

clean: # results and downloads stay
	rm -rf .venv site .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/run: envs/run.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "GradFaith needs Python 3.11 or newer; say PYTHON=python3.12, for instance")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --requirement envs/run.txt
	$(BIN)/pip install --quiet --no-deps --editable .
	$(BIN)/python -m gradfaith.runtime.torchvision_import # a plain `import timm` works, in a notebook, too
	touch $@

.venv/test: .venv/run envs/test.txt envs/peers.txt
	$(BIN)/pip install --quiet --requirement envs/run.txt --requirement envs/test.txt
	$(BIN)/pip install --quiet --no-deps --requirement envs/peers.txt
	touch $@

.venv/lint: .venv/run envs/lint.txt
	$(BIN)/pip install --quiet --requirement envs/run.txt --requirement envs/lint.txt
	touch $@

.venv/docs: .venv/run envs/docs.txt
	$(BIN)/pip install --quiet --requirement envs/run.txt --requirement envs/docs.txt
	touch $@
