# The commands people type. Each is one line that calls cargo, xtask or a script.
SHELL := bash
ENV := . scripts/env.sh &&
.DEFAULT_GOAL := help
.PHONY: help demo test test-faults properties chaos mutants check fmt bench image setup clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## A fleet on this machine, told step by step (ONCE=1 ends it; KUBECONFIGS="a b c" uses real clusters)
	@scripts/setup.sh demo && $(ENV) cargo build --workspace --bins && "$$CARGO_TARGET_DIR/debug/demo" $(if $(ONCE),--once) $(foreach k,$(KUBECONFIGS),--kubeconfig $(k))

test: ## Every test, on real parts
	@scripts/setup.sh test && scripts/test.sh

test-faults: ## The long form of the fault suite (TAFFRAIL_SEED=N repeats one)
	@scripts/setup.sh test && $(ENV) cargo build --workspace --bins && cargo test --workspace --features taffrail-tests/faults-long --test e2e_faults

properties: ## New cases of the core's properties (CASES=N each, 20,000 if not said; PROPTEST_RNG_SEED=N repeats a run)
	@scripts/setup.sh build && $(ENV) PROPTEST_CASES=$(or $(CASES),20000) cargo test -p taffrail-core --lib

chaos: ## Live 100,000 simulated histories through (COUNT=N, FROM=N); one that fails is shrunk and told
	@scripts/setup.sh build && $(ENV) cargo run --release -p taffrail-chaos -- --from $(or $(FROM),0) --count $(or $(COUNT),100000)

mutants: ## Break the core in one place after the other and see that a test notices (SHARD=k/n, PATHS='reconcile sync/apply.rs')
	@scripts/setup.sh mutants && scripts/mutants.sh $(PATHS)

check: ## Formatting, lints, the rules of the house, documents
	@scripts/setup.sh build && scripts/check.sh

fmt: ## Format the code
	@cargo fmt --all

bench: ## Measure, and print tables (SMOKE=1 only sees that it works)
	@scripts/setup.sh test && $(ENV) cargo build --release --workspace --bins && cargo run --release -p taffrail-tests --bin bench -- $(if $(SMOKE),--smoke)

image: ## Container images of agent and hub, in target/image of the build folder (PROFILE=dev is quicker, and large)
	@scripts/setup.sh demo && $(ENV) cargo build --profile $(or $(PROFILE),release) -p taffrail-hub -p taffrail-agent && cargo run -q -p taffrail-xtask -- image --profile $(or $(PROFILE),release)

setup: ## Fetch and build what the tests need
	@scripts/setup.sh test

clean: ## Remove what cargo built (fetched programs stay in TAFFRAIL_CACHE)
	@$(ENV) cargo clean
