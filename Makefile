# A thin door: Meson builds, this says the usual words. See README.md.
BUILD ?= build

.PHONY: demo test bench install format clean build client

demo: ## install what is missing, build, run the chat on a cluster of five servers
	@scripts/install_deps.sh build
	@$(MAKE) --no-print-directory build client
	@exec scripts/demo.py --build $(BUILD)

test: ## install what is missing, build, run all tests: plain, with ASan and UBSan, with TSan
	@scripts/install_deps.sh build test
	@$(MAKE) --no-print-directory client
	@scripts/run_tests.py

bench: ## measure, and write docs/performance.md
	@scripts/install_deps.sh build bench
	@scripts/run_bench.sh $(ARGS)

install: build ## into prefix= (default: what the build was set up with, else /usr/local), below DESTDIR= if given
	@$(if $(prefix),meson configure $(BUILD) --prefix=$(prefix))
	@meson install -C $(BUILD) --quiet $(if $(DESTDIR),--destdir=$(abspath $(DESTDIR)))

format:
	@scripts/install_deps.sh test
	@git ls-files '*.c' '*.h' | xargs clang-format-14 -i

clean:
	rm -rf build build-* clients/typescript/dist clients/typescript/node_modules

build:
	@test -f $(BUILD)/build.ninja || meson setup $(BUILD)
	@ninja -C $(BUILD)

client: ## the TypeScript client, which the demo's page and the browser tests use
	@scripts/build_client.sh
