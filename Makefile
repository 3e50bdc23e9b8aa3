# Everything a newcomer needs: `make demo` and `make test` set up what they use by themselves.
# Needs python3 (3.11 or newer) and make; writes to this folder and to the package caches only.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

PYTHON ?= python3
UV := .uv/bin/uv
BIN := .venv/bin
LOCKED_SERVICES := api conductor retrieval generator trainer judge
WORKSPACE := libs/contracts libs/planning libs/verdict libs/runtime libs/store libs/encoders services/api \
	services/conductor services/retrieval services/generator services/trainer services/judge clients/python stack \
	miniverse
PYPROJECTS := pyproject.toml $(WORKSPACE:%=%/pyproject.toml)
SOURCES := libs services clients stack miniverse images tests
TESTS ?= unit contract architecture integration demo e2e faults containers
# Whole systems take every core by themselves; the other tests run in several processes, a file in one.
WHOLE_SYSTEMS := demo e2e faults containers
PROCESSES := --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder
COMPOSE ?= docker compose

# The environment of this folder alone: nothing that is installed elsewhere leaks in. And bytecode is kept: without it
# a worker compiles 4,000 modules whenever it starts, which takes three times as long.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV PYTHONDONTWRITEBYTECODE
# Machines behind a proxy have its certificate in the system's store, which uv does not read by itself.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS ?= true
endif

.PHONY: help setup demo miniverse-report up down scrub collect takedown backup restore compose-up test faults fuzz contract lint types imports tests containers bench gpu-check \
	gpu-wheels browser tex containers-engine lock clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## Create .venv with everything pinned in requirements.lock

demo: .venv/ready ## Run the quick-look study end to end on local servers and print its verdict
	@$(BIN)/python -m touchstone_stack demo

miniverse-report: .venv/ready ## How fair the miniverse is: generated beside real pictures, judged independently
	@HF_HUB_OFFLINE=1 $(BIN)/python -m touchstone_miniverse.report

up: .venv/ready ## Start servers, api, conductor and workers as local processes
	@$(BIN)/python -m touchstone_stack up

down: .venv/ready ## Stop what `make up` started; data stays
	@$(BIN)/python -m touchstone_stack down

scrub: .venv/ready ## Read every stored result of `make up`; what is damaged is computed again
	@$(BIN)/python -m touchstone_stack scrub

collect: .venv/ready ## Say what nobody needs any more of `make up`'s data; DELETE=1 removes it, GRACE=24 WEIGHTS=chosen stay
	@$(BIN)/python -m touchstone_stack collect --grace-hours $(or $(GRACE),24) --weights $(or $(WEIGHTS),chosen) \
		$(if $(DELETE),--delete)

takedown: .venv/ready ## No step of `make up` uses an image any more; IMAGE=sha256 or KEY=key-or-URL, REASON="..." LOOK=1
	@$(BIN)/python -m touchstone_stack takedown --image "$(IMAGE)" --key "$(KEY)" --reason "$(REASON)" $(if $(LOOK),--look)

backup: .venv/ready ## Copy the data of `make up` to TO=folder: database, then bucket; again for what is new; PRUNE=1
	@test -n "$(TO)" || { echo "say where: make backup TO=folder"; exit 2; }
	@$(BIN)/python -m touchstone_stack backup --to "$(TO)" $(if $(PRUNE),--prune)

restore: .venv/ready ## Bring a backup back into `make up`: FROM=folder; REPLACE=1 where that loses experiments
	@test -n "$(FROM)" || { echo "say from where: make restore FROM=folder"; exit 2; }
	@$(BIN)/python -m touchstone_stack restore --from "$(FROM)" $(if $(REPLACE),--replace)

# Pulls the images where TOUCHSTONE_REGISTRY names a registry, builds them here otherwise.
compose-up: .env ## Start the system in containers; writes .env with fresh secrets if there is none
	@if grep -qs '^TOUCHSTONE_REGISTRY=.' .env; then $(COMPOSE) pull && $(COMPOSE) up --detach --no-build; \
		else $(COMPOSE) up --detach --build; fi
	@$(COMPOSE) ps

# Never written over: the data is locked with the secrets in it.
.env:
	@umask 077 && $(PYTHON) -c 'import re, secrets, string; letters = string.ascii_letters + string.digits; \
		fresh = lambda line: line[0] + "".join(secrets.choice(letters) for _ in range(20)); \
		print(re.sub(r"(?m)^[A-Z0-9_]+=$$", fresh, open(".env.example").read()), end="")' > $@
	@echo "wrote .env with fresh secrets"

test: lint types imports tests ## Lint, type-check, check the import arrows and run every test

lint: .venv/ready ## Ruff
	$(BIN)/ruff check $(SOURCES)

types: .venv/ready ## mypy
	$(BIN)/mypy --num-workers 2 $(SOURCES)

imports: .venv/ready ## Who may import whom
	$(BIN)/lint-imports

PARTS = $(filter-out $(WHOLE_SYSTEMS),$(TESTS))
WHOLES = $(filter $(WHOLE_SYSTEMS),$(TESTS))
tests: .venv/ready browser tex containers-engine
	@failed=0; \
	$(if $(PARTS),$(BIN)/pytest $(PROCESSES) $(PARTS:%=tests/%) || failed=1;) \
	$(if $(WHOLES),$(BIN)/pytest $(WHOLES:%=tests/%) || failed=1;) \
	exit $$failed

containers: .venv/ready containers-engine ## Build every image, run an experiment in containers, kill, scale, restart; needs 30 GB
	$(BIN)/pytest tests/containers --every-image

faults: .venv/ready ## Crash, kill, flush, fill, cut off, spoil: the results stay the same; SEEDS="1 2 3 4": 100 minutes
	$(BIN)/pytest $(PROCESSES) tests/faults --whole-faults --seeds "$(or $(SEEDS),1)" --timeout 7200

fuzz: .venv/ready ## Try 10,000 generated requests and more on each database: no bug, nothing undocumented; SEEDS="1"; minutes
	$(BIN)/pytest tests/integration/test_api_fuzzing.py --whole-fuzz --seeds "$(or $(SEEDS),1)" --timeout 7200 -s

contract: .venv/ready ## Renew the frozen OpenAPI document after a change that breaks nobody
	@cd tests && ../$(BIN)/python -m support.published_openapi

# One thread each, on both sides: CPU seconds are then comparable on a busy machine too.
bench: .venv/ready ## Measure ours against the peers' own code; ONLY="probe_path ..." for some; takes minutes
	@cd tests && HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 \
		../$(BIN)/python -m benchmarks $(ONLY)

# Without WHEELS in the environment of this folder; with it on the Python that has torch, without any network: the
# packages of that folder go before the machine's own, and our own run from their sources.
GPU_SITE := .touchstone/gpu-site
GPU_SOURCES := tests $(foreach name,contracts runtime encoders,libs/$(name)/src) \
	$(foreach name,generator trainer,services/$(name)/src)
space := $(subst ,, )
gpu-check: ## Check and measure on this machine's CUDA device; docs/gpu.md; WHEELS=folder without a network
ifdef WHEELS
gpu-check:
	@$(PYTHON) tests/gpu/wheels.py install $(WHEELS) $(GPU_SITE)
	@HF_HUB_OFFLINE=1 PYTHONPATH=$(subst $(space),:,$(strip $(GPU_SITE) $(GPU_SOURCES))) $(PYTHON) -m gpu $(ONLY)
else
gpu-check: .venv/ready
	@cd tests && HF_HUB_OFFLINE=1 ../$(BIN)/python -m gpu $(ONLY)
endif

gpu-wheels: .venv/ready ## Fill WHEELS=folder for `make gpu-check` elsewhere; GPU_PYTHON=3.12 HAS="numpy pyarrow" TORCHVISION=
	@$(BIN)/python tests/gpu/wheels.py download $(or $(WHEELS),.touchstone/gpu-wheels) --pip .uv/bin/python \
		--python $(or $(GPU_PYTHON),3.12) --without "$(HAS)" --torchvision "$(TORCHVISION)"

# What some tests need of the system: as root on Debian it is installed; elsewhere, without it, these tests are skipped
# (and fail where CI is set). $(call installed,PRESENT,WHAT,PACKAGES): `PRESENT` succeeds where nothing need be done.
define installed
	@if ! { $(1); } && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "installing $(2) for the tests"; \
		{ apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $(3); } \
			>/dev/null || echo "$(2) could not be installed"; \
	fi
endef

# The dashboard is tested in a real browser.
browser:
	$(call installed,command -v chromium >/dev/null,chromium,chromium fonts-dejavu-core)

# The LaTeX of reports is compiled (48 MB to download, 151 MB installed).
tex:
	$(call installed,for each in tectonic pdflatex lualatex; do command -v $$each >/dev/null && break; done,texlive,\
		texlive-latex-base texlive-latex-recommended)

# Images are tested by a real engine.
containers-engine:
	$(call installed,command -v dockerd >/dev/null || docker info >/dev/null 2>&1,a container engine,\
		docker.io debootstrap iptables)

lock: .uv/ready ## Resolve again and rewrite every requirements.lock
	$(UV) lock --quiet
	$(UV) export $(EXPORT) --all-packages --all-groups --output-file requirements.lock
	for name in $(LOCKED_SERVICES); do \
		$(UV) export $(EXPORT) --package touchstone-$$name --no-dev --output-file services/$$name/requirements.lock || exit 1; \
	done
	$(UV) export $(EXPORT) --package touchstone-lab --no-dev --output-file clients/python/requirements.lock
	$(PYTHON) images/shared_lock.py services/retrieval/requirements.lock services/generator/requirements.lock \
		services/trainer/requirements.lock > images/worker.lock
	$(UV) pip compile --quiet --no-header --no-annotate --generate-hashes --universal --python-version 3.11 \
		images/requirements.in --output-file images/requirements.lock
EXPORT := --quiet --no-header --no-annotate --no-emit-workspace --format requirements-txt

clean: ## Remove the environment and caches; data and locks stay
	rm -rf .venv .uv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

# uv is not part of a fresh machine: it gets a private environment of its own.
.uv/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Touchstone needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Set PYTHON=python3.x"; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.*'
	@touch $@

.venv/ready: .uv/ready requirements.lock $(PYPROJECTS)
	test -x $(BIN)/python || $(UV) venv --quiet --python "$$(command -v $(PYTHON))" .venv
	$(UV) pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirement requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps $(WORKSPACE:%=--editable %)
	@touch $@
