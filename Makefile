PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := $(VENV)/.demo
STAMP := $(VENV)/.installed
# without byte code: Python makes that of the modules that are used
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile

.PHONY: demo ray crawl newcomer upload local-models test test-vllm test-gpu postgres threads properties sandbox hostile faults soak journal opening shadow opening-sim results plots recording bench docs lint format help
.DEFAULT_GOAL := help

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 12

$(DEMO): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch -c constraints.txt
	$(PIP) -e '.[local,ocr]' -c constraints.txt
	@touch $(DEMO)

$(STAMP): $(DEMO)
	$(PIP) -e '.[local,ocr,sandbox,middleware,openai,server,eval,notebook,docs,dev]' -c constraints.txt
	@touch $(STAMP)

demo: $(DEMO) ## Embedded questions through the agent alone and through SpecEyes, side by side
	$(BIN)/speceyes demo

test: $(STAMP) ## Run the tests, in as many processes as there are cores, at most four
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

test-vllm: $(STAMP) ## The tests of hosted models against a real vLLM server on this CPU, in .vllm (3.5 GB)
	$(BIN)/python tests/hosted/vllm_server.py

test-gpu: $(STAMP) ## Families of local models against transformers on a CUDA device
	@$(BIN)/python -c "import sys, torch; torch.cuda.is_available() or sys.exit('there is no CUDA device here')"
	SPECEYES_DEVICE=cuda $(BIN)/python -m pytest tests/models/test_families.py

ray: ## 2,000 questions through examples/ray_batch.py, a worker and then the command killed, in .ray (600 MB)
	$(PYTHON) tests/scale/ray_rows.py

threads: $(STAMP) ## 2,000 random threads of agents, alone and behind the bypass; every class of channel in every way
	SPECEYES_EXAMPLES=2000 $(BIN)/python -m pytest tests/test_threads.py tests/test_matrix.py -s --timeout 7200

properties: $(STAMP) ## Every property test on new random examples
	SPECEYES_PROPERTIES=search $(BIN)/python -m pytest -m hypothesis

local-models: $(STAMP) ## Measure families of local models against transformers; rewrite the table in docs/local-models.md
	SPECEYES_WRITE=1 $(BIN)/python -m pytest tests/models/test_families.py

faults: $(STAMP) ## 5,000 queries with faults of every kind at every place; what is kept of 40 that quote a 5 MB image and a key
	$(BIN)/python -W ignore -m tests.hostile.faults 5000
	$(BIN)/python -W ignore -m tests.hostile.records

sandbox: $(STAMP) ## 67 attempts to get out of the code sandbox; then one fence after the other taken away; what it costs
	$(BIN)/python -m tests.agent.sandbox.campaign
	$(BIN)/python -m tests.agent.sandbox.measure

hostile: $(STAMP) ## 205 hostile images read in four ways, each in a process of its own; the worst megabyte of text for each reader
	$(BIN)/python -W ignore -m tests.hostile.campaign
	$(BIN)/python -W ignore -m tests.hostile.readers

soak: $(STAMP) ## 200 runs, 16 at a time, against `langgraph dev`: failures and memory
	$(BIN)/python -m tests.deploy.soak

journal: $(STAMP) ## Journals of traffic: 4 processes x 25,000 records, ten kill -9, every acknowledged record once; how fast they are
	$(BIN)/python -m tests.traffic.campaign
	$(BIN)/python -m tests.traffic.speed

postgres: $(STAMP) ## All tests over a PostgreSQL server of their own (it must be installed), and its journal: 4 processes x 25,000 records, ten kill -9
	SPECEYES_POSTGRES=1 $(BIN)/python -m pytest tests/postgres
	$(BIN)/python -m tests.traffic.campaign --kinds postgres

labels: $(STAMP) ## 1,000 simulated calibrations each, with all labels, few and none: promises broken, acceptance
	$(BIN)/python tests/calibration/test_labels.py

recording: $(STAMP) ## Draw what the demo shows; into docs/demo.svg
	$(BIN)/python examples/record_demo.py docs/demo.svg

bench: $(STAMP) ## Measure how fast the embedded pair is with the bypass; into results/speed and the figures of the documentation
	$(BIN)/speceyes bench --questions 20 --out results/speed
	$(BIN)/python examples/figures.py results/speed

docs: $(STAMP) ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

crawl: docs ## Every page of the site in headless Chromium, at two widths, light and dark; pictures in results/site
	@test -x .crawl/bin/python || { $(PYTHON) -m venv .crawl && .crawl/bin/pip install --quiet 'selenium>=4.20'; }
	.crawl/bin/python tests/newcomer/crawl.py site --shots results/site

newcomer: ## README's commands in their order, in a fresh clone with a fresh environment
	$(PYTHON) tests/newcomer/stranger.py

upload: $(STAMP) ## What a bypassed photo sends to hosted models and takes, also over a line of 50 Mbit/s
	$(BIN)/python -W ignore -m tests.hosted.upload --write

lint: $(STAMP) ## Ruff and the type checker
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP) ## Let ruff format and mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

plots: $(STAMP) ## Draw what separability misses; into docs/results
	$(BIN)/python examples/plot_scores.py

opening: $(STAMP) ## Live: a gate opens itself on 700 embedded questions, then its speculator goes wrong; into results/opening
	rm -rf results/opening
	$(BIN)/speceyes testbed opening --out results/opening --questions 700 --swap 600 --no-judge

shadow: $(STAMP) ## What shadow costs those who wait; 5,000 queries with faults in front end and journal
	$(BIN)/python -m tests.traffic.shadow_cost
	SPECEYES_EXAMPLES=5000 $(BIN)/python -m pytest -q -p no:logging tests/traffic/test_shadow.py -k faults

opening-sim: $(STAMP) ## 500 simulated gates that open themselves, drifting streams, detectors; the plot into docs/results
	$(BIN)/python -m langgraph_speceyes.bench.opening tests/calibration/embedded_outcomes.csv --plot docs/results

results: $(STAMP) ## Measure the embedded pair on its test part; rewrite docs/results and the tables
	$(BIN)/python examples/measure_testbed.py
