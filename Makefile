# Debian packages: what the build needs, then what the tests and the demo need.
PACKAGES = attr libext2fs-dev libfuse3-dev libtirpc-dev nettle-dev pkg-config zlib1g-dev \
	busybox-static debootstrap e2fsprogs fdisk fuse3 iproute2 kmod libnfs-utils lvm2 nfs-common nfs-ganesha \
	nfs-ganesha-vfs procps qemu-block-extra qemu-system-x86 qemu-utils rpcbind rpcsvc-proto user-mode-linux \
	util-linux xfsprogs

# Beside the paper's figure.
GUEST_CASES = varmail du+neighbour stat+neighbour find+neighbour rm+neighbour create+neighbour webserver+neighbour \
	varmail+neighbour find@1 find@4 find@8 rm@1 rm@4 rm@8 create@1 create@4 create@8

# What `make bench-paper` runs.
PAPER_CASES = scan boot reboot du stat find rm create webserver $(GUEST_CASES) boot@4

# How often the long benchmarks run each workload.
ROUNDS = 5
# Its metadata does not fit into the 256 MiB that our servers take by themselves.
PAPER = --files 90000 --size 16G --cache 1G
# Writes the page of everything that was measured.
PAGE = report --page bench/RESULTS.md --also "At the paper's size=bench/results/paper"

.PHONY: deps build release man install demo attack bench bench-boots bench-guests bench-paper test crash thresholds thresholds-update hostile fuzz lint clean

# Installs what is missing; when nothing is, it neither needs root nor asks the network.
deps:
	@missing=$$(for package in $(PACKAGES); do \
		dpkg-query -W -f '$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || echo $$package; \
	done); \
	if [ -n "$$missing" ]; then \
		echo installing $$missing; \
		apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $$missing; \
	fi

build: deps
	swift build

# All at once: a build for each program takes longer, though it leaves out what only tests need.
release: deps
	swift build -c release

# What is documented and installed; `CONFIGURATION=debug` takes the programs of `make build`.
CONFIGURATION = release
PROGRAMS = introspectd introspectctl introspect-scan
MAN = .build/man

# Manual pages, one for each program and each of its commands, from what the programs say of themselves.
man: $(CONFIGURATION:debug=build)
	swift build --product generate-manual
	@rm -rf $(MAN) && mkdir -p $(MAN)
	@for program in $(PROGRAMS); do \
		"$$(swift build --show-bin-path)/generate-manual" --multi-page --output-directory $(MAN) \
			"$$(swift build -c $(CONFIGURATION) --show-bin-path)/$$program" || exit 1; \
	done
	@echo $(MAN)/*.1

# Programs, manual pages, and completions for bash, zsh and fish.
PREFIX = /usr/local
SHARE = $(DESTDIR)$(PREFIX)/share
install: man
	@bin="$$(swift build -c $(CONFIGURATION) --show-bin-path)"; set -e; \
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d; \
	for program in $(PROGRAMS); do \
		install -D "$$bin/$$program" "$(DESTDIR)$(PREFIX)/bin/$$program"; \
		"$$bin/$$program" --generate-completion-script bash > $(SHARE)/bash-completion/completions/$$program; \
		"$$bin/$$program" --generate-completion-script zsh > $(SHARE)/zsh/site-functions/_$$program; \
		"$$bin/$$program" --generate-completion-script fish > $(SHARE)/fish/vendor_completions.d/$$program.fish; \
	done
	@install -D --mode 644 --target-directory $(SHARE)/man/man1 $(MAN)/*.1

demo: release
	"$$(swift build -c release --show-bin-path)/introspect-bench" demo

# The paper's figure, its reboot excepted, at a scale that takes twenty minutes, and its page. What a run before has
# left is not run again.
bench: release
	bench="$$(swift build -c release --show-bin-path)/introspect-bench"; \
	"$$bench" run scan du stat find rm create webserver; status=$$?; \
	"$$bench" run scan --servers e2image,depth-first --rounds 1 || status=$$?; \
	"$$bench" micro --only read-4k-depth32 write-sync-4k getattr-depth1 lookup-depth1 --results bench/results/scaled \
		> /dev/null || status=$$?; \
	"$$bench" micro --servers ours,off --only write-4k-depth32 --rounds 11 --results bench/results/scaled > /dev/null || \
		status=$$?; \
	"$$bench" classifier --writes 20000 --results bench/results/scaled > /dev/null || status=$$?; \
	"$$bench" $(PAGE) && exit $$status

# Virtual machines under QEMU that boot, reboot, and boot four at once, for the same page: minutes each.
bench-boots: release
	bench="$$(swift build -c release --show-bin-path)/introspect-bench"; \
	"$$bench" run boot reboot boot@4 --servers ours,off,ganesha,floor --rounds $(ROUNDS); status=$$?; \
	"$$bench" $(PAGE) && exit $$status

# Mail, a neighbour that streams data, and several guests at once, for the same page: hours with five rounds.
bench-guests: release
	bench="$$(swift build -c release --show-bin-path)/introspect-bench"; \
	"$$bench" run $(GUEST_CASES) --servers ours,off,ganesha --rounds $(ROUNDS); status=$$?; \
	"$$bench" $(PAGE) && exit $$status

# The paper's sizes, with neighbours and more guests: half a day; ROUNDS=1 and fewer PAPER_CASES take less.
bench-paper: release
	bench="$$(swift build -c release --show-bin-path)/introspect-bench"; \
	"$$bench" run $(PAPER_CASES) $(PAPER) --rounds $(ROUNDS) --results bench/results/paper; status=$$?; \
	"$$bench" run scan --servers e2image,depth-first $(PAPER) --rounds 2 --results bench/results/paper || \
		status=$$?; \
	"$$bench" micro --servers ours,off,ganesha --results bench/results/paper > /dev/null || status=$$?; \
	"$$bench" classifier --results bench/results/paper > /dev/null || status=$$?; \
	"$$bench" report --results bench/results/paper --page bench/PAPER.md && exit $$status

# Many tests need root: loop devices, mounts, network namespaces. Without them they would be left out in silence.
# SunRPC's tests watch the clock, and run when no others keep all threads busy.
test: deps
	@[ "$$(id -u)" = 0 ] || { echo "make test needs root" >&2; exit 1; }
	@for device in /dev/fuse /dev/loop-control /dev/net/tun; do \
		[ -w "$$device" ] || { echo "make test needs $$device" >&2; exit 1; }; \
	done
	swift build --build-tests
	Tests/Install/run.sh
	swift test --skip-build --skip SunRPCTests
	swift test --skip-build --filter SunRPCTests

# What servers acknowledged, after they were killed, their machine's power was cut and their disks failed: hours, of
# which `make test` has minutes. CRASH_SEED=1000 has other chances.
CRASH_SEED = 1
crash: release
	@[ "$$(id -u)" = 0 ] || { echo "make crash needs root" >&2; exit 1; }
	@crash="$$(swift build -c release --show-bin-path)/introspect-bench crash --seed $(CRASH_SEED)"; status=0; \
	$$crash kill --rounds 200 || status=$$?; \
	$$crash power store log --rounds 50 || status=$$?; \
	exit $$status

# Holds what hot paths ask memory for, in an optimised build, against bench/Benchmarks/Thresholds: that takes minutes.
# `make test` has the same of a build without optimisation.
thresholds: deps
	cd bench/Benchmarks && swift package benchmark thresholds check --path Thresholds --no-progress

# Attacks the server and NFS-Ganesha over loopback, and shows their memory and what polite clients get: 20 minutes.
attack: release
	"$$(swift build -c release --show-bin-path)/introspect-bench" attack

# Takes what is counted now for the thresholds.
thresholds-update: deps
	cd bench/Benchmarks && swift package --allow-writing-to-package-directory \
		benchmark thresholds update --path Thresholds --no-progress

# So many images with hostile structures, beside a polite tenant's: what its calls wait at most, and the server's memory.
# Optimised, in a build of its own; HOSTILE_SEED=100001 has others.
COUNT = 1000
HOSTILE_SEED = 1
HOSTILE_BUILD = --configuration release --scratch-path .build/hostile -Xswiftc -enable-testing
hostile: deps
	@[ "$$(id -u)" = 0 ] || { echo "make hostile needs root" >&2; exit 1; }
	swift build --build-tests $(HOSTILE_BUILD)
	INTROSPECT_HOSTILE=$(COUNT) INTROSPECT_HOSTILE_SEED=$(HOSTILE_SEED) INTROSPECT_HOSTILE_WAIT=200 \
		swift test --skip-build $(HOSTILE_BUILD) --filter HostileTenantTests

# Runs every fuzzer for so long, one after the other.
SECONDS = 60
fuzz: deps
	@set -e; for directory in Fuzz/Sources/*; do \
		echo "$${directory##*/}"; Fuzz/run "$${directory##*/}" $(SECONDS); \
	done

lint:
	swift format lint --strict -r Package.swift Sources Tests Fuzz bench

clean:
	swift package clean
