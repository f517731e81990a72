# Everything installs itself; what is there and current is skipped. `make help` lists the targets.
PYTHON ?= python3
LAB = PYTHONPATH=tools $(PYTHON) -m lab
ARGS ?=

.PHONY: help demo test check bench docs molecule env clean distclean

help: ## Show this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

demo: ## Bring the platform up on a test host and stream an answer (IMAGES=official: upstream images)
	@IMAGES="$(IMAGES)" $(LAB) demo $(ARGS)

test: ## Quality gates, the images' own tests and every Molecule scenario (ARGS="postgres -j 1": only some)
	@$(LAB) test $(ARGS)

check: ## The quick quality gates only
	@$(LAB) check

bench: ## Measure how long things take, as ratios from one run, into docs/benchmarks (ARGS="engine-room": only some)
	@$(LAB) bench $(ARGS)

docs: ## Write the reference pages of docs/ anew
	@$(LAB) tool tools/docs.py

molecule: ## Molecule in the lab's environment (ARGS="converge -s postgres")
	@$(LAB) molecule $(ARGS)

env: ## Print the lab's environment: eval "$$(make -s env)"
	@$(LAB) env

clean: ## Remove the lab's containers and stop the engine it started
	@$(LAB) clean

distclean: ## Remove everything that was ever made for the lab, and build/
	@$(LAB) clean --all
	@rm -rf build
