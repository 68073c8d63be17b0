# Everything here sets up what it needs first. VENV=… and PYTHON=… override.
VENV ?= .venv
PYTHON ?= python3
# make splits at spaces, so the folder of the project, which may hold some, is never a list of words.
BIN := $(if $(filter /%,$(VENV)),$(VENV),$(CURDIR)/$(VENV))/bin
READY := $(VENV)/.ready
CASES ?= 1000
N = 3
# As it was typed: no $ in it is make's.
override export PROMPT := $(value PROMPT)
A = HEAD
B = workspace
export PATH := $(BIN):$(PATH)

.DEFAULT_GOAL := help
.SILENT: # each command says what it does
.PHONY: help setup setup-cluster repro test check format verify chaos prove fuzz endurance bench sample preset diff \
  seeds experiments plan report scrub checkpoints pictures map lock sbom

help: ## show this
	grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(READY) ## install the locked dependencies into .venv

$(READY): requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || \
	  { echo "error: $(PYTHON) is missing, or older than 3.11, give another one: make PYTHON=python3.12" >&2; exit 1; }
	echo "installing torch and more into $(VENV): some gigabytes, a few minutes"
	$(PYTHON) -m venv "$(VENV)"
	test -t 1 || quiet=--quiet; \
	  "$(BIN)/python" -m pip install $$quiet --disable-pip-version-check -r requirements.txt
	"$(BIN)/python" -m tools.plots_template || true # only the plots need it
	touch "$@"

setup-cluster: $(READY) ## add S3, and Ray and datatrove, which tokenise shards on many machines
	"$(BIN)/python" -m pip install --quiet --disable-pip-version-check \
	  -r requirements-cluster.txt -r requirements-s3.txt

repro: $(READY) ## run what of the pipeline has changed; FORCE=1: every stage
	python -m tools.repro $(if $(FORCE),--force)

test: $(READY) ## run the tests
	OMP_NUM_THREADS=1 python -m pytest -n auto --dist loadfile --no-loadscope-reorder

check: $(READY) ## lint, format, types, and the direction of imports
	ruff check .
	ruff format --check .
	lint-imports --no-cache
	mypy

format: $(READY) ## put the code into its format
	ruff check --fix .
	ruff format .

verify: $(READY) ## prove it equal to Hugging Face's; FORCE=1, HF=gpt2 REVISION=COMMIT
	$(if $(HF),python -m tools.verify_hf "$(HF)" $(if $(REVISION),--revision "$(REVISION)"),python -m tools.repro --verify $(if $(FORCE),--force))

prove: $(READY) ## run the pipeline in two places, compare every byte
	python -m tests.pipeline.prove

chaos: $(READY) ## kill the pipeline a hundred times, compare; TORCHRUN=1: its workers
	python -m $(if $(TORCHRUN),tests.robustness.chaos_distributed --kills 20,tests.robustness.chaos --kills 100)

fuzz: $(READY) ## bad input by the thousand: make fuzz CASES=1000
	python -m tests.robustness.fuzzing --cases $(CASES)

endurance: $(READY) ## 10,000 training steps: memory, open files, speed
	python -m tests.robustness.endurance

bench: $(READY) ## measure speed: ONLY="training", NANOGPT=folder, SHAKESPEARE=file
	@python -m benchmarks.bench $(ONLY) $(if $(NANOGPT),--nanogpt "$(NANOGPT)") \
	  $(if $(SHAKESPEARE),--shakespeare "$(SHAKESPEARE)") $(ARGS)

sample: $(READY) ## a text of the model: PROMPT="Once" MODEL=trained FAST=1 DTYPE=int8
	python -m tools.sample --model "models/$(or $(MODEL),trained)" --prompt "$$PROMPT" \
	  $(if $(FAST)$(DTYPE),--fast "$(or $(DTYPE),float32)") $(ARGS)

preset: $(READY) ## put a preset into params.yaml: make preset NAME=tiny
	python -m tools.preset "$(NAME)"

diff: $(READY) ## did it help? the last commit and now, or A=REV B=REV; ALL=1
	python -m tools.diff "$(A)" "$(B)"$(if $(ALL), --all)

seeds: $(READY) ## how far the seed alone moves the loss: N=3 runs
	python -m tools.check_params
	python -m tools.mend
	python -m tools.seeds "$(N)"

experiments: $(READY) ## all DVC experiments beside the workspace
	python -m tools.experiments

plan: $(READY) ## what a run takes: PRESET=tiny MACHINE=a100 PRICE=2 MEASURE=1
	python -m tools.plan $(if $(PRESET),--preset "$(PRESET)") $(if $(MACHINE),--machine "$(MACHINE)") \
	  $(if $(TOKENS_PER_SECOND),--tokens-per-second "$(TOKENS_PER_SECOND)") \
	  $(if $(PRICE),--price "$(PRICE)") $(if $(MEASURE),--measure) $(ARGS)

checkpoints: $(READY) ## list the runs that have checkpoints, and what they take
	python -m tools.checkpoints

report: $(READY) ## one HTML page of all that the pipeline recorded
	python -m tools.report --out report.html

scrub: $(READY) ## read every byte that DVC keeps, and mend what rotted
	python -m tools.scrub

pictures: $(READY) ## draw the README's pictures anew, from the run here
	python -m tools.pictures

map: $(READY) ## draw the rooms and their imports in CONTRIBUTING.md
	python -m tools.map

lock: ## write the requirements*.txt anew from pyproject.toml
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet torch==2.13.0
	.lock/bin/python -m pip install --quiet '.[dev]'
	.lock/bin/python -m pip freeze --exclude trustworthy-gpt2 | sed 's/+cpu$$//' > requirements.txt
	.lock/bin/python -m pip install --quiet -c requirements.txt '.[cluster]'
	.lock/bin/python -m pip freeze --exclude trustworthy-gpt2 | sed 's/+cpu$$//' | \
	  grep -vxFf requirements.txt > requirements-cluster.txt # what the extra adds
	.lock/bin/python -m pip install --quiet -c requirements.txt '.[s3,s3-server]'
	.lock/bin/python -m pip freeze --exclude trustworthy-gpt2 | sed 's/+cpu$$//' | \
	  grep -vxFf requirements.txt | grep -vxFf requirements-cluster.txt > requirements-s3.txt
	rm -rf .lock build *.egg-info
	echo "the requirements*.txt: the versions of today"

sbom: ## list the locked dependencies in sbom.cdx.json (CycloneDX)
	rm -rf .sbom && $(PYTHON) -m venv .sbom
	.sbom/bin/python -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
	PYTHONWARNINGS=ignore .sbom/bin/python -m cyclonedx_py requirements --pyproject pyproject.toml \
	  --output-reproducible --output-file sbom.cdx.json requirements.txt
	rm -rf .sbom
	echo "sbom.cdx.json: the dependencies of requirements.txt"
