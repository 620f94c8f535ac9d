# One command on a fresh machine is enough: `make reproduce` builds the environment, runs what is not up to date
# and writes results/<DATASET>/<PROFILE>/index.html. Which runs there are, and what each depends on, is in
# study.yml; `python -m shoplens.study graph` decides what must be done; Make gets rules for just that.

DATASET ?= bazaar
PROFILE ?= laptop
RUN ?=
SEEDS ?=
NUM_PROCESSES ?=
PYTHON ?=
YES ?=
VERIFY ?=
RETRAIN ?=

# What must run is decided in Python: with these flags make would say, or mark as done, what is not so.
ifneq ($(strip $(foreach flag,n t q,$(findstring $(flag),$(filter-out --%,$(firstword -$(MAKEFLAGS)))))),)
$(error make -n, -t and -q know nothing of the runs; `make status` says which are done, and why others are not)
endif

# On a CPU two runs at a time, each on half of the cores, are faster than one on all: reading, figures and small steps do
# not fill them. A GPU, or a training of several processes, is one run's alone. make -j says otherwise.
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
JOBS ?= $(shell if [ "$(CORES)" -lt 2 ] || [ -n "$(NUM_PROCESSES)" ] || [ "$$(uname)" = Darwin ] || \
	nvidia-smi -L >/dev/null 2>&1; then echo 1; else echo 2; fi)
ifneq ($(JOBS),$(filter 1 2,$(firstword $(JOBS))))
ifeq ($(shell printf '%s\n' '$(JOBS)' | grep -xE '0*[1-9][0-9]*'),)
$(error JOBS=$(JOBS) must be a whole number from 1, such as JOBS=2)
endif
endif
BESIDE = $(if $(findstring jobserver,$(MAKEFLAGS)),,$(if $(filter-out 1,$(JOBS)),-j$(JOBS)))
THREADS = $(if $(BESIDE),OMP_NUM_THREADS=$${OMP_NUM_THREADS:-$$(( $(CORES) / $(JOBS) > 0 ? $(CORES) / $(JOBS) : 1 ))})

export NUM_PROCESSES
# VERIFY=1: files are read anew, whatever their size and date. RETRAIN=1: finished trainings are done again. Text is
# UTF-8, whatever the terminal's language.
export VERIFY
export RETRAIN
export PYTHONUTF8 := 1
export STUDY_ROOT := $(CURDIR)
export PYTHONPATH := $(CURDIR)/lib$(if $(PYTHONPATH),:$(PYTHONPATH))

# PYTHON=python uses the environment at hand (conda, for one); otherwise .venv is made and kept in step with the pins.
ifeq ($(strip $(PYTHON)),)
export PY := .venv/bin/python
ENV := .venv/.stamp
else
export PY := $(PYTHON)
ENV :=
endif

HERE := --dataset "$(DATASET)" --profile "$(PROFILE)"

# JupyterLab asks to be told that it is root's, the usual user of a container.
AS_ROOT = $(if $(filter 0,$(shell id -u)),--allow-root)

.DEFAULT_GOAL := help
.PHONY: help env check-env data reproduce report status test bench lab accept-reference verify readme clean \
	coursework coursework-test coursework-accept grade

help: ## this list
	@echo "make <target> [VARIABLE=value ...]"
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' Makefile | while IFS='|' read -r name text; do \
		printf '%-20s %s\n' "  $$name" "$$text"; done
	@echo
	@echo "  DATASET=$(DATASET)  PROFILE=$(PROFILE)  which catalogue, at which size; names are in study.yml"
	@echo "  RUN=02_bcnn         one run and what it needs"
	@echo "  SEEDS=\"0 1 2\"       repeat the runs that allow it; empty: as often as the profile says"
	@echo "  JOBS=$(JOBS)              runs at a time; on a CPU two, each on half of the cores"
	@echo "  NUM_PROCESSES=2     processes of one training"
	@echo "  VERIFY=1            status: read every file a run wrote, not those alone whose size or date changed"
	@echo "  RETRAIN=1           reproduce: train again what the same code has trained from the same weights and images"
	@echo "  ONLY=\"02 08\"        coursework, grade: these notebooks; ROSTER=file.csv: other numbers for each student"
	@echo "  PYTHON=python       use this interpreter and its packages instead of .venv"
	@echo "  STUDY_DATA, STUDY_WEIGHTS, STUDY_CACHE   folders instead of data/, weights/, cache/"

env: $(ENV) ## .venv with the pinned packages (nothing to do with PYTHON=)

.venv/.stamp: requirements.txt pyproject.toml
	@found=; for python in python3.11 python3 python3.12 python3.13; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "error: no Python 3.11 or newer on PATH; install one or give PYTHON=... with the packages in it" >&2; exit 1; \
	fi; \
	echo "Installing the pinned packages into .venv with $$found (the first time: minutes, gigabytes)" && $$found -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

check-env: env ## torch, torchvision and faiss together; which profile this machine suits
	@$(PY) -m shoplens.environment

data: env ## find or download the raw data of DATASET and prepare its catalogue
	@$(PY) -m shoplens.prepare_data $(HERE)

# The old report would show what a failed run took back. After Ctrl-C, which ends the runs, the shell stays to write it;
# where make itself was killed, nobody waits for it.
reproduce: env ## run whatever is not up to date, then write the report
	@rules=$$($(PY) -m shoplens.study graph $(HERE) --seeds "$(SEEDS)" --run "$(RUN)") || exit; \
	if [ -z "$$rules" ]; then \
		echo "Nothing to do: $(DATASET)/$(PROFILE)$(if $(RUN), $(RUN)) is up to date (results/$(DATASET)/$(PROFILE))."; \
	else \
		trap : INT; parent=$$PPID; \
		printf '%s\n' "$$rules" | SHOPLENS_PARENT=$$PPID $(THREADS) $(MAKE) $(BESIDE) -s --no-print-directory -f - || { \
			code=$$?; kill -0 $$parent 2>/dev/null || exit $$code; \
			$(PY) -m shoplens.report.index_page $(HERE) && \
				echo "Not everything was made; the report says which runs are missing, and why."; \
			exit $$code; \
		}; \
	fi

report: env ## results/DATASET/PROFILE/index.html from what there is, failed runs included
	@$(PY) -m shoplens.report.index_page $(HERE)

status: env ## which runs are done, stale (and why), failed or running, and the minutes they took
	@$(PY) -m shoplens.study status $(HERE) --seeds "$(SEEDS)"

test: env ## all tests; with STUDY_DATA and STUDY_WEIGHTS those on real data too
	@OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder

bench: env ## speed and memory of input, training, MCR, search and learning beside what one would use instead
	@$(PY) -m benchmarks --dataset "$(DATASET)"

lab: env ## JupyterLab, opened on the notebooks
	@$(PY) -m jupyterlab --LabApp.default_url=/lab/tree/notebooks/01_catalogue.ipynb $(AS_ROOT)

accept-reference: env ## copy tables, figures and records of finished runs to results/reference/
	@$(PY) -m shoplens.study accept-reference $(HERE) --seeds "$(SEEDS)" --run "$(RUN)"

verify: env ## compare your tables with results/reference/: bitwise, numerically, statistically (tolerances.yml)
	@$(PY) -m shoplens.study verify $(HERE) --seeds "$(SEEDS)" --run "$(RUN)"

readme: env ## the tables of README.md from results/reference/; a test fails where they differ
	@$(PY) -m shoplens.report.readme

coursework: env ## notebooks of exercises for students, with solutions, for instructors: build/coursework (docs/coursework.md)
	@$(PY) -m shoplens.coursework.build --only "$(ONLY)" --dataset "$(DATASET)" --roster "$(ROSTER)" --text "$(TEXT)"

coursework-test: env ## the coursework's own tests: solutions, wrong programs, hostile submissions
	@OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=2 --dist=loadfile --no-loadscope-reorder tests/coursework

coursework-accept: env ## exercises fit the library's functions as they are now; do it after looking at both
	@$(PY) -m shoplens.coursework.library

grade: env ## marks, feedback, which check fails how often: SUBMITTED=folder SECRET=file [SANDBOX=docker|podman|bwrap]
	@$(PY) -m shoplens.coursework.grade --submitted "$(SUBMITTED)" --secret "$(SECRET)" --sandbox "$(SANDBOX)" \
		--only "$(ONLY)" --dataset "$(DATASET)" --roster "$(ROSTER)" --written "$(WRITTEN)"

clean: ## remove all results except reference and paper (asks first; YES=1 does not)
	@if [ "$(YES)" != 1 ]; then \
		printf 'Remove all results and checkpoints except results/reference and results/paper? [y/N] '; \
		read -r answer || answer=; case "$$answer" in y|Y|yes) ;; *) echo "Kept."; exit 1;; esac; \
	fi; \
	for folder in results/*; do \
		case "$$folder" in results/reference|results/paper) ;; *) rm -rf "$$folder";; esac; \
	done
