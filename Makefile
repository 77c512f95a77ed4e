# make demo | test | fuzz | faults | soak | prove | bench | lint; each sets up the virtual environment that it needs.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
# Variables of a sourced ROS shell would put other packages in front of the environment's own.
CLEAN  := env -u PYTHONPATH -u AMENT_PREFIX_PATH -u LD_LIBRARY_PATH -u RMW_IMPLEMENTATION -u _ROS_WHEELS_BOOTSTRAP_COMPLETE

.PHONY: demo test fuzz faults soak prove bench lint clean help

help:
	@echo "make demo   drive through a real ROS 2 graph while sensors are cut; report in out/demo/report.html"
	@echo "make test   everything: unit, property, contract, live graph"
	@echo "make fuzz   random messages into every reader for SECONDS=60; findings in out/fuzz"
	@echo "make faults every fault on a live graph, one row each; out/faults/faults.md (about 15 minutes)"
	@echo "make soak   a drive in a loop with random faults, MINUTES=30; out/soak"
	@echo "make prove  20,000 random schedules of faults for the synchroniser; JSON in out/prove"
	@echo "make bench  measurements against what one would use instead; JSON in out/bench"
	@echo "make lint   style, types, import contract"

$(READY): setup.py constraints.txt tools/system_libraries.sh
	@$(PYTHON) -c 'import sys; ok = (3, 10) <= sys.version_info[:2] <= (3, 13); sys.exit(0 if ok else \
	  "Python 3.10 to 3.13 is needed (the ROS wheels exist for these), found " + sys.version.split()[0] + ". Try: make PYTHON=python3.12")'
	@bash tools/system_libraries.sh
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { echo "Could not make a virtual environment; on Debian or Ubuntu: sudo apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV): ROS 2 (rclpy, Fast DDS), torch, Open3D. A few minutes the first time."
	@$(CLEAN) $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt "setuptools<81" wheel
	@$(CLEAN) $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	  --no-build-isolation --editable ".[ros,sim,train,dev]"
	@touch $(READY)

demo: $(READY)
	$(CLEAN) $(BIN)/python -m anyseg_ros.cli demo --out out/demo

test: $(READY)
	$(CLEAN) $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

SECONDS ?= 60
fuzz: $(READY)
	$(CLEAN) $(BIN)/python test/fuzz/fuzz_run.py --seconds $(SECONDS)

faults: $(READY)
	$(CLEAN) $(BIN)/python -m anyseg_ros.cli faults --out out/faults

soak: $(READY)
	$(CLEAN) $(BIN)/python -m anyseg_ros.cli soak --out out/soak --minutes $(or $(MINUTES),30)

prove: $(READY)
	$(CLEAN) PYTHONPATH=test/property:. $(BIN)/python test/property/prove_sync.py --out out/prove $(PROVE_ARGS)

bench: $(READY)
	$(CLEAN) $(BIN)/python -m benchmarks --out out/bench

lint: $(READY)
	$(CLEAN) $(BIN)/ruff check .
	$(CLEAN) $(BIN)/ruff format --check .
	$(CLEAN) $(BIN)/lint-imports
	$(CLEAN) $(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-jazzy out build install log dist *.egg-info
